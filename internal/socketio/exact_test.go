package socketio_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"sotto/internal/socketio"
)

// post office: clients send each other events; the application relays them by name and acknowledges.
type postOffice struct {
	mu     sync.Mutex
	byName map[string]*socketio.Socket
}

func (o *postOffice) handler() socketio.Handler {
	o.byName = make(map[string]*socketio.Socket)
	return socketio.Handler{
		Authenticate: func(_ context.Context, _ socketio.Handshake, auth json.RawMessage) (any, error) {
			var a struct{ Name string }
			return a.Name, json.Unmarshal(auth, &a)
		},
		Connect: func(s *socketio.Socket) {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.byName[s.Identity().(string)] = s
		},
		Event: func(s *socketio.Socket, e socketio.Event) {
			var to string
			if err := json.Unmarshal(e.Args[0], &to); err != nil {
				panic(err)
			}
			o.mu.Lock()
			target := o.byName[to]
			o.mu.Unlock()
			p, err := socketio.PrepareRaw("deliver", e.Args[1:], e.Attachments)
			if err != nil {
				panic(err)
			}
			if err := target.EmitRaw(p); err != nil {
				panic(err)
			}
			e.Ack(e.Args[1])
		},
	}
}

// letter is the content of message number seq between two clients: nobody else's bytes look like it.
func letter(from, to, seq int) (header, text string, binary []byte) {
	r := rand.New(rand.NewPCG(uint64(from)<<32|uint64(to), uint64(seq)))
	b := make([]byte, 20+r.IntN(600))
	if seq%50 == 7 {
		b = make([]byte, 5000+r.IntN(30_000)) // larger than the pooled buffers
	}
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	header = fmt.Sprintf("%d-%d-%d", from, to, seq)
	if seq%5 == 0 {
		binary = b[:len(b)/2]
	}
	return header, base64.StdEncoding.EncodeToString(b), binary
}

// TestExactDelivery relays messages between many clients at once and checks the number and every byte of what arrives,
// on websockets and on polling, with control frames in between. It is the test that catches bytes of one client that
// are sent to another: with a write buffer that is not cut to length 0 when it is taken from its pool, with a read
// buffer given back while it is still in use, and with one pool for both, it fails (tried by hand, with and without the
// race detector). Run it with -race: pools and goroutines then behave at their worst.
func TestExactDelivery(t *testing.T) {
	const clients, each = 24, 250
	office := new(postOffice)
	r := start(t, socketio.Config{MaxPending: 64 << 20}, office.handler())
	var ready, done sync.WaitGroup
	begin := make(chan struct{})
	ready.Add(clients)
	for me := range clients {
		done.Go(func() {
			if me%8 == 7 {
				(&pollCorrespondent{r.polling(t)}).run(t, me, clients, each, &ready, begin)
				return
			}
			c := r.websocket(t, "")
			c.text()
			c.send(`40{"name":"` + strconv.Itoa(me) + `"}`)
			c.text()
			ready.Done()
			<-begin
			var writing sync.WaitGroup
			writing.Go(func() {
				for i := range each {
					if i%10 == 3 {
						c.frame(true, 0, opPing, []byte("ping "+strconv.Itoa(me)))
					}
					for _, f := range outgoing(me, i, clients) {
						c.write(f.ws())
					}
				}
			})
			in := newInbox(t, me, clients, each)
			for pongs := 0; !in.complete() || pongs < each/10; {
				op, b, err := c.next()
				if err != nil {
					t.Errorf("client %d: %v, has %s", me, err, in)
					return
				}
				if op == opPong {
					pongs++
					if string(b) != "ping "+strconv.Itoa(me) {
						t.Errorf("client %d got the pong %q", me, b)
					}
					continue
				}
				if !in.take(b, op == opBinary) {
					return
				}
			}
			writing.Wait()
		})
	}
	ready.Wait()
	eventually(t, "all are connected", func() bool { return r.metric("sockets", "") == clients })
	close(begin)
	done.Wait()
}

// outFrame is one Engine.IO message to send.
type outFrame struct {
	text   string
	binary []byte
}

func (f outFrame) ws() []byte {
	if f.binary != nil {
		return rawFrame(true, 0, opBinary, f.binary)
	}
	return rawFrame(true, 0, opText, []byte(f.text))
}

// outgoing is message number i of a client. Its receivers go round.
func outgoing(me, i, clients int) []outFrame {
	to, seq := (me+1+i)%clients, i
	header, text, binary := letter(me, to, seq)
	if binary == nil {
		return []outFrame{{text: fmt.Sprintf(`42%d["send","%d","%s","%s"]`, i, to, header, text)}}
	}
	return []outFrame{
		{text: fmt.Sprintf(`451-%d["send","%d","%s","%s",{"_placeholder":true,"num":0}]`, i, to, header, text)},
		{binary: binary},
	}
}

