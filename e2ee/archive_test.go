package e2ee_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

var (
	archiveKey  = e2ee.ArchiveKey{Epoch: 3, Key: id32(0xE3)}
	recordPlace = e2ee.RecordPlace{Account: id16(0xB2), Conversation: id16(0xC0), MessageID: id16(0x3D)}
	statePlace  = e2ee.StatePlace{Account: id16(0xB2), Name: "profile", Version: 7}
)

// record is a received message; sent is the same without what only a receiver
// knows.
func record(tb testing.TB) (received, sent e2ee.Record) {
	tb.Helper()
	e, _ := envelope(tb)
	sent = e2ee.Record{Padded: e.Padded, Key: e.Key, Sender: id16(0xA1), SenderDevice: 3, SentAt: 1767323045000}
	received = sent
	received.Epoch, received.Seq, received.ServerTime = 1, 42, 1767323045678
	received.Tag = e2ee.Tag(8, id32(2), tagInput())
	return received, sent
}

func sealArchive(tb testing.TB, rec e2ee.Record) []byte {
	tb.Helper()
	sealed, err := e2ee.SealArchive(testRand(5), archiveKey, recordPlace, rec)
	if err != nil {
		tb.Fatal(err)
	}
	return sealed
}

func TestArchiveRoundTrip(t *testing.T) {
	received, sent := record(t)
	for name, rec := range map[string]e2ee.Record{"received": received, "sent": sent} {
		sealed := sealArchive(t, rec)
		if epoch, err := e2ee.ArchiveEpoch(sealed); err != nil || epoch != 3 {
			t.Errorf("%s: epoch %d, %v", name, epoch, err)
		}
		got, err := e2ee.OpenArchive(archiveKey, recordPlace, sealed)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(got.Tag) == 0 {
			got.Tag = nil
		}
		if diff := cmp.Diff(rec, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		c, err := got.Content(recordPlace)
		if text, terr := c.Body.Text(); err != nil || terr != nil || text != "hallo" {
			t.Errorf("%s: content %q, %v, %v", name, text, err, terr)
		}
	}
}

func TestArchiveRefuses(t *testing.T) {
	rec, _ := record(t)
	sealed := sealArchive(t, rec)
	open := func(name string, key e2ee.ArchiveKey, at e2ee.RecordPlace, b []byte) {
		t.Helper()
		_, err := e2ee.OpenArchive(key, at, b)
		wantErr(t, name, err, e2ee.ErrArchive)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		open("changed byte", archiveKey, recordPlace, bad)
	}
	open("another epoch", e2ee.ArchiveKey{Epoch: 4, Key: archiveKey.Key}, recordPlace, sealed)
	open("another key", e2ee.ArchiveKey{Epoch: 3, Key: id32(1)}, recordPlace, sealed)
	at := recordPlace
	at.Account[0]++
	open("another account", archiveKey, at, sealed)
	at = recordPlace
	at.Conversation[0]++
	open("another conversation", archiveKey, at, sealed)
	at = recordPlace
	at.MessageID[0]++
	open("another message", archiveKey, at, sealed)
	open("empty", archiveKey, recordPlace, nil)
	open("cut", archiveKey, recordPlace, sealed[:36])
	open("too long", archiveKey, recordPlace, append(bytes.Clone(sealed), make([]byte, e2ee.MaxRecord)...))

	// A device of the account may seal anything; it is refused all the same.
	encoded := encodeRecord(rec)
	for name, inside := range map[string][]byte{
		"unknown field": uintField(bytes.Clone(encoded), 10, 0), "field missing": encoded[:len(encoded)-2-e2ee.TagSize],
		"empty": {}, "record in words": []byte("hello"), "padding only": bytesField(nil, 1, rec.Padded),
	} {
		open("inside: "+name, archiveKey, recordPlace, sealAs(t, inside))
	}

	for name, change := range map[string]func(*e2ee.Record){
		"no padding":     func(r *e2ee.Record) { r.Padded = r.Padded[:255] },
		"device 0":       func(r *e2ee.Record) { r.SenderDevice = 0 },
		"negative time":  func(r *e2ee.Record) { r.SentAt = -1 },
		"server time":    func(r *e2ee.Record) { r.ServerTime = e2ee.MaxTime + 1 },
		"tag of 35 byte": func(r *e2ee.Record) { r.Tag = r.Tag[:35] },
	} {
		bad := rec
		change(&bad)
		_, err := e2ee.SealArchive(testRand(5), archiveKey, recordPlace, bad)
		wantErr(t, name, err, e2ee.ErrFormat)
	}
	_, err := e2ee.SealArchive(&failingReader{left: 11}, archiveKey, recordPlace, rec)
	wantErr(t, "no randomness", err, errNoRandomness)
}

// sealAs seals any bytes as the record of recordPlace, written from
// docs/protocol.md.
func sealAs(tb testing.TB, plaintext []byte) []byte {
	tb.Helper()
	at := recordPlace
	info := slices.Concat([]byte("sotto archive v1"), at.Conversation[:], at.MessageID[:])
	key, err := hkdf.Key(sha256.New, archiveKey.Key[:], nil, string(info), 32)
	if err != nil {
		tb.Fatal(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		tb.Fatal(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		tb.Fatal(err)
	}
	epoch := binary.BigEndian.AppendUint64(nil, archiveKey.Epoch)
	aad := slices.Concat([]byte{1}, at.Account[:], at.Conversation[:], at.MessageID[:], epoch)
	nonce := make([]byte, 12)
	return slices.Concat([]byte{1}, epoch, nonce, aead.Seal(nil, nonce, plaintext, aad))
}

// TestArchiveLayout opens what a second implementation sealed.
func TestArchiveLayout(t *testing.T) {
	rec, _ := record(t)
	got, err := e2ee.OpenArchive(archiveKey, recordPlace, sealAs(t, encodeRecord(rec)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rec, got); diff != "" {
		t.Error(diff)
	}
}

func encodeRecord(rec e2ee.Record) []byte {
	b := bytesField(nil, 1, rec.Padded)
	b = bytesField(b, 2, rec.Key[:])
	b = bytesField(b, 3, rec.Sender[:])
	b = uintField(b, 4, uint64(rec.SenderDevice))
	b = uintField(b, 5, uint64(rec.SentAt))
	b = uintField(b, 6, rec.Epoch)
	b = uintField(b, 7, rec.Seq)
	b = uintField(b, 8, uint64(rec.ServerTime))
	return bytesField(b, 9, rec.Tag)
}

func TestRecordContent(t *testing.T) {
	for name, change := range map[string]func(*e2ee.Record, *e2ee.RecordPlace){
		"conversation":  func(_ *e2ee.Record, at *e2ee.RecordPlace) { at.Conversation[0]++ },
		"message id":    func(_ *e2ee.Record, at *e2ee.RecordPlace) { at.MessageID[0]++ },
		"sender":        func(r *e2ee.Record, _ *e2ee.RecordPlace) { r.Sender[0]++ },
		"sender device": func(r *e2ee.Record, _ *e2ee.RecordPlace) { r.SenderDevice++ },
		"sender time":   func(r *e2ee.Record, _ *e2ee.RecordPlace) { r.SentAt++ },
	} {
		rec, _ := record(t)
		at := recordPlace
		change(&rec, &at)
		_, err := rec.Content(at)
		wantErr(t, name, err, e2ee.ErrMismatch)
	}
	_, err := e2ee.Record{Padded: append([]byte{0x80}, make([]byte, 255)...)}.Content(recordPlace)
	wantErr(t, "no content", err, e2ee.ErrFormat)
}

func TestState(t *testing.T) {
	for _, value := range [][]byte{{}, []byte("value"), bytes.Repeat([]byte{0x80}, e2ee.MaxContent)} {
		sealed, err := e2ee.SealState(testRand(5), archiveKey, statePlace, value)
		if err != nil {
			t.Fatal(err)
		}
		if size := len(sealed) - 9 - 28; size&(size-1) != 0 {
			t.Errorf("%d bytes sealed in %d, not a size class", len(value), size)
		}
		got, err := e2ee.OpenState(archiveKey, statePlace, sealed)
		if err != nil || !bytes.Equal(got, value) {
			t.Errorf("%d bytes: got %d, %v", len(value), len(got), err)
		}
	}
	sealed, err := e2ee.SealState(testRand(5), archiveKey, statePlace, []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		_, err := e2ee.OpenState(archiveKey, statePlace, bad)
		wantErr(t, "changed byte", err, e2ee.ErrArchive)
	}
	for name, at := range map[string]e2ee.StatePlace{
		"another account": {Account: id16(1), Name: "profile", Version: 7},
		"another name":    {Account: id16(0xB2), Name: "profiles", Version: 7},
		"another version": {Account: id16(0xB2), Name: "profile", Version: 8},
	} {
		_, err := e2ee.OpenState(archiveKey, at, sealed)
		wantErr(t, name, err, e2ee.ErrArchive)
	}
	_, err = e2ee.OpenState(e2ee.ArchiveKey{Epoch: 4, Key: archiveKey.Key}, statePlace, sealed)
	wantErr(t, "another epoch", err, e2ee.ErrArchive)

	for name, at := range map[string]e2ee.StatePlace{
		"no name": {Version: 1}, "name too long": {Name: string(make([]byte, 129)), Version: 1}, "version 0": {Name: "x"},
	} {
		_, err := e2ee.SealState(testRand(5), archiveKey, at, nil)
		wantErr(t, name, err, e2ee.ErrFormat)
	}
	_, err = e2ee.SealState(testRand(5), archiveKey, statePlace, make([]byte, e2ee.MaxContent+1))
	wantErr(t, "too large", err, e2ee.ErrTooLarge)
	_, err = e2ee.SealState(&failingReader{}, archiveKey, statePlace, nil)
	wantErr(t, "no randomness", err, errNoRandomness)
}

func TestArchiveEpochRefuses(t *testing.T) {
	rec, _ := record(t)
	sealed := sealArchive(t, rec)
	_, err := e2ee.ArchiveEpoch(sealed[:36])
	wantErr(t, "short", err, e2ee.ErrFormat)
	_, err = e2ee.ArchiveEpoch(append([]byte{2}, sealed[1:]...))
	wantErr(t, "format 2", err, e2ee.ErrVersion)
}
