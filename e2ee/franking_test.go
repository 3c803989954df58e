package e2ee_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"

	"sotto/e2ee"
)

func tagInput() e2ee.TagInput {
	return e2ee.TagInput{
		Conversation: id16(0xC0), MessageID: id16(0x3D), Sender: id16(0xA1), SenderDevice: 3,
		Epoch: 1, Seq: 42, ServerTime: 1767323045678, Commitment: e2ee.Commitment(id32(0xCC)),
	}
}

func TestCommitment(t *testing.T) {
	kf, err := e2ee.NewFrankingKey(testRand(1))
	if err != nil {
		t.Fatal(err)
	}
	padded := bytes.Repeat([]byte{7}, 256)
	c := e2ee.Commit(kf, padded)

	mac := hmac.New(sha256.New, kf[:])
	mac.Write(append([]byte("sotto franking v1"), padded...))
	if !bytes.Equal(mac.Sum(nil), c[:]) {
		t.Error("the commitment is not HMAC-SHA256 over label and content")
	}
	if !c.Opens(kf, padded) {
		t.Error("does not open")
	}
	other := kf
	other[31] ^= 1
	if c.Opens(other, padded) || c.Opens(kf, padded[:255]) || c.Opens(kf, append(padded[:255:255], 8)) {
		t.Error("opens with another key or content")
	}
	_, err = e2ee.NewFrankingKey(&failingReader{left: 31})
	wantErr(t, "no randomness", err, errNoRandomness)
}

func TestTag(t *testing.T) {
	old, current := id32(1), id32(2)
	keys := func(kid uint32) ([32]byte, bool) {
		switch kid {
		case 7:
			return old, true
		case 8:
			return current, true
		}
		return [32]byte{}, false
	}
	in := tagInput()
	tag := e2ee.Tag(8, current, in)

	be64 := func(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }
	mac := hmac.New(sha256.New, current[:])
	mac.Write(slices.Concat([]byte("sotto franking tag v1"), in.Conversation[:], in.MessageID[:], in.Sender[:],
		[]byte{0, 0, 0, 3}, be64(1), be64(42), be64(1767323045678), in.Commitment[:]))
	if want := append([]byte{0, 0, 0, 8}, mac.Sum(nil)...); !bytes.Equal(tag, want) {
		t.Errorf("tag %x, want %x", tag, want)
	}
	if !e2ee.VerifyTag(keys, tag, in) || !e2ee.VerifyTag(keys, e2ee.Tag(7, old, in), in) {
		t.Error("tags do not verify")
	}
	if e2ee.VerifyTag(keys, e2ee.Tag(9, current, in), in) {
		t.Error("a key that is gone verifies")
	}
	if e2ee.VerifyTag(keys, e2ee.Tag(7, current, in), in) {
		t.Error("a tag verifies under another key id")
	}
	for i := range tag {
		bad := bytes.Clone(tag)
		bad[i] ^= 1
		if e2ee.VerifyTag(keys, bad, in) {
			t.Errorf("verifies with byte %d changed", i)
		}
	}
	if e2ee.VerifyTag(keys, tag[:35], in) || e2ee.VerifyTag(keys, append(tag, 0), in) || e2ee.VerifyTag(keys, nil, in) {
		t.Error("a tag of the wrong length verifies")
	}
	for name, change := range map[string]func(*e2ee.TagInput){
		"conversation": func(in *e2ee.TagInput) { in.Conversation[0]++ },
		"message id":   func(in *e2ee.TagInput) { in.MessageID[0]++ },
		"sender":       func(in *e2ee.TagInput) { in.Sender[0]++ },
		"device":       func(in *e2ee.TagInput) { in.SenderDevice++ },
		"epoch":        func(in *e2ee.TagInput) { in.Epoch++ },
		"seq":          func(in *e2ee.TagInput) { in.Seq++ },
		"time":         func(in *e2ee.TagInput) { in.ServerTime++ },
		"commitment":   func(in *e2ee.TagInput) { in.Commitment[0]++ },
	} {
		bad := tagInput()
		change(&bad)
		if e2ee.VerifyTag(keys, tag, bad) {
			t.Errorf("verifies with another %s", name)
		}
	}
}
