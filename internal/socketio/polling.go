package socketio

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"

	"sotto/internal/socketio/packet"
)

// releaseEvery is how often polls come back empty while an upgrade is in work: the client may only finish it when no
// poll is open.
const releaseEvery = 100 * time.Millisecond

// wakePoll wakes the waiting poll, if there is one. Needs mu.
func (s *session) wakePoll() {
	if s.wake != nil {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// poll serves a GET: it answers with what is queued, or waits for something. One poll at a time; a second one ends the
// session.
func (s *session) poll(w http.ResponseWriter, r *http.Request) {
	srv := s.srv
	setReadTime(w, 0)
	s.mu.Lock()
	if s.state == stateEnded || s.ws != nil {
		s.mu.Unlock()
		srv.refuse(w, refusedSession)
		return
	}
	if s.polling {
		s.mu.Unlock()
		s.end(ReasonProtocol)
		srv.refuse(w, refusedRequest)
		return
	}
	s.polling = true
	s.waitForPackets(r)
	q, n := s.takePoll()
	over := s.state == stateLingering && len(s.queue) == 0
	// Before the answer: with it in hand, the client may poll again on another connection at once.
	s.polling = false
	s.mu.Unlock()
	if over {
		s.forget()
	}
	// A client that gave up gets nothing. Its session ends, because nobody knows what it received.
	if r.Context().Err() != nil {
		s.end(ReasonTransport)
	} else {
		s.writePoll(w, q)
	}
	s.settle(n)
}

// waitForPackets returns when there is something to answer a poll with, or after releaseEvery during an upgrade. Needs mu,
// which it gives up while it waits.
func (s *session) waitForPackets(r *http.Request) {
	wake := make(chan struct{}, 1)
	s.wake = wake
	var released <-chan time.Time
	for done := false; !done && s.state == stateOpen && s.ws == nil && len(s.queue) == 0; {
		if s.probe != nil && released == nil {
			timer := time.NewTimer(releaseEvery)
			defer timer.Stop()
			released = timer.C
		}
		s.mu.Unlock()
		select {
		case <-wake:
		case <-released:
			done = true
		case <-r.Context().Done():
			done = true
		}
		s.mu.Lock()
	}
	s.wake = nil
}

// takePoll takes what is queued, with its part of pending, or makes up a noop. Needs mu.
func (s *session) takePoll() (q []frame, n int) {
	// After an upgrade the queue is the websocket's.
	if s.ws != nil || len(s.queue) == 0 {
		return []frame{noopFrame}, 0
	}
	q, s.queue = s.queue, nil
	if last := len(q) - 1; s.state == stateLingering && last > 0 {
		q, s.queue = q[:last], []frame{q[last]}
	}
	return q, size(q)
}

// writePoll answers a poll with packets.
func (s *session) writePoll(w http.ResponseWriter, q []frame) {
	most := 0
	for _, f := range q {
		most += packet.PayloadSize(len(f.payload()), f.binary())
	}
	body := make([]byte, 0, most)
	for i, f := range q {
		body = packet.AppendPayload(body, f.payload(), f.binary(), i == 0)
	}
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(s.srv.cfg.WriteTimeout))
	w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, err := w.Write(body) //nolint:gosec // G705: text/plain with nosniff, and only what the session's own client asked for
	if err == nil {
		err = rc.Flush()
	}
	if err != nil && !errors.Is(err, http.ErrNotSupported) {
		s.end(reasonOf(err))
	}
	_ = rc.SetWriteDeadline(time.Time{})
	s.srv.metrics.bytesOut.Add(int64(len(body)))
}

// post serves a POST: packets from the client, which are handled before it is answered. One at a time; a second one
// ends the session.
func (s *session) post(w http.ResponseWriter, r *http.Request) {
	srv := s.srv
	s.mu.Lock()
	over, busy, limit := s.state != stateOpen || s.ws != nil, s.posting, int64(srv.cfg.MaxPayload)
	if s.socket == nil {
		limit = min(limit, strangerBytes)
	}
	s.posting = true
	s.mu.Unlock()
	switch {
	case over:
		srv.refuse(w, refusedSession)
		return
	case busy:
		s.end(ReasonProtocol)
		srv.refuse(w, refusedRequest)
		return
	}
	err := s.takePost(w, r, limit)
	s.mu.Lock()
	s.posting = false
	s.mu.Unlock()
	var large *http.MaxBytesError
	switch {
	case err == nil, errors.Is(err, errEnded):
		w.Header().Set("Content-Type", "text/plain; charset=UTF-8")
		_, _ = io.WriteString(w, "ok")
	case errors.As(err, &large):
		srv.refuse(w, refusedTooLarge)
	default:
		s.end(reasonOf(err))
		srv.refuse(w, refusedRequest)
	}
}

// takePost reads the body of a POST and handles its packets in order.
func (s *session) takePost(w http.ResponseWriter, r *http.Request, limit int64) error {
	if r.ContentLength > limit {
		return &http.MaxBytesError{Limit: limit}
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if err != nil {
		return err
	}
	setReadTime(w, 0)
	if !utf8.Valid(body) {
		return errUTF8
	}
	s.readMu.Lock()
	defer s.readMu.Unlock()
	return packet.EachPayload(body, s.onPacket)
}
