package socketio

import (
	"encoding/json"
	"sync"

	"sotto/internal/socketio/packet"
)

// Prepared is an event encoded and framed once, to be sent to many sockets, which share its bytes. It is immutable.
type Prepared struct {
	frames []frame
}

// Prepare encodes an event with arguments as in [Socket.Emit].
func Prepare(name string, args ...any) (*Prepared, error) {
	return prepareEvent(packet.NoID, name, args...)
}

// PrepareRaw encodes an event from the parts of one that was received: JSON that may hold placeholders at any depth, and
// the attachments they name.
func PrepareRaw(name string, args []json.RawMessage, attachments [][]byte) (*Prepared, error) {
	frames, err := encode(func(dst []byte) ([]byte, [][]byte, error) {
		text, err := packet.AppendRawEvent(dst, packet.NoID, name, args, attachments)
		return text, attachments, err
	})
	if err != nil {
		return nil, err
	}
	return &Prepared{frames}, nil
}

func prepareEvent(id int64, name string, args ...any) (*Prepared, error) {
	frames, err := encode(func(dst []byte) ([]byte, [][]byte, error) {
		return packet.AppendEvent(dst, id, name, args...)
	})
	if err != nil {
		return nil, err
	}
	return &Prepared{frames}, nil
}

// texts holds the memory that packets are encoded in before they are framed. It is a pool of its own, and what is taken
// from it is cut to length 0, so that no bytes of another client can be left in it.
var texts = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}

// maxPooledText bounds the memory kept in texts.
const maxPooledText = 16 << 10

// encode frames the packet that f appends, with its attachments.
func encode(f func(dst []byte) (text []byte, attachments [][]byte, err error)) ([]frame, error) {
	pooled := texts.Get().(*[]byte)
	text, attachments, err := f(append((*pooled)[:0], byte(packet.Message)))
	if cap(text) <= maxPooledText {
		*pooled = text
	}
	defer texts.Put(pooled)
	if err != nil {
		return nil, err
	}
	frames := make([]frame, 0, 1+len(attachments))
	frames = append(frames, textFrame(text))
	for _, a := range attachments {
		frames = append(frames, binaryFrame(a))
	}
	return frames, nil
}
