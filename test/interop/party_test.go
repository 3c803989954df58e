package interop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// official are the releases of the official library that we talk to: the
// current one, and one from before addresses were authenticated.
var official = []release{
	{"0.103.0", "@signalapp/libsignal-client"},
	{"0.86.9", "libsignal-0.86.9"},
}

type release struct {
	version string
	folder  string // in node_modules
}

// request and answer are the lines that peer/main.go and partner.mjs exchange
// with us. Account and device are the other party's.
type request struct {
	Do        string          `json:"do"`
	Account   []byte          `json:"account,omitempty"`
	Device    uint32          `json:"device,omitempty"`
	OneTime   bool            `json:"oneTime,omitempty"`
	Bundle    json.RawMessage `json:"bundle,omitempty"`
	Type      uint8           `json:"type,omitempty"`
	Data      []byte          `json:"data"`
	Key       []byte          `json:"key,omitempty"`
	Signature []byte          `json:"signature,omitempty"`
	Group     []byte          `json:"group,omitempty"`
}

type answer struct {
	Error     string          `json:"error"`
	Duplicate bool            `json:"duplicate"`
	Type      uint8           `json:"type"`
	Data      []byte          `json:"data"`
	Key       []byte          `json:"key"`
	OK        bool            `json:"ok"`
	Digits    string          `json:"digits"`
	Bundle    json.RawMessage `json:"bundle"`
}

// party is a process that holds one device.
type party struct {
	name    string
	in      *json.Encoder
	out     *bufio.Reader
	account []byte
	device  uint32
	key     []byte // identity key
}

// start runs a party until the end of the test. It ends when its input does.
func start(t *testing.T, name string, command ...string) *party {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	// Shown only on failure: the older release panics, and recovers, over some
	// of the tampered messages, and says so here.
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	t.Cleanup(func() {
		in.Close()
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("%s ended: %v\n%s", name, err, stderr.Bytes())
		}
	})
	return &party{name: name, in: json.NewEncoder(in), out: bufio.NewReader(out)}
}

// try makes a request and returns the answer, which may be an error.
func (p *party) try(t *testing.T, r request) answer {
	t.Helper()
	if err := p.in.Encode(r); err != nil {
		t.Fatalf("%s: %v", p.name, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		t.Fatalf("%s has ended during %q: %v", p.name, r.Do, err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		t.Fatalf("%s answered %q to %q: %v", p.name, line, r.Do, err)
	}
	return a
}

// ask makes a request that must succeed.
func (p *party) ask(t *testing.T, r request) answer {
	t.Helper()
	a := p.try(t, r)
	if a.Error != "" {
		t.Fatalf("%s, %s: %s", p.name, r.Do, a.Error)
	}
	return a
}

// about is a request that concerns the other party.
func (p *party) about(do string, data []byte) request {
	return request{Do: do, Account: p.account, Device: p.device, Data: data}
}

func (p *party) become(t *testing.T, account []byte, device uint32) {
	t.Helper()
	p.account, p.device = account, device
	p.key = p.ask(t, p.about("new", nil)).Key
}

// message is a ciphertext of one party.
type message struct {
	kind      uint8
	data      []byte
	plaintext []byte
}

func (p *party) encrypt(t *testing.T, to *party, plaintext []byte) message {
	t.Helper()
	a := p.ask(t, to.about("encrypt", plaintext))
	return message{a.Type, a.Data, plaintext}
}

func (p *party) tryDecrypt(t *testing.T, from *party, m message) answer {
	t.Helper()
	r := from.about("decrypt", m.data)
	r.Type = m.kind
	return p.try(t, r)
}

func (p *party) decrypt(t *testing.T, from *party, m message) {
	t.Helper()
	a := p.tryDecrypt(t, from, m)
	if a.Error != "" {
		t.Fatalf("%s does not decrypt a message of type %d: %s", p.name, m.kind, a.Error)
	}
	if !bytes.Equal(a.Data, m.plaintext) {
		t.Fatalf("%s decrypts %q as %q", p.name, m.plaintext, a.Data)
	}
}

// initiate starts a session of p with another party.
func (p *party) initiate(t *testing.T, to *party, oneTime bool) {
	t.Helper()
	bundle := to.ask(t, request{Do: "bundle", OneTime: oneTime}).Bundle
	r := to.about("initiate", nil)
	r.Bundle = bundle
	p.ask(t, r)
}

// startOfficial starts a release of the official library.
func startOfficial(t *testing.T, r release) *party {
	t.Helper()
	var installed struct{ Version string }
	manifest, err := os.ReadFile(filepath.Join("node_modules", filepath.FromSlash(r.folder), "package.json"))
	if err == nil {
		err = json.Unmarshal(manifest, &installed)
	}
	if err != nil || installed.Version != r.version {
		t.Fatalf("release %s of the official library is not installed; run: make tools", r.version)
	}
	return start(t, "libsignal "+r.version, "node", "partner.mjs", r.folder)
}

type build struct {
	name    string
	command func(t *testing.T) []string
}

// builds are the two builds of our party and how they are run.
var builds = []build{
	{"native", func(t *testing.T) []string { return []string{native(t)} }},
	{"wasm", func(t *testing.T) []string {
		goroot := strings.TrimSpace(run(t, nil, "go", "env", "GOROOT"))
		return []string{"node", filepath.Join(goroot, "lib", "wasm", "wasm_exec_node.js"), wasm(t)}
	}},
}

// A build is made once for all tests that use it.
var native, wasm = buildOnce("peer", nil), buildOnce("peer.wasm", []string{"GOOS=js", "GOARCH=wasm"})

func buildOnce(name string, env []string) func(t *testing.T) string {
	var once sync.Once
	var path string
	return func(t *testing.T) string {
		t.Helper()
		once.Do(func() {
			path = filepath.Join(buildDir, name)
			run(t, env, "go", "build", "-o", path, "./peer")
		})
		return path
	}
}

func run(t *testing.T, env []string, command ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v", strings.Join(command, " "), err)
	}
	return string(out)
}
