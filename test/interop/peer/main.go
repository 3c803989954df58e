// Command peer is package e2ee as a party of the interoperation tests: one JSON
// request per line on standard input, one JSON answer per line on standard
// output. It is built natively and for js/wasm. Every session is stored as
// bytes and read back around each call, as a client does.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"sotto/e2ee"
)

// request is one command. Account and device are the other party's, but for
// "new".
type request struct {
	Do        string  `json:"do"`
	Account   []byte  `json:"account"`
	Device    uint32  `json:"device"`
	OneTime   bool    `json:"oneTime"`
	Bundle    *bundle `json:"bundle"`
	Type      uint8   `json:"type"`
	Data      []byte  `json:"data"`
	Key       []byte  `json:"key"`
	Signature []byte  `json:"signature"`
	Group     []byte  `json:"group"`
}

func (r request) address() e2ee.Address {
	return e2ee.Address{Account: [16]byte(r.Account), Device: r.Device}
}

type answer struct {
	Error     string  `json:"error,omitempty"`
	Duplicate bool    `json:"duplicate,omitempty"` // the error is that the message was decrypted before
	Type      uint8   `json:"type,omitempty"`
	Data      []byte  `json:"data,omitempty"`
	Key       []byte  `json:"key,omitempty"`
	OK        bool    `json:"ok,omitempty"`
	Digits    string  `json:"digits,omitempty"`
	Bundle    *bundle `json:"bundle,omitempty"`
}

type bundle struct {
	Registration    uint32 `json:"registration"`
	Identity        []byte `json:"identity"`
	OneTimeID       uint32 `json:"oneTimeId,omitempty"`
	OneTime         []byte `json:"oneTime,omitempty"`
	SignedID        uint32 `json:"signedId"`
	Signed          []byte `json:"signed"`
	SignedSignature []byte `json:"signedSignature"`
	KyberID         uint32 `json:"kyberId"`
	Kyber           []byte `json:"kyber"`
	KyberSignature  []byte `json:"kyberSignature"`
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	answers := json.NewEncoder(os.Stdout)
	var d *device
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return // the test has closed the pipe
		}
		var r request
		if err := json.Unmarshal(line, &r); err != nil {
			fmt.Fprintln(os.Stderr, "peer:", err)
			os.Exit(1)
		}
		var a answer
		if r.Do == "new" {
			d, err = newDevice(r.address())
			if err == nil {
				a.Key = d.local.Identity.Public[:]
			}
		} else {
			a, err = d.do(r)
		}
		if err != nil {
			a = answer{Error: err.Error(), Duplicate: errors.Is(err, e2ee.ErrDuplicate)}
		}
		if err := answers.Encode(a); err != nil {
			fmt.Fprintln(os.Stderr, "peer:", err)
			os.Exit(1)
		}
	}
}

// device is one device with its stores.
type device struct {
	local    e2ee.Local
	nextID   uint32
	sessions map[e2ee.Address][]byte
	keys     keys
	own      map[[16]byte]*e2ee.SenderKey
	peers    map[groupSender]*e2ee.PeerSenderKeys
}

type groupSender struct {
	sender       e2ee.Address
	distribution [16]byte
}

// keys is the [e2ee.PreKeySource] of a device.
type keys struct {
	oneTime map[uint32]e2ee.PreKey
	signed  map[uint32]e2ee.SignedPreKey
	kyber   map[uint32]e2ee.KyberPreKey
	used    map[usedKyber]bool
}

type usedKyber struct {
	kyberID, signedID uint32
	base              e2ee.PublicKey
}

func (k keys) PreKey(id uint32) (e2ee.PreKey, error)             { return find(k.oneTime, id) }
func (k keys) SignedPreKey(id uint32) (e2ee.SignedPreKey, error) { return find(k.signed, id) }
func (k keys) KyberPreKey(id uint32) (e2ee.KyberPreKey, error)   { return find(k.kyber, id) }

