package e2ee_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

type contentVector struct {
	Name          string   `json:"name"`
	Format        uint32   `json:"format"`
	MinVersion    uint32   `json:"min_version"`
	Conversation  hexBytes `json:"conversation"`
	MessageID     hexBytes `json:"message_id"`
	Sender        hexBytes `json:"sender"`
	SenderDevice  uint32   `json:"sender_device"`
	SentAt        int64    `json:"sent_at"`
	Number        uint64   `json:"number"`
	Class         uint8    `json:"class"`
	ExpirySeconds uint32   `json:"expiry_seconds"`
	ExpiryVersion uint32   `json:"expiry_version"`
	ProfileKey    hexBytes `json:"profile_key"`
	Flags         uint64   `json:"flags"`
	BodyKind      uint32   `json:"body_kind"`
	Body          hexBytes `json:"body"`
	Unknown       hexBytes `json:"unknown"`
	Showable      bool     `json:"showable"`
	Encoded       hexBytes `json:"encoded"`
	Padded        hexBytes `json:"padded"`
}

func contentVectorOf(tb testing.TB, name string, c e2ee.Content) contentVector {
	tb.Helper()
	return contentVector{
		Name: name, Format: c.Format, MinVersion: c.MinVersion, Conversation: c.Conversation[:], MessageID: c.MessageID[:],
		Sender: c.Sender[:], SenderDevice: c.SenderDevice, SentAt: c.SentAt, Number: c.Number, Class: uint8(c.Class),
		ExpirySeconds: c.ExpirySeconds, ExpiryVersion: c.ExpiryVersion, ProfileKey: append(hexBytes{}, c.ProfileKey...),
		Flags: uint64(c.Flags), BodyKind: uint32(c.Body.Kind), Body: append(hexBytes{}, c.Body.Bytes...),
		Unknown: append(hexBytes{}, c.Unknown...), Showable: c.Showable(), Encoded: c.Marshal(), Padded: pad(tb, c),
	}
}

func TestContentVectors(t *testing.T) {
	var made []contentVector
	cases := bodyCases(t)
	for _, name := range []string{"text", "reply", "reaction", "edit", "delete", "receipt", "typing", "attachments",
		"list update", "archive keys", "retry request", "profile"} {
		made = append(made, contentVectorOf(t, name, content(cases[name].body)))
	}
	bare := content(e2ee.Body{Kind: e2ee.BodySessionRepair})
	bare.Class, bare.Number, bare.ProfileKey, bare.Flags = e2ee.ClassSilent, 0, nil, 0
	bare.ExpirySeconds, bare.ExpiryVersion = 0, 0
	later := content(e2ee.Body{Kind: 111, Bytes: []byte("later")})
	later.Format, later.MinVersion, later.Unknown = 3, 2, uintField(nil, 112, 7)
	made = append(made, contentVectorOf(t, "session repair", bare), contentVectorOf(t, "of a later format", later))

	for _, v := range vectors(t, "content.json", made) {
		b, err := e2ee.Unpad(v.Padded)
		if err != nil || !bytes.Equal(b, v.Encoded) {
			t.Errorf("%s: unpadded %x, %v", v.Name, b, err)
			continue
		}
		c, err := e2ee.ParseContent(b)
		if err != nil {
			t.Errorf("%s: %v", v.Name, err)
			continue
		}
		if diff := cmp.Diff(v, contentVectorOf(t, v.Name, c)); diff != "" {
			t.Errorf("%s: %s", v.Name, diff)
		}
	}
}

type envelopeVector struct {
	FrankingKey hexBytes `json:"franking_key"`
	Padded      hexBytes `json:"padded"`
	Commitment  hexBytes `json:"commitment"`

	SenderVersion    uint64   `json:"sender_version"`
	SenderHash       hexBytes `json:"sender_hash"`
	RecipientVersion uint64   `json:"recipient_version"`
	RecipientHash    hexBytes `json:"recipient_hash"`
	BundleVersion    uint64   `json:"bundle_version"`
	Encoded          hexBytes `json:"encoded"`

	Epoch      uint64   `json:"epoch"`
	Seq        uint64   `json:"seq"`
	ServerTime int64    `json:"server_time"`
	ServerKid  uint32   `json:"server_kid"`
	ServerKey  hexBytes `json:"server_key"`
	Tag        hexBytes `json:"tag"`
}

