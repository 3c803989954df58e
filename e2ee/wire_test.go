package e2ee

import (
	"bytes"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type wireSeen struct {
	Number int
	Value  uint64
	Bytes  []byte
}

func walk(r *wireReader) ([]wireSeen, error) {
	var seen []wireSeen
	for r.next() {
		s := wireSeen{Number: r.number}
		if r.kind == wireVarint {
			s.Value = r.uint64()
		} else {
			s.Bytes = bytes.Clone(r.content)
		}
		seen = append(seen, s)
	}
	return seen, r.err
}

func TestWireRoundTrip(t *testing.T) {
	var b []byte
	b = appendUintField(b, 1, 0)
	b = appendUintField(b, 2, math.MaxUint64)
	b = appendBytesField(b, 2, nil)
	b = appendBytesField(b, maxFieldNumber, []byte("x"))
	want := []wireSeen{{1, 0, nil}, {2, math.MaxUint64, nil}, {2, 0, []byte{}}, {maxFieldNumber, 0, []byte("x")}}
	for name, r := range map[string]*wireReader{"lenient": readWire(b), "canonical": readCanonical(b)} {
		seen, err := walk(r)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(want, seen); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestWireRefuses(t *testing.T) {
	tests := []struct {
		name      string
		b         []byte
		lenient   bool // refused by the lenient reader too
		canonical bool
	}{
		{"tag cut", []byte{0x80}, true, true},
		{"value missing", []byte{0x08}, true, true},
		{"value cut", []byte{0x08, 0x80}, true, true},
		{"varint of 11 bytes", append([]byte{0x08}, bytes.Repeat([]byte{0x80}, 11)...), true, true},
		{"length beyond the end", []byte{0x0A, 2, 'x'}, true, true},
		{"huge length", []byte{0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01}, true, true},
		{"field zero", []byte{0x00, 0x00}, true, true},
		{"field too high", []byte{0x80, 0x80, 0x80, 0x80, 0x10, 0x00}, true, true},
		{"group", []byte{0x0B, 0x0C}, true, true},
		{"fixed32 cut", []byte{0x0D, 1, 2, 3}, true, true},
		{"fixed32", []byte{0x0D, 1, 2, 3, 4}, false, true},
		{"fixed64", []byte{0x09, 1, 2, 3, 4, 5, 6, 7, 8}, false, true},
		{"padded varint", []byte{0x08, 0x80, 0x00}, false, true},
		{"padded tag", []byte{0x88, 0x00, 0x01}, false, true},
		{"descending", []byte{0x10, 1, 0x08, 1}, false, true},
	}
	for _, tt := range tests {
		if _, err := walk(readWire(tt.b)); (err != nil) != tt.lenient {
			t.Errorf("%s, lenient: %v", tt.name, err)
		}
		if _, err := walk(readCanonical(tt.b)); (err != nil) != tt.canonical {
			t.Errorf("%s, canonical: %v", tt.name, err)
		}
	}
}

func TestWireAccessors(t *testing.T) {
	number := appendUintField(nil, 1, math.MaxUint32+1)
	content := appendBytesField(nil, 1, []byte("abc"))
	tests := []struct {
		name string
		b    []byte
		read func(*wireReader)
		ok   bool
	}{
		{"uint64", number, func(r *wireReader) { r.uint64() }, true},
		{"uint32 overflow", number, func(r *wireReader) { r.uint32() }, false},
		{"bytes of a number", number, func(r *wireReader) { r.bytes(9) }, false},
		{"number of bytes", content, func(r *wireReader) { r.uint64() }, false},
		{"bytes", content, func(r *wireReader) { r.bytes(3) }, true},
		{"bytes too long", content, func(r *wireReader) { r.bytes(2) }, false},
		{"fixed", content, func(r *wireReader) { r.fixed(make([]byte, 3)) }, true},
		{"fixed too short", content, func(r *wireReader) { r.fixed(make([]byte, 4)) }, false},
	}
	for _, tt := range tests {
		r := readWire(tt.b)
		if !r.next() {
			t.Fatalf("%s: %v", tt.name, r.err)
		}
		tt.read(r)
		if (r.err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.name, r.err)
		}
	}
}

// FuzzWire: what the canonical reader accepts, the writers reproduce byte by
// byte; the lenient reader accepts it too.
func FuzzWire(f *testing.F) {
	f.Add(appendBytesField(appendUintField(nil, 1, 300), 2, []byte("abc")))
	f.Add([]byte{0x0D, 1, 2, 3, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		var again, raw []byte
		r := readCanonical(b)
		for r.next() {
			if r.kind == wireVarint {
				again = appendUintField(again, r.number, r.uint64())
			} else {
				again = appendBytesField(again, r.number, r.bytes(len(b)))
			}
			raw = append(raw, r.raw...)
		}
		_, err := walk(readWire(b))
		if r.err != nil {
			return
		}
		if !bytes.Equal(again, b) || !bytes.Equal(raw, b) {
			t.Fatalf("%x was accepted but encodes as %x", b, again)
		}
		if err != nil {
			t.Fatalf("canonical accepts %x, lenient does not", b)
		}
	})
}
