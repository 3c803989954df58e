package chaos_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"sotto/api"
	"sotto/test/contract/rest"
)

// mixedPoint is passed by a commit that holds a send that came again and one that breaks a rule.
const mixedPoint = "after commit with a duplicate and a refused send"

const crowds = 8 // that send at the same time, so that the server has something to put together

// crowd writes over REST, outside of any client: each message twice at once, beside one that misses its envelopes. It
// repeats a message until it is acknowledged.
type crowd struct {
	w        *world
	from, to *rest.Device
	id       api.ConversationID

	mu    sync.Mutex
	acked map[api.MessageID]uint64 // seq of each answer
	bad   map[api.MessageID]bool
}

func (w *world) crowd() *crowd {
	w.t.Helper()
	s := &rest.Server{URL: w.server.URL}
	name := fmt.Sprintf("%s_%d", "crowd", worlds.Add(1))
	from, to := s.Register(w.t, name+"a").Devices[0], s.Register(w.t, name+"b").Devices[0]
	s.Connect(w.t, from)
	s.Connect(w.t, to)
	return &crowd{
		w: w, from: from, to: to, id: s.Talk(w.t, from, to),
		acked: make(map[api.MessageID]uint64), bad: make(map[api.MessageID]bool),
	}
}

// write sends until ctx ends, and then until what it began is acknowledged.
func (c *crowd) write(ctx context.Context) {
	var all sync.WaitGroup
	for range crowds {
		all.Go(func() {
			for ctx.Err() == nil {
				good := c.from.Message(c.w.t, c.id, c.from.Owner, c.to.Owner)
				bad := c.from.Message(c.w.t, c.id, c.from.Owner, c.to.Owner)
				bad.Envelopes = nil
				c.mu.Lock()
				c.bad[bad.MessageID] = true
				c.mu.Unlock()
				var three sync.WaitGroup
				for _, send := range []api.Send{good, good} {
					three.Go(func() { c.insist(send) })
				}
				three.Go(func() { c.refused(bad) })
				three.Wait()
			}
		})
	}
	all.Wait()
}

// insist repeats a send until it is acknowledged; each answer gives it the same seq.
func (c *crowd) insist(send api.Send) {
	for deadline := time.Now().Add(settlePatience); ; time.Sleep(100 * time.Millisecond) {
		status, answer, err := c.post(send)
		if err == nil && status == http.StatusOK {
			var sent api.Sent
			if err := json.Unmarshal(answer, &sent); err != nil {
				c.w.t.Error(err)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if seq, again := c.acked[send.MessageID]; again && seq != sent.Seq {
				c.w.t.Errorf("one message was acknowledged as %d and as %d", seq, sent.Seq)
			}
			c.acked[send.MessageID] = sent.Seq
			return
		}
		if time.Now().After(deadline) {
			c.w.t.Errorf("not acknowledged within %v: %d %s %v", settlePatience, status, answer, err)
			return
		}
	}
}

// refused sends once; whether the answer comes depends on when the server dies.
func (c *crowd) refused(send api.Send) {
	if status, answer, err := c.post(send); err == nil && status < http.StatusBadRequest {
		c.w.t.Errorf("a send without envelopes was acknowledged: %s", answer)
	}
}

func (c *crowd) post(send api.Send) (status int, answer []byte, err error) {
	req, err := http.NewRequest(http.MethodPost, c.w.server.URL+"/api/chat/send", bytes.NewReader(rest.JSON(c.w.t, send)))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+c.from.Login.Token)
	req.Header.Set(api.HeaderGeneration, strconv.FormatUint(c.from.Generation, 10))
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(res.Body)
	return res.StatusCode, b.Bytes(), err
}

// check reads the mailbox: every acknowledged message is there once, at the seq of its answer, and nothing else.
func (c *crowd) check(t *testing.T) {
	t.Helper()
	s := &rest.Server{URL: c.w.server.URL}
	there := make(map[api.MessageID]uint64)
	for after := int64(0); ; {
		var page api.MailboxPage
		path := fmt.Sprintf("/api/chat/mailbox?after=%d&limit=%d", after, api.MaxMailboxPage)
		s.Call(t, http.MethodGet, path, c.to.Login.Token, nil, &page)
		for _, e := range page.Entries {
			if _, twice := there[e.MessageID]; twice || c.bad[e.MessageID] {
				t.Errorf("message %s: twice (%v) or refused (%v)", e.MessageID, twice, c.bad[e.MessageID])
			}
			there[e.MessageID] = e.Seq
		}
		if after = page.Next; after == 0 {
			break
		}
	}
	for id, seq := range c.acked {
		if there[id] != seq {
			t.Errorf("message %s was acknowledged as %d and is there as %d", id, seq, there[id])
		}
	}
	if len(there) != len(c.acked) {
		t.Errorf("%d messages in the mailbox, %d were acknowledged", len(there), len(c.acked))
	}
}

// mixed kills the process that stores sends right after the commit of such a batch.
func (w *world) mixed() {
	w.t.Helper()
	name := "serve"
	if w.shape.Separate {
		name = "chat1"
	}
	w.registers()
	c := w.crowd()
	ctx, stop := context.WithCancel(w.t.Context())
	var writing sync.WaitGroup
	writing.Go(func() { c.write(ctx) })
	w.killAt(name, fmt.Sprintf("%s:%d", mixedPoint, 1+w.rand.IntN(5)))
	stop()
	writing.Wait()
	c.check(w.t)
}

// registers waits until the server takes attempts to prove a password again: without Redis it counts none, and takes none.
func (w *world) registers() {
	w.t.Helper()
	s := &rest.Server{URL: w.server.URL}
	start := rest.Request{Method: http.MethodPost, Path: "/api/user/login/start", Body: rest.JSON(w.t, api.LoginStartRequest{
		Name: "nobody", Methods: []string{api.MethodSplitPBKDF2},
	})}
	for deadline := time.Now().Add(recoveryWait); ; time.Sleep(100 * time.Millisecond) {
		a := s.Do(w.t, start)
		if a.Status == http.StatusOK {
			return
		}
		if a.Status != http.StatusServiceUnavailable || time.Now().After(deadline) {
			w.t.Fatalf("no password can be proved: %d %s", a.Status, a.Body)
		}
	}
}
