package config

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
)

// FCMAccount is what matters of the key of a service account, as Firebase hands it out.
type FCMAccount struct {
	Project  string `json:"project_id"`
	KeyID    string `json:"private_key_id"`
	Key      Secret `json:"private_key"` // PEM
	Email    string `json:"client_email"`
	TokenURL string `json:"token_uri"`
}

const minRSA = 2048 // bits

var projectID = regexp.MustCompile(`^[a-z0-9][a-z0-9.:-]{0,99}$`) // it becomes part of a path

// FCM reads SOTTO_FCM_CREDENTIALS; it is nil where that is not set. No error repeats what is in it.
func (c *Config) FCM() (*FCMAccount, error) {
	if c.FCMCredentials == "" {
		return nil, nil //nolint:nilnil // there is no FCM
	}
	const write = "; give the JSON file that Firebase makes under project settings, service accounts, generate new private key, " +
		"with SOTTO_FCM_CREDENTIALS_FILE"
	var a FCMAccount
	if err := json.Unmarshal([]byte(c.FCMCredentials), &a); err != nil {
		return nil, errors.New("SOTTO_FCM_CREDENTIALS is no JSON object of a service account" + write)
	}
	for _, f := range []struct{ name, value string }{
		{"project_id", a.Project}, {"private_key_id", a.KeyID}, {"private_key", string(a.Key)}, {"client_email", a.Email},
		{"token_uri", a.TokenURL},
	} {
		if f.value == "" {
			return nil, fmt.Errorf("SOTTO_FCM_CREDENTIALS has no %s"+write, f.name)
		}
	}
	switch {
	case !projectID.MatchString(a.Project):
		return nil, errors.New("SOTTO_FCM_CREDENTIALS has a project_id that is none" + write)
	case !keepsKeys(a.TokenURL):
		return nil, errors.New("SOTTO_FCM_CREDENTIALS has a token_uri that is no https URL" + write)
	case !signs(string(a.Key)):
		return nil, fmt.Errorf("SOTTO_FCM_CREDENTIALS has a private_key that is no RSA key of at least %d bits in PEM"+write, minRSA)
	}
	return &a, nil
}

// signs tells that a key can sign as Google wants it.
func signs(text string) bool {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return false
	}
	key, err := x509.ParsePKCS1PrivateKey(block.Bytes)
	if err != nil {
		any8, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return false
		}
		key, _ = any8.(*rsa.PrivateKey)
	}
	return key != nil && key.N.BitLen() >= minRSA
}
