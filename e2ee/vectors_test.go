package e2ee_test

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sotto/e2ee"
)

// The vectors in testdata are for other implementations. Each test makes them
// again from fixed seeds, compares, and then reads what the file says as another
// implementation would.

var update = flag.Bool("update", false, "write the test vectors in testdata")

// hexBytes stands in JSON as lower case hex.
type hexBytes []byte

func (h hexBytes) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h)), nil }

func (h *hexBytes) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	*h = b
	return err
}

func (h hexBytes) id() [16]byte  { return [16]byte(h) }
func (h hexBytes) key() [32]byte { return [32]byte(h) }

func vectors[T any](t *testing.T, file string, made T) T {
	t.Helper()
	path := filepath.Join("testdata", file)
	if *update {
		b, err := json.MarshalIndent(made, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var read T
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(read, made); diff != "" {
		t.Errorf("%s differs from what is made today (-file +made):\n%s", file, diff)
	}
	return read
}

// errorName is how the vectors name an error.
func errorName(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, e2ee.ErrFormat):
		return "format"
	case errors.Is(err, e2ee.ErrSignature):
		return "signature"
	case errors.Is(err, e2ee.ErrRecoveryTypo):
		return "typo"
	}
	return err.Error()
}

// signedVector is a structure and its signature. Error is empty when it must be
// accepted.
type signedVector struct {
	Name      string          `json:"name"`
	Key       hexBytes        `json:"public_key"`
	Fields    json.RawMessage `json:"fields,omitempty"`
	Encoded   hexBytes        `json:"encoded"`
	Signature hexBytes        `json:"signature"`
	Hash      hexBytes        `json:"hash,omitempty"`
	Error     string          `json:"error,omitempty"`
}

type listFields struct {
	Account    hexBytes       `json:"account"`
	Version    uint64         `json:"version"`
	Previous   hexBytes       `json:"previous"`
	Time       int64          `json:"time"`
	AccountKey hexBytes       `json:"account_key"`
	Devices    []deviceFields `json:"devices"`
}

type deviceFields struct {
	ID             uint32   `json:"id"`
	RegistrationID uint32   `json:"registration_id"`
	IdentityKey    hexBytes `json:"identity_key"`
	AddedAt        int64    `json:"added_at"`
	Capabilities   uint64   `json:"capabilities"`
}

func fieldsOfList(l e2ee.DeviceList) json.RawMessage {
	f := listFields{Account: l.Account[:], Version: l.Version, Previous: l.Previous[:], Time: l.Time,
		AccountKey: l.AccountKey[:]}
	for _, d := range l.Devices {
		f.Devices = append(f.Devices, deviceFields{d.ID, d.RegistrationID, d.IdentityKey[:], d.AddedAt, d.Capabilities})
	}
	return rawJSON(f)
}

// rawJSON is indented like the file it will be part of, so that it compares
// equal when it is read again.
func rawJSON(v any) json.RawMessage {
	b, err := json.MarshalIndent(v, "    ", "  ")
	if err != nil {
		panic(err)
	}
	return b
}

func TestDeviceListVectors(t *testing.T) {
	l, account := deviceList(t)
	first := l
	first.Version, first.Previous, first.Devices = 1, [32]byte{}, l.Devices[:1]
	signedFirst := signList(t, first, account)
	l.Previous = signedFirst.Hash()
	var made []signedVector
	add := func(name string, s e2ee.SignedDeviceList, fields json.RawMessage) {
		v := signedVector{Name: name, Key: account.Public[:], Encoded: s.List, Signature: s.Signature, Fields: fields}
		if _, err := s.Open(account.Public); err != nil {
			v.Error = errorName(err)
		} else {
			hash := s.Hash()
			v.Hash = hash[:]
		}
		made = append(made, v)
	}
	list := signList(t, l, account)
	add("version 1", signedFirst, fieldsOfList(first))
	add("version 2", list, fieldsOfList(l))
	none := l
	none.Version, none.Previous, none.Devices = 3, list.Hash(), nil
	add("version 3, no devices", signList(t, none, account), fieldsOfList(none))
	add("changed after signing", e2ee.SignedDeviceList{List: signedFirst.List, Signature: list.Signature}, nil)
	add("signed by another key", signRaw(t, list.List, newKey(t, 77)), nil)
	add("unknown field", signRaw(t, uintField(bytes.Clone(list.List), 7, 0), account), nil)
	swapped := l
	swapped.Devices = []e2ee.ListedDevice{l.Devices[1], l.Devices[0]}
	add("ids not ascending", signRaw(t, encodeList(swapped), account), nil)

	for _, v := range vectors(t, "devicelist.json", made) {
		s := e2ee.SignedDeviceList{List: v.Encoded, Signature: v.Signature}
		got, err := s.Open(e2ee.PublicKey(v.Key))
		if errorName(err) != v.Error {
			t.Errorf("%s: %v, want %q", v.Name, err, v.Error)
			continue
		}
		if hash := s.Hash(); v.Error == "" && (!bytes.Equal(fieldsOfList(got), v.Fields) || !bytes.Equal(hash[:], v.Hash)) {
			t.Errorf("%s: read as %s with hash %x", v.Name, fieldsOfList(got), hash)
		}
	}
}

type statementFields struct {
	Account          hexBytes `json:"account"`
	Device           uint32   `json:"device"`
	RegistrationID   uint32   `json:"registration_id"`
	SignedPreKeyID   uint32   `json:"signed_prekey_id"`
	SignedPreKeyHash hexBytes `json:"signed_prekey_hash"`
	LastResortID     uint32   `json:"last_resort_id"`
	LastResortHash   hexBytes `json:"last_resort_hash"`
	Time             int64    `json:"time"`
}

