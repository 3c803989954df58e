package packet_test

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/internal/socketio/packet"
)

func TestParse(t *testing.T) {
	main := func(p packet.Packet) packet.Packet {
		if p.Namespace == "" {
			p.Namespace = "/"
		}
		return p
	}
	none := packet.NoID
	for text, want := range map[string]packet.Packet{
		`0`:                            {Type: packet.Connect, ID: none},
		`0{"token":"x"}`:               {Type: packet.Connect, ID: none, Data: json.RawMessage(`{"token":"x"}`)},
		`0/admin,`:                     {Type: packet.Connect, ID: none, Namespace: "/admin"},
		`0/admin`:                      {Type: packet.Connect, ID: none, Namespace: "/admin"},
		`0/admin?x=y,{}`:               {Type: packet.Connect, ID: none, Namespace: "/admin?x=y", Data: json.RawMessage(`{}`)},
		`0/,{}`:                        {Type: packet.Connect, ID: none, Data: json.RawMessage(`{}`)},
		`1`:                            {Type: packet.Disconnect, ID: none},
		`1/admin,`:                     {Type: packet.Disconnect, ID: none, Namespace: "/admin"},
		`2["foo"]`:                     {Type: packet.Event, ID: none, Data: json.RawMessage(`["foo"]`)},
		`2/admin,["bar"]`:              {Type: packet.Event, ID: none, Namespace: "/admin", Data: json.RawMessage(`["bar"]`)},
		`212["foo"]`:                   {Type: packet.Event, ID: 12, Data: json.RawMessage(`["foo"]`)},
		`3/admin,13["bar"]`:            {Type: packet.Ack, ID: 13, Namespace: "/admin", Data: json.RawMessage(`["bar"]`)},
		`30[]`:                         {Type: packet.Ack, ID: 0, Data: json.RawMessage(`[]`)},
		`4{"message":"Not allowed"}`:   {Type: packet.ConnectError, ID: none, Data: json.RawMessage(`{"message":"Not allowed"}`)},
		`4"Not allowed"`:               {Type: packet.ConnectError, ID: none, Data: json.RawMessage(`"Not allowed"`)},
		`51-["baz",{"x":1}]`:           {Type: packet.BinaryEvent, ID: none, Count: 1, Data: json.RawMessage(`["baz",{"x":1}]`)},
		`50-["baz"]`:                   {Type: packet.BinaryEvent, ID: none, Data: json.RawMessage(`["baz"]`)},
		`52-/admin,7["baz"]`:           {Type: packet.BinaryEvent, ID: 7, Count: 2, Namespace: "/admin", Data: json.RawMessage(`["baz"]`)},
		`61-15["bar"]`:                 {Type: packet.BinaryAck, ID: 15, Count: 1, Data: json.RawMessage(`["bar"]`)},
		`510-["ten"]`:                  {Type: packet.BinaryEvent, ID: none, Count: 10, Data: json.RawMessage(`["ten"]`)},
		`29007199254740991["largest"]`: {Type: packet.Event, ID: 1<<53 - 1, Data: json.RawMessage(`["largest"]`)},
		"2 \t\n\r[\"space\"]":          {Type: packet.Event, ID: none, Data: json.RawMessage(" \t\n\r[\"space\"]")},
	} {
		got, err := packet.Parse([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if diff := cmp.Diff(main(want), got); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]error{
		``:                              packet.ErrEmpty,
		`7`:                             packet.ErrType,
		`a`:                             packet.ErrType,
		`-1`:                            packet.ErrType,
		`5["x"]`:                        packet.ErrCount,
		`5-["x"]`:                       packet.ErrCount,
		`51["x"]`:                       packet.ErrCount,
		`51`:                            packet.ErrCount,
		`511-["x"]`:                     packet.ErrCount,
		`5001-["x"]`:                    packet.ErrCount,
		`599999999999999999999-["x"]`:   packet.ErrCount,
		`5-1-["x"]`:                     packet.ErrCount,
		`2/` + strings.Repeat("x", 256): packet.ErrNamespace,
		`29007199254740992["x"]`:        packet.ErrID,
		`299999999999999999999["x"]`:    packet.ErrID,
		`20000000000000000000001["x"]`:  packet.ErrID,
		`3["x"]`:                        packet.ErrID,
		`61-["x"]`:                      packet.ErrID,
		`05{}`:                          packet.ErrID,
		`11`:                            packet.ErrID,
		`43"x"`:                         packet.ErrID,
		`2`:                             packet.ErrData,
		`2{}`:                           packet.ErrData,
		`2"x"`:                          packet.ErrData,
		`2["x"`:                         packet.ErrData,
		`2["x"]]`:                       packet.ErrData,
		`2["x"]x`:                       packet.ErrData,
		`2["x",]`:                       packet.ErrData,
		"2[\"\x1e\"]":                   packet.ErrData,
		`2["x"]["y"]`:                   packet.ErrData,
		`31{}`:                          packet.ErrData,
		`0[]`:                           packet.ErrData,
		`0"token"`:                      packet.ErrData,
		`0null`:                         packet.ErrData,
		`1{}`:                           packet.ErrData,
		`4`:                             packet.ErrData,
		`4[]`:                           packet.ErrData,
		`2-1["x"]`:                      packet.ErrData,
		`2` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000): packet.ErrData,
	} {
		if _, err := packet.Parse([]byte(text)); !errors.Is(err, want) {
			t.Errorf("%.40s: %v, want %v", text, err, want)
		}
	}
}

func TestEventSplitsArguments(t *testing.T) {
	for data, want := range map[string][]string{
		`["e"]`:                         {},
		` [ "e" ] `:                     {},
		`["e",1]`:                       {"1"},
		`["e" , 1 , [ 2 , 3 ] ]`:        {"1", "[ 2 , 3 ]"},
		`["e",{"a":[1,{"b":"]},\""}]}]`: {`{"a":[1,{"b":"]},\""}]}`},
		`["e","\\",null,"\"",true]`:     {`"\\"`, "null", `"\""`, "true"},
		`["e","]","}",",","["]`:         {`"]"`, `"}"`, `","`, `"["`},
		`["e",-1.5e3,""]`:               {"-1.5e3", `""`},
		"[\n\"e\"\t,\r\n[]\n,{}\n]":     {"[]", "{}"},
	} {
		p, err := packet.Parse([]byte("2" + data))
		if err != nil {
			t.Fatalf("%s: %v", data, err)
		}
		name, args, err := p.Event()
		got := make([]string, len(args))
		for i, a := range args {
			got[i] = string(a)
		}
		if diff := cmp.Diff(want, got); err != nil || name != "e" || diff != "" {
			t.Errorf("%s: %q, %v, %s", data, name, err, diff)
		}
	}
	p, err := packet.Parse([]byte(`2["A\n\u20ac"]`))
	if name, _, nameErr := p.Event(); err != nil || nameErr != nil || name != "A\n€" {
		t.Errorf("escaped name %q, %v, %v", name, err, nameErr)
	}
}

func TestEventRefuses(t *testing.T) {
	many := strings.Repeat(",1", packet.MaxArgs)
	for data, want := range map[string]error{
		`[]`:                    packet.ErrName,
		`[1]`:                   packet.ErrName,
		`[null]`:                packet.ErrName,
		`[["e"]]`:               packet.ErrName,
		`["connect"]`:           packet.ErrName,
		`["connect_error"]`:     packet.ErrName,
		`["disconnect"]`:        packet.ErrName,
		`["disconnecting"]`:     packet.ErrName,
		`["newListener"]`:       packet.ErrName,
		`["removeListener"]`:    packet.ErrName,
		`["\u0063onnect"]`:      packet.ErrName,
		`["e"` + many + `,1]`:   packet.ErrArgs,
		`["e"` + many + `]`:     nil,
		`["e",[0` + many + `]]`: nil,
	} {
		p, err := packet.Parse([]byte("2" + data))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.Event(); !errors.Is(err, want) {
			t.Errorf("%.40s: %v, want %v", data, err, want)
		}
	}
	p, err := packet.Parse([]byte("31[0" + many + "]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Args(); !errors.Is(err, packet.ErrArgs) {
		t.Errorf("too many arguments in an ack: %v", err)
	}
}

func TestAppendEvent(t *testing.T) {
	for _, c := range []struct {
		id          int64
		args        []any
		text        string
		attachments [][]byte
	}{
		{packet.NoID, nil, `2["e"]`, nil},
		{7, []any{1, "x", nil, true}, `27["e",1,"x",null,true]`, nil},
		{0, []any{json.RawMessage(`{"a" :1}`)}, `20["e",{"a" :1}]`, nil},
		{packet.NoID, []any{[]byte{1}, "x", []byte(nil)},
			`52-["e",{"_placeholder":true,"num":0},"x",{"_placeholder":true,"num":1}]`, [][]byte{{1}, nil}},
		{3, []any{[]byte{9}}, `51-3["e",{"_placeholder":true,"num":0}]`, [][]byte{{9}}},
	} {
		text, attachments, err := packet.AppendEvent([]byte("4"), c.id, "e", c.args...)
		if err != nil || string(text) != "4"+c.text || !cmp.Equal(attachments, c.attachments) {
			t.Errorf("%v: %s %v %v, want %s", c.args, text, attachments, err, c.text)
		}
	}
	text, _, err := packet.AppendAck(nil, 5, "x", []byte{1})
	if want := `61-5["x",{"_placeholder":true,"num":0}]`; err != nil || string(text) != want {
		t.Errorf("ack %s, %v", text, err)
	}
	for _, c := range []struct {
		name string
		args []any
		want error
	}{
		{"connect", nil, packet.ErrName},
		{"e", []any{json.RawMessage(`{`)}, packet.ErrRaw},
		{"e", []any{json.RawMessage("\"\xff\"")}, packet.ErrRaw},
		{"e", []any{json.RawMessage(nil)}, packet.ErrRaw},
		{"e", make([]any, packet.MaxArgs+1), packet.ErrArgs},
		{"e", []any{[]byte{}, []byte{}, []byte{}, []byte{}, []byte{}, []byte{}, []byte{}, []byte{}, []byte{}, []byte{},
			[]byte{}}, packet.ErrCount},
	} {
		if _, _, err := packet.AppendEvent(nil, packet.NoID, c.name, c.args...); !errors.Is(err, c.want) {
			t.Errorf("%s %v: %v, want %v", c.name, c.args, err, c.want)
		}
	}
	if _, _, err := packet.AppendEvent(nil, packet.NoID, "e", math.NaN()); err == nil {
		t.Error("NaN was encoded")
	}
}

func TestAppendRawEvent(t *testing.T) {
	args := []json.RawMessage{json.RawMessage(`{"deep":[{"_placeholder":true,"num":1}]}`)}
	text, err := packet.AppendRawEvent(nil, packet.NoID, "e", args, [][]byte{{1}, {2}})
	if want := `52-["e",{"deep":[{"_placeholder":true,"num":1}]}]`; err != nil || string(text) != want {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := packet.AppendRawEvent(nil, packet.NoID, "disconnect", nil, nil); !errors.Is(err, packet.ErrName) {
		t.Errorf("reserved name: %v", err)
	}
}

func TestAssembler(t *testing.T) {
	a := packet.Assembler{MaxBytes: 100}
	text := []byte(`52-["e",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`)
	if _, done, err := a.Text(text); done || err != nil || a.Owed() != 2 {
		t.Fatal(done, err, a.Owed())
	}
	clear(text) // it has to keep its own copy
	if _, _, err := a.Text([]byte(`2["e"]`)); !errors.Is(err, packet.ErrOwed) {
		t.Errorf("text while attachments are owed: %v", err)
	}
	one := []byte{1}
	if _, done, err := a.Binary(one); done || err != nil {
		t.Fatal(done, err)
	}
	clear(one)
	p, done, err := a.Binary([]byte{2})
	if !done || err != nil || a.Owed() != 0 {
		t.Fatal(done, err)
	}
	want := packet.Packet{
		Type: packet.BinaryEvent, Namespace: "/", ID: packet.NoID, Count: 2, Attachments: [][]byte{{1}, {2}},
		Data: json.RawMessage(`["e",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]`),
	}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	if _, _, err := a.Binary([]byte{3}); !errors.Is(err, packet.ErrNotOwed) {
		t.Errorf("binary that is not owed: %v", err)
	}
}

func TestAssemblerBounds(t *testing.T) {
	a := packet.Assembler{MaxBytes: 30}
	if _, _, err := a.Text(make([]byte, 31)); !errors.Is(err, packet.ErrTooLarge) {
		t.Errorf("text too large: %v", err)
	}
	if _, _, err := a.Text([]byte(`52-["e"]`)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := a.Binary(make([]byte, 20)); err != nil {
		t.Fatal(err)
	}
	// Text and attachments together are bounded.
	if _, _, err := a.Binary(make([]byte, 3)); !errors.Is(err, packet.ErrTooLarge) {
		t.Errorf("attachments too large: %v", err)
	}
	if a.Owed() != 0 {
		t.Error("what was too large is still kept")
	}
}

func TestPlaceholders(t *testing.T) {
	for args, want := range map[string]error{
		`{"_placeholder":true,"num":0}`:                            nil,
		`{"num":1,"_placeholder":true}`:                            nil,
		`{"_placeholder":true,"num":2}`:                            packet.ErrPlaceholder,
		`{"_placeholder":true,"num":-1}`:                           packet.ErrPlaceholder,
		`{"_placeholder":true,"num":0.5}`:                          packet.ErrPlaceholder,
		`{"_placeholder":true,"num":1e0}`:                          packet.ErrPlaceholder,
		`{"_placeholder":true,"num":"0"}`:                          packet.ErrPlaceholder,
		`{"_placeholder":true,"num":99999999999999999999}`:         packet.ErrPlaceholder,
		`{"_placeholder":true}`:                                    packet.ErrPlaceholder,
		`{"_placeholder":false,"num":7}`:                           nil,
		`{"_placeholder":1,"num":7}`:                               nil,
		`{"x":{"_placeholder":true},"num":0}`:                      packet.ErrPlaceholder,
		`{"x":[{"y":{"_placeholder":true,"num":9}}]}`:              packet.ErrPlaceholder,
		`{"x":[{"y":{"_placeholder":true,"num":1}}],"num":9}`:      nil,
		`"_placeholder",{"num":9,"":true,"z":"_placeholder"},true`: nil,
		`{"_placeholder":{"a":true},"num":9}`:                      nil,
	} {
		a := packet.Assembler{MaxBytes: 1000}
		if _, _, err := a.Text([]byte(`52-["e",` + args + `]`)); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", args, err, want)
		}
	}
}