func TestEnvelopeVectors(t *testing.T) {
	e, outside := envelope(t)
	in := tagInput()
	in.Commitment = outside.Commitment
	serverKey := id32(0x4B)
	v := vectors(t, "envelope.json", envelopeVector{
		FrankingKey: e.Key[:], Padded: e.Padded, Commitment: outside.Commitment[:],
		SenderVersion: e.Pins.SenderVersion, SenderHash: e.Pins.SenderHash[:],
		RecipientVersion: e.Pins.RecipientVersion, RecipientHash: e.Pins.RecipientHash[:],
		BundleVersion: e.Pins.BundleVersion, Encoded: e.Marshal(),
		Epoch: in.Epoch, Seq: in.Seq, ServerTime: in.ServerTime,
		ServerKid: 8, ServerKey: serverKey[:], Tag: e2ee.Tag(8, serverKey, in),
	})
	got, err := e2ee.ParseEnvelope(v.Encoded)
	if err != nil {
		t.Fatal(err)
	}
	pins := e2ee.Pins{SenderVersion: v.SenderVersion, SenderHash: v.SenderHash.key(),
		RecipientVersion: v.RecipientVersion, RecipientHash: v.RecipientHash.key(), BundleVersion: v.BundleVersion}
	if got.Key != e2ee.FrankingKey(v.FrankingKey) || !bytes.Equal(got.Padded, v.Padded) || got.Pins != pins {
		t.Errorf("read as %+v", got)
	}
	outside.Commitment = e2ee.Commitment(v.Commitment)
	c, err := got.Open(outside)
	if err != nil {
		t.Fatal(err)
	}
	in = e2ee.TagInput{
		Conversation: c.Conversation, MessageID: c.MessageID, Sender: c.Sender, SenderDevice: c.SenderDevice,
		Epoch: v.Epoch, Seq: v.Seq, ServerTime: v.ServerTime, Commitment: outside.Commitment,
	}
	keys := func(kid uint32) ([32]byte, bool) { return v.ServerKey.key(), kid == v.ServerKid }
	if !e2ee.VerifyTag(keys, v.Tag, in) {
		t.Error("the tag does not verify")
	}
}

type archiveKeyVector struct {
	Epoch uint64   `json:"epoch"`
	Key   hexBytes `json:"key"`
}

type slotVector struct {
	ID         uint32   `json:"id"`
	Type       uint8    `json:"type"`
	Parameters hexBytes `json:"parameters"`
	Wrapping   hexBytes `json:"wrapping_key"`
}

type bundleVector struct {
	Account     hexBytes           `json:"account"`
	Version     uint64             `json:"version"`
	AccountKey  hexBytes           `json:"account_private_key"`
	ArchiveKeys []archiveKeyVector `json:"archive_keys"`
	ListVersion uint64             `json:"list_version"`
	ListHash    hexBytes           `json:"list_hash"`
	Slots       []slotVector       `json:"slots"`
	SlotKeys    []uint32           `json:"slot_keys_inside"`
	Sealed      hexBytes           `json:"sealed"`
}

func bundleVectorOf(b e2ee.Bundle, infos []e2ee.SlotInfo, wrapping func(id uint32) hexBytes) bundleVector {
	v := bundleVector{Account: b.Account[:], Version: b.Version, AccountKey: b.AccountKey[:],
		ListVersion: b.ListVersion, ListHash: b.ListHash[:]}
	for _, k := range b.ArchiveKeys {
		v.ArchiveKeys = append(v.ArchiveKeys, archiveKeyVector{k.Epoch, k.Key[:]})
	}
	for _, i := range infos {
		v.Slots = append(v.Slots, slotVector{i.ID, uint8(i.Type), append(hexBytes{}, i.Parameters...), wrapping(i.ID)})
	}
	for _, k := range b.SlotKeys {
		v.SlotKeys = append(v.SlotKeys, k.SlotID)
	}
	return v
}

