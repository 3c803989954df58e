package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/client"
	"sotto/client/sqlitestore"
	"sotto/e2ee"
	"sotto/internal/app"
	"sotto/internal/config"
)

// patience bounds every wait of a test. It is long, because the machine may be busy; nothing waits for it to pass.
const patience = 180 * time.Second

const password = "the moon is a balloon"

// template is a data directory with two accounts, ada and bob, and the stores of their first devices. Registration
// costs real key stretching, so it is done once and every test copies the folder.
var template struct {
	dir           string
	recoveryCodes map[string]string
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "sotto-client-")
	if err == nil {
		template.dir = dir
		err = makeTemplate(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "making the template:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	os.Exit(code)
}

func makeTemplate(dir string) error {
	url, stop, err := serve(filepath.Join(dir, "data"))
	if err != nil {
		return err
	}
	template.recoveryCodes = map[string]string{}
	for _, name := range []string{"ada", "bob"} {
		s, err := sqlitestore.Open(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		c, err := client.Open(client.Options{Server: url, Store: s})
		if err != nil {
			return err
		}
		o := client.RegisterOptions{Username: name, Password: password, DeviceName: "first"}
		if template.recoveryCodes[name], err = c.Register(context.Background(), o); err != nil {
			return err
		}
		if err := c.Close(); err != nil {
			return err
		}
	}
	return stop()
}

const testQuota = 16 << 20 // bytes of one account

// serve starts a server in this process and waits until it listens.
func serve(dir string, change ...func(*config.Config)) (url string, stop func() error, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	out := &greeting{url: make(chan string, 1)}
	ended := make(chan error, 1)
	c := config.Config{DataDir: dir, Listen: "127.0.0.1:0", LogLevel: "error", AssetStore: "disk", AssetQuota: testQuota}
	for _, f := range change {
		f(&c)
	}
	go func() { ended <- app.Serve(ctx, c, out, os.Stderr) }()
	stop = func() error {
		cancel()
		return <-ended
	}
	select {
	case url = <-out.url:
		return url, stop, nil
	case err = <-ended:
		cancel()
		return "", nil, err
	}
}

// greeting finds the URL in what the server prints.
type greeting struct {
	mu   sync.Mutex
	text bytes.Buffer
	url  chan string
}

func (g *greeting) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.text.Write(b)
	for word := range strings.FieldsSeq(g.text.String()) {
		if strings.HasPrefix(word, "http://") {
			select {
			case g.url <- word:
			default:
			}
			break
		}
	}
	return len(b), nil
}

// world is a server with ada and bob.
type world struct {
	t    *testing.T
	dir  string
	url  string
	stop func() error
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel() // a world shares nothing with others
	w := &world{t: t, dir: t.TempDir()}
	if err := os.CopyFS(w.dir, os.DirFS(template.dir)); err != nil {
		t.Fatal(err)
	}
	w.start()
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Errorf("stopping the server: %v", err)
		}
	})
	return w
}

func (w *world) start(change ...func(*config.Config)) {
	w.t.Helper()
	var err error
	if w.url, w.stop, err = serve(filepath.Join(w.dir, "data"), change...); err != nil {
		w.t.Fatalf("starting the server: %v", err)
	}
}

// person is one device under test: a client over a store in a file.
type person struct {
	*client.Client
	t     *testing.T
	w     *world
	path  string
	net   *network
	store *faultStore

	options client.Options

	end context.CancelFunc
	run chan error
}

// person opens the store of that name in the world's folder; ada and bob are registered.
func (w *world) person(store string) *person {
	w.t.Helper()
	p := &person{t: w.t, w: w, path: filepath.Join(w.dir, store), net: &network{Network: client.NewNetwork()}}
	p.open()
	w.t.Cleanup(p.close)
	return p
}