// inbox checks what one client receives.
type inbox struct {
	t                 testing.TB
	me, clients, each int
	acks              map[int]bool
	letters           map[string]bool
	want              int
	last              map[int]int // sender to the seq seen last
	owed              []byte      // the attachment that comes next
}

func newInbox(t testing.TB, me, clients, each int) *inbox {
	in := &inbox{t: t, me: me, clients: clients, each: each, acks: map[int]bool{}, letters: map[string]bool{}, last: map[int]int{}}
	for from := range clients {
		for i := range each {
			if (from+1+i)%clients == me {
				in.want++
			}
		}
	}
	return in
}

func (in *inbox) complete() bool {
	return len(in.acks) == in.each && len(in.letters) == in.want && in.owed == nil
}

func (in *inbox) String() string {
	return fmt.Sprintf("%d of %d letters, %d of %d acks", len(in.letters), in.want, len(in.acks), in.each)
}

// take checks one message of the server; false ends the client.
func (in *inbox) take(b []byte, binary bool) bool {
	fail := func(format string, args ...any) bool {
		in.t.Errorf("client %d: %s; got %.100q", in.me, fmt.Sprintf(format, args...), b)
		return false
	}
	if binary {
		if in.owed == nil || !bytes.Equal(b, in.owed) {
			return fail("wrong attachment")
		}
		in.owed = nil
		return true
	}
	text := string(b)
	if in.owed != nil {
		return fail("text in place of an attachment")
	}
	if strings.HasPrefix(text, "43") {
		id, rest, _ := strings.Cut(text[2:], "[")
		n, err := strconv.Atoi(id)
		header, _, _ := letter(in.me, (in.me+1+n)%in.clients, n)
		if err != nil || in.acks[n] || rest != `"`+header+`"]` {
			return fail("wrong acknowledgement")
		}
		in.acks[n] = true
		return true
	}
	at := strings.IndexByte(text, '[')
	var fields []json.RawMessage
	var from, to, seq int
	if at < 0 || json.Unmarshal(b[at:], &fields) != nil || len(fields) < 3 {
		return fail("not a letter")
	}
	if _, err := fmt.Sscanf(string(fields[1]), `"%d-%d-%d"`, &from, &to, &seq); err != nil {
		return fail("no header")
	}
	header, body, attachment := letter(from, to, seq)
	want := fmt.Sprintf(`42["deliver","%s","%s"]`, header, body)
	if attachment != nil {
		want = fmt.Sprintf(`451-["deliver","%s","%s",{"_placeholder":true,"num":0}]`, header, body)
	}
	switch last, seen := in.last[from]; {
	case to != in.me || text != want:
		return fail("wrong letter")
	case in.letters[header]:
		return fail("letter twice")
	case seen && seq <= last:
		return fail("letter %d after %d", seq, last)
	}
	in.letters[header], in.last[from], in.owed = true, seq, attachment
	return true
}

// pollCorrespondent is a client on polling.
type pollCorrespondent struct{ *poller }

func (p *pollCorrespondent) run(t *testing.T, me, clients, each int, ready *sync.WaitGroup, begin chan struct{}) {
	p.push(200, `40{"name":"`+strconv.Itoa(me)+`"}`)
	p.want(200, "")
	ready.Done()
	<-begin
	var writing sync.WaitGroup
	writing.Go(func() {
		var body []byte
		for i := range each {
			for _, f := range outgoing(me, i, clients) {
				if len(body) > 0 {
					body = append(body, 0x1e)
				}
				if f.binary != nil {
					body = append(body, "b"+base64.StdEncoding.EncodeToString(f.binary)...)
				} else {
					body = append(body, f.text...)
				}
			}
			if i%7 == 6 || i == each-1 {
				p.push(200, string(body))
				body = body[:0]
			}
		}
	})
	in := newInbox(t, me, clients, each)
	for !in.complete() {
		_, body := p.get(t, p.url)
		for packet := range strings.SplitSeq(body, "\x1e") {
			if raw, ok := strings.CutPrefix(packet, "b"); ok {
				b, err := base64.StdEncoding.DecodeString(raw)
				if err != nil || !in.take(b, true) {
					t.Errorf("client %d: %v", me, err)
					return
				}
			} else if packet != "2" && !in.take([]byte(packet), false) {
				return
			}
		}
	}
	writing.Wait()
}
