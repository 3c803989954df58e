package packet_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/socketio/packet"
)

func TestOpenPacket(t *testing.T) {
	h := packet.Handshake{SID: "s", Upgrades: []string{"websocket"}, PingInterval: 25000, PingTimeout: 20000,
		MaxPayload: 1000}
	text, err := packet.AppendOpen(nil, h)
	want := `0{"sid":"s","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1000}`
	if err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	typ, data, err := packet.ParseEngine(text)
	if err != nil || typ != packet.Open {
		t.Fatal(typ, err)
	}
	got, err := packet.ParseOpen(data)
	if diff := cmp.Diff(h, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	for _, bad := range []string{``, `{}`, `[]`, `{"sid":"x"}`, `{"sid":"x","pingInterval":-1,"pingTimeout":1}`,
		`{"sid":"","pingInterval":1,"pingTimeout":1}`, `{"sid":"x","pingInterval":1,"pingTimeout":1,"maxPayload":-1}`} {
		if _, err := packet.ParseOpen([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestParseEngine(t *testing.T) {
	for text, want := range map[string]error{
		"": packet.ErrEmpty, "7": packet.ErrEngineType, "b": packet.ErrEngineType, "/": packet.ErrEngineType,
		"4": nil, "4x": nil, "2probe": nil, "6": nil,
	} {
		if _, _, err := packet.ParseEngine([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

// one is a packet of a polling payload.
type one struct {
	Data   string
	Binary bool
}

func decode(body []byte) (all []one, err error) {
	err = packet.EachPayload(body, func(data []byte, binary bool) error {
		all = append(all, one{string(data), binary})
		return nil
	})
	return all, err
}

func TestPayload(t *testing.T) {
	want := []one{{"4hello", false}, {"2", false}, {"\x00\x01\x1e\xff", true}, {"", true}, {"4€", false}}
	var body []byte
	size := 0
	for i, p := range want {
		body = packet.AppendPayload(body, []byte(p.Data), p.Binary, i == 0)
		size += packet.PayloadSize(len(p.Data), p.Binary)
	}
	if text := "4hello\x1e2\x1ebAAEe/w==\x1eb\x1e4€"; string(body) != text {
		t.Errorf("%q, want %q", body, text)
	}
	if len(body) > size {
		t.Errorf("%d bytes, promised at most %d", len(body), size)
	}
	got, err := decode(body)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestPayloadRefuses(t *testing.T) {
	for body, want := range map[string]error{
		"":            packet.ErrEmpty,
		"\x1e":        packet.ErrEmpty,
		"4\x1e":       packet.ErrEmpty,
		"\x1e4":       packet.ErrEmpty,
		"4\x1e\x1e4":  packet.ErrEmpty,
		"b!":          packet.ErrBase64,
		"bAQIDBA":     packet.ErrBase64,
		"bAQIDBA==AA": packet.ErrBase64,
		strings.Repeat("4\x1e", packet.MaxPayloadPackets) + "4":   packet.ErrTooManyPackets,
		strings.Repeat("4\x1e", packet.MaxPayloadPackets-1) + "4": nil,
	} {
		if _, err := decode([]byte(body)); !errors.Is(err, want) {
			t.Errorf("%.20q: %v, want %v", body, err, want)
		}
	}
	stop := errors.New("stop")
	calls := 0
	err := packet.EachPayload([]byte("4\x1e4"), func([]byte, bool) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("%v after %d calls", err, calls)
	}
}

// FuzzPayload: what decodes encodes to a payload that decodes to the same.
func FuzzPayload(f *testing.F) {
	for _, s := range []string{"4hello\x1e2", "bAQIDBA==\x1e4", "", "\x1e", "b", "4\x1ebAA=="} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		before := bytes.Clone(body)
		all, err := decode(body)
		if !bytes.Equal(body, before) {
			t.Fatal("decoding changed its input")
		}
		if err != nil {
			return
		}
		var again []byte
		for i, p := range all {
			again = packet.AppendPayload(again, []byte(p.Data), p.Binary, i == 0)
		}
		got, err := decode(again)
		if diff := cmp.Diff(all, got); err != nil || diff != "" {
			t.Fatalf("%q: %v %s", body, err, diff)
		}
	})
}
