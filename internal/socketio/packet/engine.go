// Package packet is the codec of the two protocols a Socket.IO connection speaks: Engine.IO v4, which carries
// packets over a websocket or long polling, and Socket.IO v5, which gives them names, arguments, acknowledgements and
// binary attachments.
//
// It holds no connection, no clock and no state but the [Assembler], imports only the standard library and compiles
// for js/wasm. Servers and clients use the same functions. Every length is bounded before anything is allocated for it.
package packet

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
)

// Engine is the type of an Engine.IO v4 packet: the first character of its text form.
type Engine byte

// The Engine.IO packet types. Binary messages have no type character: on a websocket they are binary frames, in a
// polling payload they are marked with 'b' and written in base64.
const (
	Open    Engine = '0'
	Close   Engine = '1'
	Ping    Engine = '2'
	Pong    Engine = '3'
	Message Engine = '4'
	Upgrade Engine = '5'
	Noop    Engine = '6'
)

// Version is the Engine.IO protocol version, the EIO query parameter.
const Version = "4"

const (
	// separator stands between the packets of a polling payload (ASCII record separator).
	separator = '\x1e'
	// binaryMark starts a binary packet in a polling payload.
	binaryMark = 'b'
	// MaxPayloadPackets bounds the packets of one polling payload, because a body of tiny packets costs far more work than
	// it cost to send.
	MaxPayloadPackets = 1024
)

// Violation is an error of the parsers and the [Assembler]: the peer broke the protocol, and its session ends.
type Violation string

func (v Violation) Error() string { return "packet: " + string(v) }

// The violations of Engine.IO.
const (
	ErrEmpty          = Violation("empty packet")
	ErrEngineType     = Violation("unknown engine.io packet type")
	ErrBase64         = Violation("binary packet is not base64")
	ErrTooManyPackets = Violation("too many packets in one payload")
)

// Handshake is the JSON of an Engine.IO open packet. Durations are in milliseconds, sizes in bytes.
type Handshake struct {
	SID          string   `json:"sid"`
	Upgrades     []string `json:"upgrades"`
	PingInterval int64    `json:"pingInterval"`
	PingTimeout  int64    `json:"pingTimeout"`
	MaxPayload   int      `json:"maxPayload"`
}

// AppendOpen appends the open packet that starts a session.
func AppendOpen(dst []byte, h Handshake) ([]byte, error) {
	body, err := json.Marshal(h)
	if err != nil {
		return dst, fmt.Errorf("encoding the open packet: %w", err)
	}
	return append(append(dst, byte(Open)), body...), nil
}

// ParseOpen reads the data of an open packet, without its type character.
func ParseOpen(data []byte) (Handshake, error) {
	var h Handshake
	if err := json.Unmarshal(data, &h); err != nil {
		return Handshake{}, fmt.Errorf("decoding the open packet: %w", err)
	}
	if h.SID == "" || h.PingInterval <= 0 || h.PingTimeout <= 0 || h.MaxPayload < 0 {
		return Handshake{}, errors.New("packet: open packet lacks its session id or heartbeat")
	}
	return h, nil
}

// ParseEngine splits the text form of an Engine.IO packet into its type and its data, which shares text's memory.
func ParseEngine(text []byte) (Engine, []byte, error) {
	if len(text) == 0 {
		return 0, nil, ErrEmpty
	}
	t := Engine(text[0])
	if t < Open || t > Noop {
		return 0, nil, ErrEngineType
	}
	return t, text[1:], nil
}

// AppendPayload appends one packet to a polling payload: text as it is, binary as 'b' and base64. first tells whether
// it is the payload's first packet, which no separator precedes.
func AppendPayload(dst []byte, data []byte, binary, first bool) []byte {
	if !first {
		dst = append(dst, separator)
	}
	if !binary {
		return append(dst, data...)
	}
	dst = append(dst, binaryMark)
	return base64.StdEncoding.AppendEncode(dst, data)
}

// PayloadSize is the number of bytes [AppendPayload] adds at most.
func PayloadSize(n int, binary bool) int {
	if binary {
		return base64.StdEncoding.EncodedLen(n) + 2
	}
	return n + 1
}

// EachPayload calls f for every packet of a polling payload, in order, until f returns an error. Text packets share
// body's memory. Binary packets are decoded into memory of their own.
func EachPayload(body []byte, f func(data []byte, binary bool) error) error {
	if bytes.Count(body, []byte{separator}) >= MaxPayloadPackets {
		return ErrTooManyPackets
	}
	for {
		one, rest, more := bytes.Cut(body, []byte{separator})
		if len(one) == 0 {
			return ErrEmpty
		}
		binary := one[0] == binaryMark
		if binary {
			raw, err := base64.StdEncoding.AppendDecode(nil, one[1:])
			if err != nil {
				return ErrBase64
			}
			one = raw
		}
		if err := f(one, binary); err != nil {
			return err
		}
		if !more {
			return nil
		}
		body = rest
	}
}