func fieldsOfStatement(s e2ee.PreKeyStatement) json.RawMessage {
	return rawJSON(statementFields{s.Account[:], s.Device, s.RegistrationID, s.SignedPreKeyID, s.SignedPreKeyHash[:],
		s.LastResortID, s.LastResortHash[:], s.Time})
}

func TestStatementVectors(t *testing.T) {
	s, device := statement(t)
	signed, err := s.Sign(testRand(1), device.Private)
	if err != nil {
		t.Fatal(err)
	}
	other := newKey(t, 77).Public
	made := []signedVector{
		{Name: "statement", Key: device.Public[:], Fields: fieldsOfStatement(s),
			Encoded: signed.Statement, Signature: signed.Signature},
		{Name: "another device", Key: other[:], Encoded: signed.Statement, Signature: signed.Signature, Error: "signature"},
		{Name: "unknown field", Key: device.Public[:], Encoded: uintField(bytes.Clone(signed.Statement), 9, 0),
			Signature: signed.Signature, Error: "format"},
	}
	for _, v := range vectors(t, "statement.json", made) {
		got, err := e2ee.SignedStatement{Statement: v.Encoded, Signature: v.Signature}.Open(e2ee.PublicKey(v.Key))
		if errorName(err) != v.Error {
			t.Errorf("%s: %v, want %q", v.Name, err, v.Error)
		} else if v.Error == "" && !bytes.Equal(fieldsOfStatement(got), v.Fields) {
			t.Errorf("%s: read as %s", v.Name, fieldsOfStatement(got))
		}
	}
}

type conversationVector struct {
	A  hexBytes `json:"a"`
	B  hexBytes `json:"b"`
	ID hexBytes `json:"id"`
}

func TestConversationVectors(t *testing.T) {
	var made []conversationVector
	for _, pair := range [][2]byte{{0x10, 0xF0}, {0xF0, 0x10}, {0x10, 0x10}} {
		a, b := id16(pair[0]), id16(pair[1])
		id := e2ee.DirectConversation(a, b)
		made = append(made, conversationVector{a[:], b[:], id[:]})
	}
	for _, v := range vectors(t, "conversation.json", made) {
		if id := e2ee.DirectConversation(v.A.id(), v.B.id()); !bytes.Equal(id[:], v.ID) {
			t.Errorf("%x and %x: %x, want %x", v.A, v.B, id, v.ID)
		}
	}
}

type passwordVector struct {
	Password   string   `json:"password"`
	Salt       hexBytes `json:"salt"`
	Iterations uint32   `json:"iterations"`
	Parameters hexBytes `json:"parameters"`
	MK         hexBytes `json:"mk"`
	Auth       string   `json:"auth"`
	KEK        hexBytes `json:"kek"`
}

func TestPasswordVectors(t *testing.T) {
	salt := id16(0x5A)
	made := passwordVector{Password: "Grüße aus Köln", Salt: salt[:], Iterations: e2ee.MinIterations}
	parameters := e2ee.PasswordParameters{KDF: e2ee.KDFSplitPBKDF2, Salt: salt, Iterations: e2ee.MinIterations}
	made.Parameters = parameters.Marshal()
	mk, err := pbkdf2.Key(sha256.New, made.Password, salt[:], e2ee.MinIterations, 32)
	if err != nil {
		t.Fatal(err)
	}
	auth, kek := e2ee.SplitPassword([32]byte(mk))
	made.MK, made.Auth, made.KEK = mk, auth, kek[:]

	v := vectors(t, "password.json", made)
	p, err := e2ee.ParsePasswordParameters(v.Parameters)
	if err != nil || p.Salt != v.Salt.id() || p.Iterations != v.Iterations {
		t.Errorf("parameters %v, %v", p, err)
	}
	if auth, kek := e2ee.SplitPassword(v.MK.key()); auth != v.Auth || kek != v.KEK.key() {
		t.Errorf("auth %s, kek %x", auth, kek)
	}
}

type recoveryVector struct {
	Typed    string   `json:"typed"`
	Secret   hexBytes `json:"secret,omitempty"`
	Shown    string   `json:"shown,omitempty"`
	Auth     hexBytes `json:"auth,omitempty"`
	AuthHash hexBytes `json:"auth_sha256,omitempty"`
	Wrap     hexBytes `json:"wrap,omitempty"`
	Error    string   `json:"error,omitempty"`
}

func TestRecoveryVectors(t *testing.T) {
	code, err := e2ee.NewRecoveryCode(testRand(6))
	if err != nil {
		t.Fatal(err)
	}
	zero := e2ee.RecoveryCode{}.String()
	made := []recoveryVector{}
	for _, typed := range []string{
		code.String(), zero, "oooo" + zero[4:], " " + zero, code.String()[1:], "U" + zero[1:], "1" + zero[1:],
	} {
		made = append(made, recoveryOf(typed))
	}
	for _, v := range vectors(t, "recovery.json", made) {
		if diff := cmp.Diff(v, recoveryOf(v.Typed)); diff != "" {
			t.Errorf("%q: %s", v.Typed, diff)
		}
	}
}

func recoveryOf(typed string) recoveryVector {
	code, err := e2ee.ParseRecoveryCode(typed)
	if err != nil {
		return recoveryVector{Typed: typed, Error: errorName(err)}
	}
	auth, wrap := code.Auth(), code.Wrap()
	hash := sha256.Sum256(auth[:])
	return recoveryVector{Typed: typed, Secret: code[:], Shown: code.String(),
		Auth: auth[:], AuthHash: hash[:], Wrap: wrap[:]}
}