func (p *person) open() {
	p.t.Helper()
	s, err := sqlitestore.Open(p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.store = &faultStore{Store: s}
	o := p.options
	o.Server, o.Store, o.Network = p.w.url, p.store, p.net
	if p.Client, err = client.Open(o); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) close() {
	if p.Client == nil {
		return
	}
	p.disconnect()
	if err := p.Client.Close(); err != nil { //nolint:staticcheck // clearer beside the methods of this type
		p.t.Errorf("closing: %v", err)
	}
	p.Client = nil
}

// reopen is what a crash and a new start of the program do to the client.
func (p *person) reopen() {
	p.t.Helper()
	p.close()
	p.open()
}

// reopenWith does it with other options.
func (p *person) reopenWith(o client.Options) {
	p.t.Helper()
	p.options = o
	p.reopen()
}

func (p *person) connect() {
	ctx, cancel := context.WithCancel(p.t.Context())
	p.end, p.run = cancel, make(chan error, 1)
	run := p.run
	c := p.Client
	go func() { run <- c.Run(ctx) }()
}

// disconnect ends Run and returns what it returned.
func (p *person) disconnect() error {
	if p.end == nil {
		return nil
	}
	p.end()
	p.end = nil
	return <-p.run
}

// ended waits until Run gives up by itself.
func (p *person) ended() error {
	p.t.Helper()
	select {
	case err := <-p.run:
		p.end()
		p.end = nil
		return err
	case <-time.After(patience):
		p.t.Fatal("Run goes on")
		return nil
	}
}

// talk opens the conversation with a person of that name.
func (p *person) talk(name string) api.ConversationID {
	p.t.Helper()
	v, err := p.Conversation(p.t.Context(), name)
	if err != nil {
		p.t.Fatalf("opening the conversation with %s: %v", name, err)
	}
	return v.ID
}

func (p *person) send(id api.ConversationID, text string) api.MessageID {
	p.t.Helper()
	m, err := p.Send(p.t.Context(), id, e2ee.TextBody(text))
	if err != nil {
		p.t.Fatalf("sending %q: %v", text, err)
	}
	return m
}

// sent waits for the acknowledgement.
func (p *person) sent(id api.MessageID) client.Position {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	at, err := p.WaitSent(ctx, id)
	if err != nil {
		p.t.Fatalf("waiting for the acknowledgement: %v", err)
	}
	return at
}

// until waits for a condition. Not everything that can make it true publishes an event, so it is also asked again and
// again.
func (p *person) until(what string, condition func() bool) {
	p.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	timeout := time.After(patience)
	for !condition() {
		select {
		case <-tick.C:
		case <-timeout:
			p.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// texts are the stored messages of a conversation, oldest first.
func (p *person) texts(id api.ConversationID) []string {
	p.t.Helper()
	var out []string
	before := client.Position{}
	for {
		page, err := p.Messages(id, before, 100)
		if err != nil {
			p.t.Fatalf("reading the history: %v", err)
		}
		var texts []string
		for _, m := range page {
			if !m.Position.IsZero() {
				texts = append(texts, m.Text())
			}
		}
		if len(texts) == 0 {
			return out
		}
		out = append(texts, out...)
		before = page[0].Position
	}
}

// reads waits until the conversation has that many stored messages.
func (p *person) reads(id api.ConversationID, n int) []string {
	p.t.Helper()
	var got []string
	p.until(fmt.Sprintf("%d messages", n), func() bool {
		got = p.texts(id)
		return len(got) >= n
	})
	return got
}

func (p *person) counters() client.Counters {
	p.t.Helper()
	n, err := p.Counters()
	if err != nil {
		p.t.Fatal(err)
	}
	return n
}

// network lets a test change what the server answers and says, and break connections.
type network struct {
	client.Network
	mu       sync.Mutex
	response func(r client.Request, res *client.Response) error // after an answer
	read     func(text []byte) ([]byte, error)                  // what the server sends on the socket
	write    func(text []byte) error                            // what the client writes
}

// set changes the hooks; nil ones do nothing.
func (n *network) set(change func(n *network)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(n)
}

func (n *network) honest() {
	n.set(func(n *network) { n.response, n.read, n.write = nil, nil, nil })
}

func (n *network) Do(ctx context.Context, r client.Request) (client.Response, error) {
	res, err := n.Network.Do(ctx, r)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil && n.response != nil {
		err = n.response(r, &res)
	}
	return res, err
}

func (n *network) Dial(ctx context.Context, url string) (client.Conn, error) {
	c, err := n.Network.Dial(ctx, url)
	return conn{c, n}, err
}

type conn struct {
	client.Conn
	n *network
}

func (c conn) Read() ([]byte, error) {
	text, err := c.Conn.Read()
	c.n.mu.Lock()
	defer c.n.mu.Unlock()
	if err == nil && c.n.read != nil {
		text, err = c.n.read(text)
	}
	return text, err
}

func (c conn) Write(text []byte) error {
	c.n.mu.Lock()
	write := c.n.write
	c.n.mu.Unlock()
	if write != nil {
		if err := write(text); err != nil {
			return err
		}
	}
	return c.Conn.Write(text)
}

var errBroken = fmt.Errorf("broken by the test: %w", io.ErrUnexpectedEOF)

// faultStore fails one Apply, before or after it was made durable, and everything after it: what a crash looks like to
// the store.
type faultStore struct {
	client.Store
	mu      sync.Mutex
	applied int
	failAt  int // number of the Apply that fails; 0 for none
	after   bool
	crashed bool
}

var errCrash = errors.New("crash by the test")

// crashAt arms the fault: the n-th Apply from now on fails.
func (s *faultStore) crashAt(n int, after bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.applied, s.failAt, s.after = 0, n, after
}

func (s *faultStore) Apply(b client.Batch) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.crashed {
		return errCrash
	}
	s.applied++
	if s.applied != s.failAt {
		return s.Store.Apply(b)
	}
	s.crashed = true
	if s.after {
		if err := s.Store.Apply(b); err != nil {
			return err
		}
	}
	return errCrash
}

func (s *faultStore) hasCrashed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.crashed
}

// trySend sends and tells whether Send returned, which is when the message is safe.
func (p *person) trySend(id api.ConversationID, text string) bool {
	p.t.Helper()
	_, err := p.Send(p.t.Context(), id, e2ee.TextBody(text))
	if err != nil && client.CodeOf(err) != client.CodeStore {
		p.t.Fatalf("sending %q: %v", text, err)
	}
	return err == nil
}

// settled tells whether a conversation has n messages and nothing waits to be acknowledged.
func (p *person) settled(id api.ConversationID, n int) bool {
	p.t.Helper()
	// The messages first: each is stored together with what it owes, so none can come between the two looks.
	page, err := p.Messages(id, client.Position{}, client.MaxHistory)
	if err != nil || len(page) != n || p.store.hasCrashed() {
		return false
	}
	waiting, err := p.PendingAcks()
	return err == nil && waiting == 0
}

// event waits for the next event of a type.
func (p *person) event(events *client.Subscription, want client.EventType) client.Event {
	p.t.Helper()
	timeout := time.After(patience)
	for {
		select {
		case e := <-events.C:
			if e.Type == want {
				return e
			}
		case <-timeout:
			p.t.Fatalf("waited in vain for the event %s", want)
		}
	}
}
