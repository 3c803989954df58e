package mlkem768

import (
	"bytes"
	"crypto/mlkem"
	"crypto/mlkem/mlkemtest"
	"crypto/sha3"
	"errors"
	"math/rand/v2"
	"testing"
)

func random(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

// TestAgainstStandardLibrary compares both parts of the ciphertext and the
// shared key, byte by byte, and decapsulates.
func TestAgainstStandardLibrary(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	for i := range 300 {
		owner, err := mlkem.NewDecapsulationKey768(random(r, mlkem.SeedSize))
		if err != nil {
			t.Fatal(err)
		}
		m := [RandomSize]byte(random(r, RandomSize))
		wantShared, wantCiphertext, err := mlkemtest.Encapsulate768(owner.EncapsulationKey(), m[:])
		if err != nil {
			t.Fatal(err)
		}
		header, vector := Split(owner.EncapsulationKey().Bytes())
		ct1, shared := header.Encapsulate1(m)
		ct2, err := header.Encapsulate2(m, &vector)
		if err != nil {
			t.Fatalf("case %d: %v", i, err)
		}
		ciphertext := append(ct1[:], ct2[:]...)
		if !bytes.Equal(shared[:], wantShared) || !bytes.Equal(ciphertext, wantCiphertext) {
			t.Fatalf("case %d: differs from the standard library", i)
		}
		opened, err := owner.Decapsulate(ciphertext)
		if err != nil || !bytes.Equal(opened, shared[:]) {
			t.Fatalf("case %d: the owner gets another shared key (%v)", i, err)
		}
	}
}

func TestVectorOfAnotherKey(t *testing.T) {
	r := rand.NewChaCha8([32]byte{2})
	owner, err := mlkem.NewDecapsulationKey768(random(r, mlkem.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	header, vector := Split(owner.EncapsulationKey().Bytes())
	for _, position := range []int{0, 700, VectorSize - 1} {
		wrong := vector
		wrong[position] ^= 1
		if _, err := header.Encapsulate2([32]byte{}, &wrong); !errors.Is(err, ErrKey) {
			t.Errorf("byte %d changed: %v, want ErrKey", position, err)
		}
	}
}

// TestModulusCheck makes headers that fit vectors with one coefficient out of
// range, so that only the modulus check can refuse them.
func TestModulusCheck(t *testing.T) {
	r := rand.NewChaCha8([32]byte{3})
	owner, err := mlkem.NewDecapsulationKey768(random(r, mlkem.SeedSize))
	if err != nil {
		t.Fatal(err)
	}
	for _, coefficient := range []int{0, 1, 255, 256, 767} {
		for value, valid := range map[uint16]bool{0: true, q - 1: true, q: false, q + 1: false, 4095: false} {
			encoded := bytes.Clone(owner.EncapsulationKey().Bytes())
			three := encoded[coefficient/2*3 : coefficient/2*3+3]
			if coefficient%2 == 0 {
				three[0], three[1] = byte(value), three[1]&0xf0|byte(value>>8)
			} else {
				three[1], three[2] = three[1]&15|byte(value<<4), byte(value>>4)
			}
			var header Header
			copy(header[:32], encoded[VectorSize:])
			hash := sha3.Sum256(encoded)
			copy(header[32:], hash[:])
			_, err := header.Encapsulate2([32]byte{}, (*[VectorSize]byte)(encoded))
			if valid != (err == nil) {
				t.Errorf("coefficient %d = %d: %v", coefficient, value, err)
			}
			if _, stdErr := mlkem.NewEncapsulationKey768(encoded); valid != (stdErr == nil) {
				t.Errorf("coefficient %d = %d: the standard library says %v", coefficient, value, stdErr)
			}
		}
	}
}

func TestDivide(t *testing.T) {
	check := func(a uint32) {
		if quotient, remainder := divide(a); quotient != a/q || uint32(remainder) != a%q {
			t.Fatalf("divide(%d) = %d, %d", a, quotient, remainder)
		}
	}
	for a := uint32(0); a < 1<<24; a++ {
		check(a)
	}
	for k := uint32(1); k <= (1<<32-1)/q; k++ { // around every multiple of q
		check(k*q - 1)
		check(k * q)
	}
	check(1<<32 - 1)
}

func TestInverseNTT(t *testing.T) {
	p := sampleUniform(make([]byte, 32), 0, 0)
	want := p
	p.ntt()
	if p == want {
		t.Fatal("the NTT changes nothing")
	}
	p.inverseNTT()
	if p != want {
		t.Fatal("the inverse NTT does not undo the NTT")
	}
}

func BenchmarkEncapsulate(b *testing.B) {
	owner, err := mlkem.NewDecapsulationKey768(make([]byte, mlkem.SeedSize))
	if err != nil {
		b.Fatal(err)
	}
	header, vector := Split(owner.EncapsulationKey().Bytes())
	b.Run("part 1", func(b *testing.B) {
		for b.Loop() {
			header.Encapsulate1([32]byte{})
		}
	})
	b.Run("part 2", func(b *testing.B) {
		for b.Loop() {
			if _, err := header.Encapsulate2([32]byte{}, &vector); err != nil {
				b.Fatal(err)
			}
		}
	})
}
