package socketio

import (
	"bytes"
	"errors"
	"net/http"

	"sotto/internal/socketio/packet"
)

// The texts of an upgrade: the client probes the websocket, the server answers, the client says that polling is over.
var (
	probePing   = []byte{byte(packet.Ping), 'p', 'r', 'o', 'b', 'e'}
	probePong   = textFrame([]byte{byte(packet.Pong), 'p', 'r', 'o', 'b', 'e'})
	upgradeDone = []byte{byte(packet.Upgrade)}
)

// errProbe ends a probe that sends anything else.
var errProbe = errors.New("not the packet of an upgrade")

// upgrade serves a websocket request for a session on polling. Until the client ends the upgrade the session stays on
// polling, whatever happens to the websocket. One upgrade at a time.
func (s *session) upgrade(w http.ResponseWriter, r *http.Request) {
	srv := s.srv
	s.mu.Lock()
	free := s.state == stateOpen && s.ws == nil && !s.upgrading
	s.upgrading = s.upgrading || free
	s.mu.Unlock()
	if !free {
		srv.refuse(w, refusedRequest)
		return
	}
	c, err := upgradeWebsocket(w, r, &srv.cfg)
	if err != nil {
		s.failProbe()
		return
	}
	s.mu.Lock()
	over := s.state != stateOpen
	s.probe = c
	s.wakePoll()
	s.mu.Unlock()
	if over {
		c.close()
		return
	}
	srv.spawn(func() { s.serveProbe(c) })
}

// failProbe makes place for another upgrade.
func (s *session) failProbe() {
	s.srv.metrics.probesFailed.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upgrading, s.probe = false, nil
}

// serveProbe reads the websocket of an upgrade, and after the switch the session's packets.
func (s *session) serveProbe(c *wsConn) {
	var timeout timer
	s.srv.wheel.init(&timeout, s.id[0], func() { s.srv.spawn(c.close) })
	s.srv.wheel.schedule(&timeout, s.srv.cfg.ProbeTimeout)
	probed, switched := false, false
	err := c.read(func(op opcode, payload []byte) error {
		switch {
		case switched:
			return s.onFrame(op, payload)
		case op == opPong:
			return nil
		case op == opPing:
			return c.write([]frame{pongFrame(payload)}, s.srv.cfg.WriteTimeout, func(int) {})
		case op == opText && !probed && bytes.Equal(payload, probePing):
			probed = true
			return c.write([]frame{probePong}, s.srv.cfg.WriteTimeout, func(int) {})
		case op == opText && probed && bytes.Equal(payload, upgradeDone):
			s.srv.wheel.cancel(&timeout)
			err := s.switchTo(c)
			switched = err == nil
			return err
		}
		return errProbe
	})
	s.srv.wheel.cancel(&timeout)
	if switched {
		s.endWebsocket(c, err)
		return
	}
	s.failProbe()
	c.close()
}

// switchTo makes the websocket the transport of the session: what polling did not take goes out on it, in order.
func (s *session) switchTo(c *wsConn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateOpen {
		return errEnded
	}
	s.ws, s.probe, s.upgrading = c, nil, false
	c.heard = &s.heard // in its reader's goroutine, which alone uses it
	if s.socket != nil {
		c.limit.Store(int64(s.srv.cfg.MaxPayload))
	}
	s.wakePoll()
	if len(s.queue) > 0 {
		s.startFlush()
	}
	s.srv.metrics.upgraded.Add(1)
	s.srv.metrics.polling.Add(-1)
	s.srv.metrics.websocket.Add(1)
	return nil
}
