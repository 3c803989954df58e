package erasure

// Arithmetic in GF(2^16), the polynomials over GF(2) modulo
// x^16 + x^12 + x^3 + x + 1. Bit i of a word is the coefficient of x^i.
// Addition and subtraction are both XOR.

// reduction is the modulus without its leading term.
const reduction = 0x100b

// double multiplies by x.
func double(a uint16) uint16 {
	return a<<1 ^ reduction&-(a>>15)
}

// multiply is fastest when b is the smaller number.
func multiply(a, b uint16) uint16 {
	var product uint16
	for ; b != 0; b >>= 1 {
		product ^= a & -(b & 1)
		a = double(a)
	}
	return product
}

// invert returns a^(2^16-2), which is 1/a for every a but 0.
func invert(a uint16) uint16 {
	inverse := uint16(1)
	for range 15 {
		a = multiply(a, a)
		inverse = multiply(inverse, a)
	}
	return inverse
}

// multiples holds the products of one number with the 16 values of each
// nibble, to multiply it with many others.
type multiples [4][16]uint16

func multiplesOf(a uint16) *multiples {
	m := new(multiples)
	for nibble := range m {
		for bit := 1; bit < 16; bit <<= 1 {
			for low := range bit {
				m[nibble][bit|low] = m[nibble][low] ^ a
			}
			a = double(a)
		}
	}
	return m
}

func (m *multiples) times(b uint16) uint16 {
	return m[0][b&15] ^ m[1][b>>4&15] ^ m[2][b>>8&15] ^ m[3][b>>12]
}
