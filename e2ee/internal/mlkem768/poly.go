package mlkem768

import "crypto/sha3"

// q is the modulus of ML-KEM.
const q = 3329

// poly is a polynomial of degree 255 with coefficients in [0, q), or its
// image under the NTT.
type poly [256]uint16

// zetas are the powers 17^BitRev7(i) mod q of FIPS 203 appendix A.
var zetas = bitReversedPowers()

func bitReversedPowers() (table [128]uint16) {
	power := uint32(1)
	for exponent := range 128 {
		reversed := 0
		for bit := range 7 {
			reversed |= exponent >> bit & 1 << (6 - bit)
		}
		table[reversed] = uint16(power)
		power = power * 17 % q
	}
	return table
}

// divide returns a/q and a mod q. The compiler may turn a division of secrets
// into an instruction of varying time, so this multiplies by 2^36/q, rounded
// down. For every 32-bit a the first quotient is right or one too small.
func divide(a uint32) (quotient uint32, remainder uint16) {
	quotient = uint32(uint64(a) * (1 << 36 / q) >> 36)
	r := a - quotient*q
	less := (r - q) >> 31 // 1 when r < q
	return quotient + 1 - less, reduceOnce(r)
}

// reduceOnce returns a mod q for a < 2q.
func reduceOnce(a uint32) uint16 {
	r := a - q
	return uint16(r + q&-(r>>31))
}

func reduce(a uint32) uint16 {
	_, r := divide(a)
	return r
}

// ntt is algorithm 9 of FIPS 203.
func (p *poly) ntt() {
	i := 1
	for length := 128; length >= 2; length /= 2 {
		for start := 0; start < 256; start += 2 * length {
			zeta := uint32(zetas[i])
			i++
			for j := start; j < start+length; j++ {
				a, b := uint32(p[j]), uint32(reduce(zeta*uint32(p[j+length])))
				p[j], p[j+length] = reduceOnce(a+b), reduceOnce(a+q-b)
			}
		}
	}
}

// inverseNTT is algorithm 10 of FIPS 203.
func (p *poly) inverseNTT() {
	i := 127
	for length := 2; length <= 128; length *= 2 {
		for start := 0; start < 256; start += 2 * length {
			zeta := uint32(zetas[i])
			i--
			for j := start; j < start+length; j++ {
				a, b := uint32(p[j]), uint32(p[j+length])
				p[j], p[j+length] = reduceOnce(a+b), reduce(zeta*(b+q-a))
			}
		}
	}
	for j := range p {
		p[j] = reduce(uint32(p[j]) * 3303) // 1/128
	}
}

func (p *poly) add(b *poly) {
	for i := range p {
		p[i] = reduceOnce(uint32(p[i]) + uint32(b[i]))
	}
}

// addProduct adds a·b, all in the NTT domain (algorithms 11 and 12 of FIPS 203).
func (p *poly) addProduct(a, b *poly) {
	for i := 0; i < 256; i += 2 {
		gamma := uint32(zetas[64+i/4])
		if i%4 != 0 {
			gamma = q - gamma
		}
		a0, a1, b0, b1 := uint32(a[i]), uint32(a[i+1]), uint32(b[i]), uint32(b[i+1])
		p[i] = reduce(uint32(p[i]) + a0*b0 + uint32(reduce(a1*b1))*gamma)
		p[i+1] = reduce(uint32(p[i+1]) + a0*b1 + a1*b0)
	}
}

// compress maps every coefficient x to round(2^bits/q·x) mod 2^bits.
func (p *poly) compress(bits uint) *poly {
	var c poly
	for i, x := range p {
		quotient, _ := divide(uint32(x)<<bits + q/2)
		c[i] = uint16(quotient & (1<<bits - 1))
	}
	return &c
}

// appendBits is ByteEncode of FIPS 203: the low bits of every coefficient,
// least significant first.
func (p *poly) appendBits(b []byte, bits uint) []byte {
	var buffer uint32
	var have uint
	for _, x := range p {
		buffer |= uint32(x) << have
		for have += bits; have >= 8; have -= 8 {
			b = append(b, byte(buffer))
			buffer >>= 8
		}
	}
	return b
}

// parse12 is ByteDecode with 12 bits, for 384 bytes. It reports false when a
// coefficient is not below q.
func parse12(b []byte) (p poly, ok bool) {
	ok = true
	for i := range 128 {
		x, y, z := uint16(b[3*i]), uint16(b[3*i+1]), uint16(b[3*i+2])
		first, second := x|y&15<<8, y>>4|z<<4
		p[2*i], p[2*i+1] = first, second
		ok = ok && first < q && second < q
	}
	return p, ok
}

// parseMessage decompresses the 256 bits of the message: 0 to 0, 1 to
// round(q/2).
func parseMessage(random [RandomSize]byte) (p poly) {
	for i := range p {
		bit := uint16(random[i/8]>>(i%8)) & 1
		p[i] = (q + 1) / 2 & -bit
	}
	return p
}

// sampleUniform is SampleNTT of FIPS 203 for the entry in row j and column i of
// the matrix A, that is the entry (i, j) of its transpose.
func sampleUniform(rho []byte, i, j byte) (p poly) {
	xof := sha3.NewSHAKE128() // its methods never return an error
	_, _ = xof.Write(rho)
	_, _ = xof.Write([]byte{i, j})
	var block [168]byte
	for n := 0; n < 256; {
		_, _ = xof.Read(block[:])
		for b := block[:]; len(b) > 0 && n < 256; b = b[3:] {
			first, second := uint16(b[0])|uint16(b[1]&15)<<8, uint16(b[1]>>4)|uint16(b[2])<<4
			if first < q {
				p[n] = first
				n++
			}
			if second < q && n < 256 {
				p[n] = second
				n++
			}
		}
	}
	return p
}

// sampleNoise samples the centred binomial distribution with eta = 2
// (algorithm 8 of FIPS 203) from SHAKE256(coins || n).
func sampleNoise(coins [32]byte, n byte) (p poly) {
	b := sha3.SumSHAKE256(append(coins[:], n), 128)
	for i := range p {
		nibble := b[i/2] >> (i % 2 * 4)
		plus, minus := nibble&1+nibble>>1&1, nibble>>2&1+nibble>>3&1
		p[i] = reduceOnce(uint32(plus) + q - uint32(minus))
	}
	return p
}
