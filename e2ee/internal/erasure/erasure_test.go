package erasure

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The payload sizes of ML-KEM Braid, in chunks.
var braidSizes = []int{3, 5, 30, 36}

func payloadOf(r *rand.Rand, chunks int) []byte {
	b := make([]byte, chunks*ChunkSize)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// TestEveryLossPattern loses every possible set of chunks that leaves just
// enough of them, for payloads small enough to try them all.
func TestEveryLossPattern(t *testing.T) {
	for n := 1; n <= 6; n++ {
		sent := 2*n + 2
		t.Run(fmt.Sprintf("%d of %d", n, sent), func(t *testing.T) {
			payload := payloadOf(rand.New(rand.NewPCG(1, uint64(n))), n)
			chunks := make([]Chunk, sent)
			for i := range chunks {
				chunks[i] = Encode(payload, uint16(i))
			}
			for set := range 1 << sent {
				var arrived []Chunk
				for i, c := range chunks {
					if set>>i&1 == 1 {
						arrived = append(arrived, c)
					}
				}
				if len(arrived) == n && !bytes.Equal(Decode(arrived), payload) {
					t.Fatalf("chunks %b of %d do not give the payload", set, n)
				}
			}
		})
	}
}

// TestRandomLoss takes any chunks out of all 65,536, in any order, for the
// sizes that are in use.
func TestRandomLoss(t *testing.T) {
	for _, n := range braidSizes {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				seed := rapid.Uint64().Draw(t, "seed")
				r := rand.New(rand.NewPCG(seed, 2))
				payload := payloadOf(r, n)
				// Some payload chunks arrive as they are; the rest is repair.
				indices := r.Perm(n)[:r.IntN(n+1)]
				for len(indices) < n {
					if i := r.IntN(1 << 16); !slices.Contains(indices, i) {
						indices = append(indices, i)
					}
				}
				r.Shuffle(n, func(i, j int) { indices[i], indices[j] = indices[j], indices[i] })
				arrived := make([]Chunk, n)
				for i, index := range indices {
					arrived[i] = Encode(payload, uint16(index))
				}
				if !bytes.Equal(Decode(arrived), payload) {
					t.Fatalf("chunks %v do not give the payload", indices)
				}
			})
		})
	}
}

func TestFirstChunksAreThePayload(t *testing.T) {
	payload := payloadOf(rand.New(rand.NewPCG(3, 3)), 36)
	for i := range 36 {
		c := Encode(payload, uint16(i))
		if c.Index != uint16(i) || !bytes.Equal(c.Data[:], payload[i*ChunkSize:(i+1)*ChunkSize]) {
			t.Errorf("chunk %d is not the payload", i)
		}
	}
}

// TestLinearPolynomial checks repair chunks against a polynomial that can be
// evaluated by hand: y = a + b·x through two points has y(i) = a + b·i.
func TestLinearPolynomial(t *testing.T) {
	const a, b = 0x1234, 0xfedc
	var payload [2 * ChunkSize]byte
	for c := range columns {
		payload[2*c], payload[2*c+1] = a>>8, a&0xff
		one := a ^ multiply(b, 1)
		payload[ChunkSize+2*c], payload[ChunkSize+2*c+1] = byte(one>>8), byte(one)
	}
	for _, x := range []uint16{2, 3, 77, 0x8000, 0xffff} {
		want := a ^ multiply(b, x)
		chunk := Encode(payload[:], x)
		for c := range columns {
			if got := uint16(chunk.Data[2*c])<<8 | uint16(chunk.Data[2*c+1]); got != want {
				t.Fatalf("chunk %d, column %d: %04x, want %04x", x, c, got, want)
			}
		}
	}
}

// TestField multiplies with schoolbook arithmetic: a carry-less product of 31
// bits, then long division by the modulus.
func TestField(t *testing.T) {
	const modulus = 0x1100b
	long := func(a, b uint16) uint16 {
		var product uint32
		for i := range 16 {
			if b>>i&1 == 1 {
				product ^= uint32(a) << i
			}
		}
		for i := 30; i >= 16; i-- {
			if product>>i&1 == 1 {
				product ^= modulus << (i - 16)
			}
		}
		return uint16(product)
	}
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Uint16().Draw(t, "a"), rapid.Uint16().Draw(t, "b")
		want := long(a, b)
		if got := multiply(a, b); got != want {
			t.Fatalf("multiply(%04x, %04x) = %04x, want %04x", a, b, got, want)
		}
		if got := multiplesOf(a).times(b); got != want {
			t.Fatalf("multiples of %04x times %04x = %04x, want %04x", a, b, got, want)
		}
	})
	for a := 1; a < 1<<16; a++ {
		if got := multiply(uint16(a), invert(uint16(a))); got != 1 {
			t.Fatalf("%04x times its inverse is %04x", a, got)
		}
	}
}

func BenchmarkRepairChunk(b *testing.B) {
	payload := payloadOf(rand.New(rand.NewPCG(4, 4)), 36)
	for b.Loop() {
		Encode(payload, 1000)
	}
}

func BenchmarkDecodeWithoutPayloadChunks(b *testing.B) {
	payload := payloadOf(rand.New(rand.NewPCG(5, 5)), 36)
	var chunks []Chunk
	for i := range 36 {
		chunks = append(chunks, Encode(payload, uint16(1000+i)))
	}
	for b.Loop() {
		Decode(chunks)
	}
}
