package token

import "crypto/ed25519"

// DeriveKeyForTest lets the test sign tokens that only their content makes invalid.
func DeriveKeyForTest(secret []byte) (ed25519.PrivateKey, error) {
	key, _, err := deriveKey(secret)
	return key, err
}