func (k keys) KyberUsed(kyberID, signedID uint32, base e2ee.PublicKey) (bool, error) {
	return k.used[usedKyber{kyberID, signedID, base}], nil
}

func find[K any](m map[uint32]K, id uint32) (K, error) {
	k, ok := m[id]
	if !ok {
		return k, e2ee.ErrNoPreKey
	}
	return k, nil
}

func newDevice(address e2ee.Address) (*device, error) {
	identity, err := e2ee.NewKeyPair(rand.Reader)
	if err != nil {
		return nil, err
	}
	return &device{
		local:    e2ee.Local{Address: address, Identity: identity, RegistrationID: 4711},
		nextID:   1,
		sessions: make(map[e2ee.Address][]byte),
		keys: keys{
			oneTime: make(map[uint32]e2ee.PreKey),
			signed:  make(map[uint32]e2ee.SignedPreKey),
			kyber:   make(map[uint32]e2ee.KyberPreKey),
			used:    make(map[usedKyber]bool),
		},
		own:   make(map[[16]byte]*e2ee.SenderKey),
		peers: make(map[groupSender]*e2ee.PeerSenderKeys),
	}, nil
}

func (d *device) do(r request) (answer, error) {
	switch r.Do {
	case "bundle":
		return d.bundle(r.OneTime)
	case "initiate":
		return d.initiate(r)
	case "encrypt":
		return d.encrypt(r)
	case "decrypt":
		return d.decrypt(r)
	case "sign":
		sig, err := d.local.Identity.Private.Sign(rand.Reader, r.Data)
		return answer{Data: sig[:]}, err
	case "verify":
		key, err := e2ee.ParsePublicKey(r.Key)
		return answer{OK: err == nil && key.Verify(r.Data, r.Signature)}, err
	case "distribute", "groupEncrypt":
		return d.sendToGroup(r)
	case "accept", "groupDecrypt":
		return d.receiveFromGroup(r)
	case "fingerprint":
		key, err := e2ee.ParsePublicKey(r.Key)
		digits, scannable := e2ee.SafetyNumber(
			d.local.Address.Account, d.local.Identity.Public, [16]byte(r.Account), key)
		return answer{Digits: digits, Data: scannable}, err
	case "retryRequest":
		m, err := e2ee.NewDecryptionErrorMessage(e2ee.Message{Type: r.Type, Bytes: r.Data}, 1234567890123, 3)
		return answer{Data: m.Marshal()}, err
	default:
		return answer{}, fmt.Errorf("unknown command %q", r.Do)
	}
}

// bundle makes new prekeys and keeps their private halves.
func (d *device) bundle(oneTime bool) (answer, error) {
	id := d.nextID
	d.nextID++
	signed, err := e2ee.NewSignedPreKey(rand.Reader, d.local.Identity, id)
	if err != nil {
		return answer{}, err
	}
	kyber, err := e2ee.NewKyberPreKey(rand.Reader, d.local.Identity, id, true)
	if err != nil {
		return answer{}, err
	}
	d.keys.signed[id], d.keys.kyber[id] = signed, kyber
	b := &bundle{
		Registration:    d.local.RegistrationID,
		Identity:        d.local.Identity.Public[:],
		SignedID:        id,
		Signed:          signed.Pair.Public[:],
		SignedSignature: signed.Signature[:],
		KyberID:         id,
		Kyber:           kyber.Pair.Public,
		KyberSignature:  kyber.Signature[:],
	}
	if oneTime {
		k, err := e2ee.NewPreKey(rand.Reader, id)
		if err != nil {
			return answer{}, err
		}
		d.keys.oneTime[id] = k
		b.OneTimeID, b.OneTime = id, k.Pair.Public[:]
	}
	return answer{Bundle: b}, nil
}

// session runs one call on the stored session with a party and stores what
// became of it.
func (d *device) session(with e2ee.Address, call func(*e2ee.Session) error) error {
	s := e2ee.NewSession()
	if stored, ok := d.sessions[with]; ok {
		var err error
		if s, err = e2ee.ParseSession(stored); err != nil {
			return err
		}
	}
	if err := call(s); err != nil {
		return err
	}
	d.sessions[with] = s.Marshal()
	return nil
}

