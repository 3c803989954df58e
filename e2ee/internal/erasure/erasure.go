// Package erasure spreads a payload over chunks of 32 bytes, any large enough
// set of which gives the payload back.
//
// It is a systematic Reed–Solomon code over GF(2^16). A payload of n chunks is
// read as big-endian 16-bit words; the words w with w mod 16 = c are the values
// of the polynomial number c, of degree below n, at x = w div 16. Chunk i holds
// the values of the sixteen polynomials at x = i, so the chunks 0 to n-1 are
// the payload itself and any n distinct chunks determine it.
//
// The chunks of ML-KEM Braid travel in clear: nothing here is secret, and
// nothing here runs in constant time.
package erasure

// ChunkSize is the size of a chunk in bytes.
const ChunkSize = 32

// columns is the number of 16-bit words in a chunk: one for each polynomial.
const columns = ChunkSize / 2

// Chunk is one piece of a payload, and its number: the x at which the
// polynomials were evaluated.
type Chunk struct {
	Index uint16
	Data  [ChunkSize]byte
}

// Encode returns one chunk of a payload. The size of the payload must be a
// multiple of [ChunkSize] and not zero.
func Encode(payload []byte, index uint16) Chunk {
	n := len(payload) / ChunkSize
	chunk := Chunk{Index: index}
	if int(index) < n {
		copy(chunk.Data[:], payload[int(index)*ChunkSize:])
		return chunk
	}
	known := make([]Chunk, n)
	for i := range known {
		known[i] = Encode(payload, uint16(i))
	}
	return newPolynomials(known).at(index)
}

// Decode returns the payload of which chunks are len(chunks) distinct pieces,
// where len(chunks)·[ChunkSize] is the size of the payload. The order of the
// chunks does not matter.
func Decode(chunks []Chunk) []byte {
	payload := make([]byte, len(chunks)*ChunkSize)
	have := make([]bool, len(chunks))
	for _, c := range chunks {
		if int(c.Index) < len(chunks) {
			copy(payload[int(c.Index)*ChunkSize:], c.Data[:])
			have[c.Index] = true
		}
	}
	var p *polynomials
	for i := range have {
		if have[i] {
			continue
		}
		if p == nil {
			p = newPolynomials(chunks)
		}
		missing := p.at(uint16(i))
		copy(payload[i*ChunkSize:], missing.Data[:])
	}
	return payload
}

// polynomials are the sixteen polynomials that a set of chunks determines, in
// barycentric Lagrange form.
type polynomials struct {
	chunks  []Chunk
	weights []uint16 // Π (x_j - x_k) over all k ≠ j
}

func newPolynomials(chunks []Chunk) *polynomials {
	p := &polynomials{chunks: chunks, weights: make([]uint16, len(chunks))}
	for j, a := range chunks {
		weight := uint16(1)
		for k, b := range chunks {
			if k != j {
				weight = multiply(weight, a.Index^b.Index)
			}
		}
		p.weights[j] = weight
	}
	return p
}

// at evaluates the polynomials at an x that is not among the chunks: the sum
// over j of y_j · Π (x - x_k) / ((x - x_j) · weight_j).
func (p *polynomials) at(x uint16) Chunk {
	product := uint16(1)
	for _, c := range p.chunks {
		product = multiply(product, x^c.Index)
	}
	var sum [columns]uint16
	for j, c := range p.chunks {
		factor := multiply(product, invert(multiply(p.weights[j], x^c.Index)))
		multiples := multiplesOf(factor)
		for i := range sum {
			word := uint16(c.Data[2*i])<<8 | uint16(c.Data[2*i+1])
			sum[i] ^= multiples.times(word)
		}
	}
	chunk := Chunk{Index: x}
	for i, word := range sum {
		chunk.Data[2*i], chunk.Data[2*i+1] = byte(word>>8), byte(word)
	}
	return chunk
}
