package e2ee_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"sotto/e2ee"
)

// Helpers of the tests of Sotto's own formats.

// id16 is an account, conversation or message id that is easy to recognise.
func id16(b byte) [16]byte {
	var id [16]byte
	for i := range id {
		id[i] = b
	}
	return id
}

func id32(b byte) [32]byte {
	var id [32]byte
	for i := range id {
		id[i] = b
	}
	return id
}

func newKey(tb testing.TB, seed uint64) e2ee.KeyPair {
	tb.Helper()
	pair, err := e2ee.NewKeyPair(testRand(seed))
	if err != nil {
		tb.Fatal(err)
	}
	return pair
}

func wantErr(tb testing.TB, what string, got, want error) {
	tb.Helper()
	if !errors.Is(got, want) {
		tb.Errorf("%s: got error %v, want %v", what, got, want)
	}
}

// uintField and bytesField write protobuf fields, to make encodings that the
// package itself would not.
func uintField(b []byte, number int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(number)<<3), v)
}

func bytesField(b []byte, number int, v []byte) []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(b, uint64(number)<<3|2), uint64(len(v))), v...)
}

// failingReader has too little randomness.
type failingReader struct{ left int }

var errNoRandomness = errors.New("no randomness left")

func (r *failingReader) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, errNoRandomness
	}
	n := min(len(p), r.left)
	r.left -= n
	return n, nil
}