func (d *device) initiate(r request) (answer, error) {
	b := e2ee.PreKeyBundle{
		Address:        r.address(),
		RegistrationID: r.Bundle.Registration,
		SignedPreKeyID: r.Bundle.SignedID,
		KyberPreKeyID:  r.Bundle.KyberID,
	}
	var err error
	parse := func(key []byte) e2ee.PublicKey {
		k, parseErr := e2ee.ParsePublicKey(key)
		err = errors.Join(err, parseErr)
		return k
	}
	b.IdentityKey = parse(r.Bundle.Identity)
	b.SignedPreKey = parse(r.Bundle.Signed)
	if r.Bundle.OneTime != nil {
		b.PreKey = &e2ee.PublicPreKey{ID: r.Bundle.OneTimeID, Key: parse(r.Bundle.OneTime)}
	}
	if err != nil {
		return answer{}, err
	}
	if b.KyberPreKey, err = e2ee.ParseKEMPublicKey(r.Bundle.Kyber); err != nil {
		return answer{}, err
	}
	copy(b.SignedPreKeySignature[:], r.Bundle.SignedSignature)
	copy(b.KyberPreKeySignature[:], r.Bundle.KyberSignature)
	return answer{}, d.session(r.address(), func(s *e2ee.Session) error {
		return s.Initiate(rand.Reader, d.local, b, time.Now())
	})
}

func (d *device) encrypt(r request) (answer, error) {
	var m e2ee.Message
	err := d.session(r.address(), func(s *e2ee.Session) (err error) {
		m, err = s.Encrypt(rand.Reader, d.local, r.address(), r.Data, time.Now())
		return err
	})
	return answer{Type: m.Type, Data: m.Bytes}, err
}

func (d *device) decrypt(r request) (answer, error) {
	var got e2ee.Received
	err := d.session(r.address(), func(s *e2ee.Session) (err error) {
		m := e2ee.Message{Type: r.Type, Bytes: r.Data}
		got, err = s.Decrypt(rand.Reader, d.local, r.address(), m, d.keys)
		return err
	})
	if err != nil {
		return answer{}, err
	}
	if c := got.Consumed; c != nil {
		if c.PreKeyID != nil {
			delete(d.keys.oneTime, *c.PreKeyID)
		}
		d.keys.used[usedKyber{c.KyberPreKeyID, c.SignedPreKeyID, c.BaseKey}] = true
	}
	return answer{Data: got.Plaintext}, nil
}

func (d *device) sendToGroup(r request) (answer, error) {
	group := [16]byte(r.Group)
	if d.own[group] == nil {
		k, err := e2ee.NewSenderKey(rand.Reader, group, time.Now())
		if err != nil {
			return answer{}, err
		}
		d.own[group] = k
	}
	if r.Do == "distribute" {
		return answer{Data: d.own[group].Distribution()}, nil
	}
	m, err := d.own[group].Encrypt(rand.Reader, r.Data)
	return answer{Type: m.Type, Data: m.Bytes}, err
}

func (d *device) receiveFromGroup(r request) (answer, error) {
	peek := e2ee.PeekSenderKeyMessage
	if r.Do == "accept" {
		peek = e2ee.PeekSenderKeyDistribution
	}
	distribution, err := peek(r.Data)
	if err != nil {
		return answer{}, err
	}
	at := groupSender{r.address(), distribution}
	if d.peers[at] == nil {
		d.peers[at] = new(e2ee.PeerSenderKeys)
	}
	if r.Do == "accept" {
		return answer{}, d.peers[at].Accept(r.Data)
	}
	plaintext, err := d.peers[at].Decrypt(e2ee.Message{Type: e2ee.TypeSenderKey, Bytes: r.Data})
	return answer{Data: plaintext}, err
}