func TestBundleVectors(t *testing.T) {
	slots := keySlots()
	sealed := sealBundle(t, keyBundle(t), slots)
	b, infos, err := e2ee.OpenBundle(sealed, id16(0xA1), e2ee.SlotPassword, id32(1))
	if err != nil {
		t.Fatal(err)
	}
	made := bundleVectorOf(b, infos, func(id uint32) hexBytes {
		for _, s := range slots {
			if s.ID == id {
				return s.Wrapping[:]
			}
		}
		return nil
	})
	made.Sealed = sealed

	v := vectors(t, "bundle.json", made)
	for _, s := range v.Slots {
		b, infos, err := e2ee.OpenBundle(v.Sealed, v.Account.id(), e2ee.SlotType(s.Type), s.Wrapping.key())
		if err != nil {
			t.Errorf("slot %d: %v", s.ID, err)
			continue
		}
		got := bundleVectorOf(b, infos, func(id uint32) hexBytes {
			for _, s := range v.Slots {
				if s.ID == id {
					return s.Wrapping
				}
			}
			return nil
		})
		got.Sealed = v.Sealed
		if diff := cmp.Diff(v, got); diff != "" {
			t.Errorf("slot %d: %s", s.ID, diff)
		}
	}
}

type archiveVector struct {
	Account hexBytes         `json:"account"`
	Key     archiveKeyVector `json:"archive_key"`

	Conversation hexBytes `json:"conversation"`
	MessageID    hexBytes `json:"message_id"`
	Padded       hexBytes `json:"padded"`
	FrankingKey  hexBytes `json:"franking_key"`
	Sender       hexBytes `json:"sender"`
	SenderDevice uint32   `json:"sender_device"`
	SentAt       int64    `json:"sent_at"`
	Epoch        uint64   `json:"epoch"`
	Seq          uint64   `json:"seq"`
	ServerTime   int64    `json:"server_time"`
	Tag          hexBytes `json:"tag"`
	Received     hexBytes `json:"sealed_received"`
	Sent         hexBytes `json:"sealed_sent"`

	StateName    string   `json:"state_name"`
	StateVersion uint64   `json:"state_version"`
	StateValue   hexBytes `json:"state_value"`
	State        hexBytes `json:"sealed_state"`
}

func TestArchiveVectors(t *testing.T) {
	received, sent := record(t)
	state, err := e2ee.SealState(testRand(5), archiveKey, statePlace, []byte("state value"))
	if err != nil {
		t.Fatal(err)
	}
	at := recordPlace
	v := vectors(t, "archive.json", archiveVector{
		Account: at.Account[:], Key: archiveKeyVector{archiveKey.Epoch, archiveKey.Key[:]},
		Conversation: at.Conversation[:], MessageID: at.MessageID[:], Padded: sent.Padded, FrankingKey: sent.Key[:],
		Sender: sent.Sender[:], SenderDevice: sent.SenderDevice, SentAt: sent.SentAt,
		Epoch: received.Epoch, Seq: received.Seq, ServerTime: received.ServerTime, Tag: received.Tag,
		Received: sealArchive(t, received), Sent: sealArchive(t, sent),
		StateName: statePlace.Name, StateVersion: statePlace.Version, StateValue: []byte("state value"), State: state,
	})

	key := e2ee.ArchiveKey{Epoch: v.Key.Epoch, Key: v.Key.Key.key()}
	place := e2ee.RecordPlace{Account: v.Account.id(), Conversation: v.Conversation.id(), MessageID: v.MessageID.id()}
	want := e2ee.Record{Padded: v.Padded, Key: e2ee.FrankingKey(v.FrankingKey), Sender: v.Sender.id(),
		SenderDevice: v.SenderDevice, SentAt: v.SentAt, Tag: []byte{}}
	got, err := e2ee.OpenArchive(key, place, v.Sent)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("sent: %v, %s", err, diff)
	}
	want.Epoch, want.Seq, want.ServerTime, want.Tag = v.Epoch, v.Seq, v.ServerTime, v.Tag
	got, err = e2ee.OpenArchive(key, place, v.Received)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("received: %v, %s", err, diff)
	}
	statePlace := e2ee.StatePlace{Account: v.Account.id(), Name: v.StateName, Version: v.StateVersion}
	value, err := e2ee.OpenState(key, statePlace, v.State)
	if err != nil || !bytes.Equal(value, v.StateValue) {
		t.Errorf("state: %q, %v", value, err)
	}
}
