package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"sotto/api"
	"sotto/internal/socketio/packet"
)

// patience is for what takes milliseconds on a machine that does nothing else.
const patience = 20 * time.Second

// Socket is a websocket of a device. Its methods are called from one goroutine.
type Socket struct {
	conn   net.Conn
	source io.Reader // conn, behind what came with the handshake
	lastID int64

	// Events holds what the server told, in order.
	Events []Told
}

// Told is an event from the server.
type Told struct {
	Name string
	Arg  json.RawMessage
}

// Refused is a refused CONNECT.
type Refused struct{ Code, Message string }

func (r *Refused) Error() string { return r.Code + ": " + r.Message }

// Dial opens a websocket and does not connect yet. A handshake that is refused is a ws.StatusError.
func (s *Server) Dial(ctx context.Context, header http.Header) (*Socket, error) {
	if header == nil {
		header = http.Header{}
	}
	header.Set("X-Forwarded-For", s.Address())
	dialer := ws.Dialer{Header: ws.HandshakeHeaderHTTP(header), Timeout: patience}
	conn, early, _, err := dialer.Dial(ctx, "ws"+strings.TrimPrefix(s.URL,
		"http")+api.SocketPath+"?EIO="+packet.Version+"&transport=websocket")
	if err != nil {
		return nil, err
	}
	k := &Socket{conn: conn, source: conn}
	if early != nil {
		k.source = early
	}
	kind, _, err := k.next()
	if err == nil && kind != packet.Open {
		err = fmt.Errorf("a session that begins with packet %q", kind)
	}
	return k, err
}

// Connect presents auth, which is marshalled. A refusal is a *Refused.
func (k *Socket) Connect(auth any) error {
	body, err := json.Marshal(auth)
	if err != nil {
		return err
	}
	if err := k.Write("40" + string(body)); err != nil {
		return err
	}
	for {
		p, err := k.packet()
		if err != nil {
			return err
		}
		switch p.Type {
		case packet.Connect:
			return nil
		case packet.ConnectError:
			var e struct {
				Data Refused `json:"data"`
			}
			if err := json.Unmarshal(p.Data, &e); err != nil {
				return err
			}
			return &e.Data
		default:
			return fmt.Errorf("packet %q instead of an answer to CONNECT", p.Type)
		}
	}
}

// Socket opens a socket for the device with its next generation.
func (s *Server) Socket(t testing.TB, d *Device) *Socket {
	t.Helper()
	k, err := s.Dial(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.conn.Close() })
	d.Generation++
	if err := k.Connect(api.SocketAuth{Token: d.Login.Token, Generation: d.Generation, Protocol: api.ProtocolHighest}); err != nil {
		t.Fatal(err)
	}
	return k
}

// Write writes one text message as it is.
func (k *Socket) Write(text string) error {
	if err := k.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	return wsutil.WriteClientText(k.conn, []byte(text))
}

// Ask emits an event whose arguments are written as they are, and waits for its acknowledgement.
func (k *Socket) Ask(event, arguments string) (api.Reply[json.RawMessage], error) {
	k.lastID++
	text := fmt.Sprintf("42%d[%q,%s]", k.lastID, event, arguments)
	if arguments == "" {
		text = fmt.Sprintf("42%d[%q]", k.lastID, event)
	}
	var reply api.Reply[json.RawMessage]
	if err := k.Write(text); err != nil {
		return reply, err
	}
	for {
		p, err := k.packet()
		if err != nil {
			return reply, err
		}
		if p.Type != packet.Ack || p.ID != k.lastID {
			continue
		}
		args, err := p.Args()
		if err != nil || len(args) != 1 {
			return reply, fmt.Errorf("an acknowledgement of %d arguments: %w", len(args), err)
		}
		err = json.Unmarshal(args[0], &reply)
		if err == nil && (reply.Ok == nil) == (reply.Error == nil) {
			err = errors.New("a reply that is neither an answer nor an error")
		}
		return reply, err
	}
}

// End reads until the server ends the socket, and returns the code of the end event, "" when there was none. A socket
// that stays open is an error.
func (k *Socket) End() (code string, err error) {
	if err := k.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", err
	}
	for err == nil {
		var p packet.Packet
		if p, err = k.packet(); err == nil && p.Type == packet.Disconnect {
			break
		}
	}
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
		return "", errors.New("the socket is still open")
	}
	for _, told := range k.Events {
		var p api.Problem
		if told.Name == api.EventEnd && json.Unmarshal(told.Arg, &p) == nil {
			code = p.Code
		}
	}
	return code, nil
}

// packet reads the next Socket.IO packet, answers pings and keeps events.
func (k *Socket) packet() (packet.Packet, error) {
	for {
		kind, data, err := k.next()
		if err != nil {
			return packet.Packet{}, err
		}
		switch kind {
		case packet.Ping:
			if err := k.Write("3"); err != nil {
				return packet.Packet{}, err
			}
		case packet.Message:
			p, err := packet.Parse(data)
			if err == nil && p.Type == packet.Event {
				name, args, err := p.Event()
				if err != nil || len(args) != 1 {
					return p, fmt.Errorf("an event of %d arguments: %w", len(args), err)
				}
				k.Events = append(k.Events, Told{name, args[0]})
			}
			return p, err
		default:
			return packet.Packet{}, fmt.Errorf("packet %q", kind)
		}
	}
}

func (k *Socket) next() (packet.Engine, []byte, error) {
	text, err := wsutil.ReadServerText(struct {
		io.Reader
		io.Writer
	}{k.source, k.conn})
	if err != nil {
		return 0, nil, err
	}
	return packet.ParseEngine(text)
}
