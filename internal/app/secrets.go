package app

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"

	"sotto/internal/config"
)

// secretBytes are the bytes of a secret setting: a value copied from secrets.json is the same secret as there, any other
// text is hashed.
func secretBytes(s config.Secret) []byte {
	if b, err := base64.StdEncoding.DecodeString(string(s)); err == nil && len(b) == secretSize {
		return b
	}
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// override puts the settings over what a file held.
func (s *secrets) override(c config.Config) error {
	for _, given := range []struct {
		value config.Secret
		into  *[]byte
	}{{c.Pepper, &s.Pepper}, {c.FakeSecret, &s.FakeSecret}, {c.AttemptKey, &s.AttemptKey}, {c.NotificationSecret, &s.Notification}} {
		if given.value != "" {
			*given.into = secretBytes(given.value)
		}
	}
	if c.JWTSecret != "" {
		s.JWT = []byte(c.JWTSecret)
	}
	if c.FrankingKey == "" {
		return nil
	}
	s.FrankingKey = nil
	for one := range strings.SplitSeq(string(c.FrankingKey), ",") {
		number, key, ok := strings.Cut(strings.TrimSpace(one), ":")
		kid, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil || kid == 0 || len(key) < secretSize {
			return fmt.Errorf("SOTTO_FRANKING_KEY is not a number, a colon and at least %d characters; "+
				"write 1: and the output of openssl rand -base64 32", secretSize)
		}
		s.FrankingKey = append(s.FrankingKey, frankingKey{KID: uint32(kid), Key: secretBytes(config.Secret(key))})
	}
	return nil
}

// derive fills what may follow from the pepper.
func (s *secrets) derive() error {
	for _, d := range []struct {
		label string
		into  *[]byte
	}{{"sotto fake secret v1", &s.FakeSecret}, {"sotto attempt key v1", &s.AttemptKey}} {
		if len(*d.into) > 0 {
			continue
		}
		b, err := hkdf.Key(sha256.New, s.Pepper, nil, d.label, secretSize)
		if err != nil {
			return fmt.Errorf("deriving a secret: %w", err)
		}
		*d.into = b
	}
	return nil
}

// missing names the setting that the services of the target need and that was not given.
func (s *secrets) missing(t target) string {
	switch {
	case t.user && len(s.JWT) == 0:
		return "SOTTO_JWT_SECRET"
	case t.user && len(s.Pepper) == 0:
		return "SOTTO_PEPPER"
	case t.chat && len(s.FrankingKey) == 0:
		return "SOTTO_FRANKING_KEY"
	case t.notification && len(s.Notification) == 0:
		return "SOTTO_NOTIFICATION_SECRET"
	}
	return ""
}

// findSecrets takes the secrets from the settings and, for serve, from the data directory, where they are made for a new
// server. mayMake refuses to make them.
func findSecrets(c config.Config, t target, dir *dataDir, mayMake func() error) (*secrets, error) {
	s := &secrets{}
	if err := s.override(c); err != nil {
		return nil, err
	}
	if dir == nil {
		if name := s.missing(t); name != "" {
			return nil, fmt.Errorf("%s is not set; separate services have their secrets as settings, the same for every process of "+
				"a service: copy those of a server's %s, or make new ones with openssl rand -base64 32", name, secretsFile)
		}
		return s, s.derive()
	}
	if s.missing(t) == "" && !dir.hasSecrets() {
		return s, s.derive()
	}
	s, err := dir.loadSecrets(rand.Reader, time.Now().UnixMilli(), mayMake)
	if err != nil {
		return nil, err
	}
	return s, s.override(c)
}
