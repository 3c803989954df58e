package e2ee

import (
	"encoding/binary"
	"errors"
	"math"
)

// The protobuf wire format, as far as this package needs it: varint and
// length-delimited fields. Writers append fields in ascending order and write
// zero values too, so that equal structures have equal bytes.

// errWire is what a wireReader reports. Parsers translate it into the sentinel
// of the structure they read.
var errWire = errors.New("malformed encoding")

type wireType uint8

const (
	wireVarint  wireType = 0
	wireFixed64 wireType = 1
	wireBytes   wireType = 2
	wireFixed32 wireType = 5
)

// maxFieldNumber is the highest field number protobuf allows.
const maxFieldNumber = 1<<29 - 1

func appendUintField(b []byte, number int, v uint64) []byte {
	b = binary.AppendUvarint(b, uint64(number)<<3|uint64(wireVarint))
	return binary.AppendUvarint(b, v)
}

func appendBytesField(b []byte, number int, v []byte) []byte {
	b = binary.AppendUvarint(b, uint64(number)<<3|uint64(wireBytes))
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// wireReader walks over the fields of one message. The first error sticks: it
// ends the walk and stays in err, so a parser checks once, after the loop.
//
//	r := readWire(b)
//	for r.next() {
//		switch r.number {
//		case 1:
//			m.counter = r.uint32()
//		case 2:
//			r.fixed(m.key[:])
//		}
//	}
//	if r.err != nil { … }
//
// A field the parser does not touch is skipped; raw holds it as it stood.
type wireReader struct {
	number int    // of the current field
	raw    []byte // tag and value of the current field; aliases the input
	err    error

	kind      wireType
	value     uint64
	content   []byte
	rest      []byte
	canonical bool
}

// readWire accepts everything a protobuf parser accepts except groups: any
// order, repeated fields (the parser's last assignment wins), padded varints.
func readWire(b []byte) *wireReader { return &wireReader{rest: b} }

// readCanonical accepts only the encoding our writers make: ascending field
// numbers (a number may repeat, for lists), shortest varints, and only varint
// and length-delimited fields. Signed structures are read this way, so that
// one meaning has one encoding.
func readCanonical(b []byte) *wireReader { return &wireReader{rest: b, canonical: true} }

func (r *wireReader) next() bool {
	if r.err != nil || len(r.rest) == 0 {
		return false
	}
	start := r.rest
	tag, ok := r.varint()
	if !ok || tag>>3 == 0 || tag>>3 > maxFieldNumber || (r.canonical && int(tag>>3) < r.number) {
		return r.stop()
	}
	r.number, r.kind = int(tag>>3), wireType(tag&7)
	r.value, r.content = 0, nil
	switch r.kind {
	case wireVarint:
		r.value, ok = r.varint()
	case wireBytes:
		var size uint64
		if size, ok = r.varint(); ok {
			ok = r.take(size)
		}
	case wireFixed64:
		ok = !r.canonical && r.take(8)
	case wireFixed32:
		ok = !r.canonical && r.take(4)
	default:
		ok = false
	}
	if !ok {
		return r.stop()
	}
	r.raw = start[: len(start)-len(r.rest) : len(start)-len(r.rest)]
	return true
}

func (r *wireReader) take(n uint64) bool {
	if n > uint64(len(r.rest)) {
		return false
	}
	r.content, r.rest = r.rest[:n:n], r.rest[n:]
	return true
}

func (r *wireReader) varint() (uint64, bool) {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || (r.canonical && n > 1 && r.rest[n-1] == 0) {
		return 0, false
	}
	r.rest = r.rest[n:]
	return v, true
}

func (r *wireReader) stop() bool {
	r.err = errWire
	return false
}

// uint64 returns the value of a varint field.
func (r *wireReader) uint64() uint64 {
	if r.kind != wireVarint {
		r.err = errWire
	}
	return r.value
}

// uint32 returns the value of a varint field of at most 32 bits.
func (r *wireReader) uint32() uint32 {
	v := r.uint64()
	if v > math.MaxUint32 {
		r.err = errWire
	}
	return uint32(v)
}

// bytes returns the content of a length-delimited field of at most limit
// bytes. It aliases the input.
func (r *wireReader) bytes(limit int) []byte {
	if r.kind != wireBytes || len(r.content) > limit {
		r.err = errWire
		return nil
	}
	return r.content
}

// fixed copies the content of a length-delimited field of exactly len(dst)
// bytes.
func (r *wireReader) fixed(dst []byte) {
	if r.kind != wireBytes || len(r.content) != len(dst) {
		r.err = errWire
		return
	}
	copy(dst, r.content)
}
