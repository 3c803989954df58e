package e2ee

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha512"
	"fmt"
)

const (
	fingerprintVersion    = 2    // of the scannable form
	fingerprintIterations = 5200 // of SHA-512, to make a search for a similar number slow
)

// SafetyNumber returns what two people compare to make sure that each has the
// other's real account key: 60 digits, the same for both, and the bytes of a
// QR code, which name the first account as the one who shows it. Compare
// scanned bytes with [CompareScannable].
func SafetyNumber(account1 [16]byte, key1 PublicKey, account2 [16]byte, key2 PublicKey) (
	digits string, scannable []byte,
) {
	h1, h2 := fingerprint(account1, key1), fingerprint(account2, key2)
	d1, d2 := fingerprintDigits(h1), fingerprintDigits(h2)
	scannable = appendUintField(nil, 1, fingerprintVersion)
	scannable = appendBytesField(scannable, 2, appendBytesField(nil, 1, h1[:32]))
	scannable = appendBytesField(scannable, 3, appendBytesField(nil, 1, h2[:32]))
	return min(d1, d2) + max(d1, d2), scannable
}

// CompareScannable reports whether the bytes scanned from the other's screen
// show the same two keys as one's own. It returns [ErrVersion] when the other
// uses another kind of safety number, [ErrInvalidMessage] when these are none.
func CompareScannable(own, scanned []byte) (bool, error) {
	ownLocal, ownRemote, err := parseScannable(own)
	if err != nil {
		return false, err
	}
	local, remote, err := parseScannable(scanned)
	if err != nil {
		return false, err
	}
	return hmac.Equal(ownLocal, remote) && hmac.Equal(ownRemote, local), nil
}

func fingerprint(account [16]byte, key PublicKey) [64]byte {
	h := sha512.Sum512(bytes.Join([][]byte{{0, 0}, key[:], account[:], key[:]}, nil))
	for range fingerprintIterations - 1 {
		h = sha512.Sum512(append(h[:], key[:]...))
	}
	return h
}

// fingerprintDigits turns the first 30 bytes into 30 digits.
func fingerprintDigits(h [64]byte) string {
	var digits []byte
	for group := range 6 {
		var n uint64
		for _, b := range h[group*5 : group*5+5] {
			n = n<<8 | uint64(b)
		}
		digits = fmt.Appendf(digits, "%05d", n%100_000)
	}
	return string(digits)
}

func parseScannable(b []byte) (local, remote []byte, err error) {
	var version uint64
	var hashes [2][]byte
	r := readWire(b)
	for r.next() {
		switch r.number {
		case 1:
			version = r.uint64()
		case 2, 3:
			inner := readWire(r.bytes(256))
			for inner.next() {
				if inner.number == 1 {
					hashes[r.number-2] = inner.bytes(64)
				}
			}
			if inner.err != nil {
				r.err = inner.err
			}
		}
	}
	if r.err != nil || len(hashes[0]) != 32 || len(hashes[1]) != 32 {
		return nil, nil, fmt.Errorf("parsing a safety number: %w", ErrInvalidMessage)
	}
	if version != fingerprintVersion {
		return nil, nil, fmt.Errorf("safety number version %d: %w", version, ErrVersion)
	}
	return hashes[0], hashes[1], nil
}
