package e2ee_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"sotto/e2ee"
)

func safetyParties() (a1 [16]byte, k1 e2ee.PublicKey, a2 [16]byte, k2 e2ee.PublicKey) {
	for i := range 16 {
		a1[i], a2[i] = 0x11, 0x22
	}
	k1[0], k2[0] = 5, 5
	for i := range 32 {
		k1[i+1], k2[i+1] = byte(1+i), byte(33+i)
	}
	return a1, k1, a2, k2
}

// The vector was computed by a separate program from the description alone.
func TestSafetyNumberVector(t *testing.T) {
	digits, scannable := e2ee.SafetyNumber(safetyParties())
	if want := "098915952453931832736097425224983456760177843308000202051381"; digits != want {
		t.Errorf("digits %s, want %s", digits, want)
	}
	want, err := hex.DecodeString("080212220a204d61eff8096f953b6551ec9bcce333a909e5d7306c0c0acb84fe90bf54d571b3" +
		"1a220a2015cc29e1234a2277d8c44e03f3bb4b6db1615ce9b2672fbece18d6cc40a89906")
	check(t, err)
	if !bytes.Equal(scannable, want) {
		t.Errorf("scannable %x, want %x", scannable, want)
	}
}

func TestCompareSafetyNumbers(t *testing.T) {
	a1, k1, a2, k2 := safetyParties()
	digits1, mine := e2ee.SafetyNumber(a1, k1, a2, k2)
	digits2, theirs := e2ee.SafetyNumber(a2, k2, a1, k1)
	if digits1 != digits2 || len(digits1) != 60 {
		t.Errorf("digits differ: %s and %s", digits1, digits2)
	}
	if ok, err := e2ee.CompareScannable(mine, theirs); err != nil || !ok {
		t.Errorf("equal keys: %v, %v", ok, err)
	}
	if ok, err := e2ee.CompareScannable(mine, mine); err != nil || ok {
		t.Errorf("one's own code: %v, %v", ok, err)
	}
	k1[5]++
	changed, foreign := e2ee.SafetyNumber(a2, k2, a1, k1)
	if changed == digits1 {
		t.Error("another key has the same digits")
	}
	if ok, err := e2ee.CompareScannable(mine, foreign); err != nil || ok {
		t.Errorf("another key: %v, %v", ok, err)
	}
	later := bytes.Clone(theirs)
	later[1] = 3
	for name, tt := range map[string]struct {
		scanned []byte
		want    error
	}{
		"empty": {nil, e2ee.ErrInvalidMessage}, "cut": {theirs[:40], e2ee.ErrInvalidMessage},
		"text": {[]byte("https://example.org"), e2ee.ErrInvalidMessage}, "later version": {later, e2ee.ErrVersion},
	} {
		if _, err := e2ee.CompareScannable(mine, tt.scanned); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}
