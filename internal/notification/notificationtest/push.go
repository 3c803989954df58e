package notificationtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"sotto/api"
)

// PushService takes Web Push messages for any number of devices, and decrypts them as browsers would.
type PushService struct {
	*httptest.Server

	mu       sync.Mutex
	devices  map[string]*Device // by path
	answer   func(try int) int
	attempts int
}

// Device is a subscribed browser.
type Device struct {
	Subscription api.PushSubscription
	key          *ecdh.PrivateKey

	mu       sync.Mutex
	messages []Message
}

// Message is one push message.
type Message struct {
	Header http.Header
	Body   []byte // decrypted
	Size   int    // bytes of the encrypted body
}

// NewPushService starts a service that stops with the test.
func NewPushService(t testing.TB) *PushService {
	t.Helper()
	p := &PushService{devices: map[string]*Device{}}
	p.Server = httptest.NewServer(http.HandlerFunc(p.take))
	t.Cleanup(p.Close)
	return p
}

// Subscribe makes a device.
func (p *PushService) Subscribe(t testing.TB) *Device {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name, auth := make([]byte, 16), make([]byte, 16)
	_, _ = rand.Read(name)
	_, _ = rand.Read(auth)
	path := fmt.Sprintf("/push/%x", name)
	d := &Device{key: key, Subscription: api.PushSubscription{Endpoint: p.URL + path, P256dh: key.PublicKey().Bytes(), Auth: auth}}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.devices[path] = d
	return d
}

// Forget lets a subscription expire.
func (p *PushService) Forget(d *Device) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.devices, strings.TrimPrefix(d.Subscription.Endpoint, p.URL))
}

// Answer decides the status of each attempt, counted from 1 on; 0 takes the message. Nil takes all.
func (p *PushService) Answer(decide func(try int) int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = decide
}

// Messages are what the device has received.
func (d *Device) Messages() []Message {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]Message(nil), d.messages...)
}

func (p *PushService) take(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	d := p.devices[r.URL.Path]
	p.attempts++
	status := 0
	if p.answer != nil {
		status = p.answer(p.attempts)
	}
	p.mu.Unlock()
	switch {
	case status != 0:
		w.WriteHeader(status)
		return
	case d == nil:
		w.WriteHeader(http.StatusGone)
		return
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, 4<<10))
	if err == nil {
		err = checkVAPID(r.Header.Get("Authorization"), p.URL)
	}
	var body []byte
	if err == nil {
		body, err = Decrypt(d.key, d.Subscription.Auth, raw)
	}
	if err != nil || r.Header.Get("Content-Encoding") != "aes128gcm" || r.Header.Get("TTL") == "" {
		http.Error(w, fmt.Sprint(err), http.StatusBadRequest)
		return
	}
	d.mu.Lock()
	d.messages = append(d.messages, Message{Header: r.Header.Clone(), Body: body, Size: len(raw)})
	d.mu.Unlock()
	w.WriteHeader(http.StatusCreated)
}

// checkVAPID verifies the sender's token (RFC 8292).
func checkVAPID(header, audience string) error {
	fields := strings.TrimPrefix(header, "vapid ")
	t, k, ok := strings.Cut(fields, ", k=")
	if !ok || !strings.HasPrefix(t, "t=") {
		return fmt.Errorf("authorization %q", header)
	}
	point, err := base64.RawURLEncoding.DecodeString(k)
	if err != nil {
		return err
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return err
	}
	claims := jwt.MapClaims{}
	_, err = jwt.ParseWithClaims(t[2:], claims, func(*jwt.Token) (any, error) { return key, nil },
		jwt.WithValidMethods([]string{"ES256"}), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	if err == nil && claims["sub"] == nil {
		err = errors.New("no subject")
	}
	return err
}

// Decrypt opens a message of content coding aes128gcm (RFC 8188) under the keys of RFC 8291.
func Decrypt(key *ecdh.PrivateKey, auth, raw []byte) ([]byte, error) {
	if len(raw) < 21 || len(raw) < 21+int(raw[20]) {
		return nil, errors.New("no header")
	}
	salt, size, sender := raw[:16], binary.BigEndian.Uint32(raw[16:20]), raw[21:21+int(raw[20])]
	sealed := raw[21+len(sender):]
	if uint32(len(sealed)) > size {
		return nil, errors.New("more than one record")
	}
	public, err := ecdh.P256().NewPublicKey(sender)
	if err != nil {
		return nil, err
	}
	shared, err := key.ECDH(public)
	if err != nil {
		return nil, err
	}
	info := append(append([]byte("WebPush: info\x00"), key.PublicKey().Bytes()...), sender...)
	ikm, err := hkdf.Key(sha256.New, shared, auth, string(info), 32)
	if err != nil {
		return nil, err
	}
	cek, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: aes128gcm\x00", 16)
	if err != nil {
		return nil, err
	}
	nonce, err := hkdf.Key(sha256.New, ikm, salt, "Content-Encoding: nonce\x00", 12)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(cek)
	if err != nil {
		return nil, err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	padded, err := gcm.Open(nil, nonce, sealed, nil)
	if err != nil {
		return nil, err
	}
	text := strings.TrimRight(string(padded), "\x00")
	if !strings.HasSuffix(text, "\x02") {
		return nil, errors.New("no end of the last record")
	}
	return []byte(text[:len(text)-1]), nil
}
