package packet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Type is the type of a Socket.IO v5 packet.
type Type byte

// The Socket.IO packet types.
const (
	Connect      Type = '0'
	Disconnect   Type = '1'
	Event        Type = '2'
	Ack          Type = '3'
	ConnectError Type = '4'
	BinaryEvent  Type = '5'
	BinaryAck    Type = '6'
)

// NoID is the id of a packet that asks for no acknowledgement.
const NoID int64 = -1

// Bounds of one packet, on both sides of the wire.
const (
	// MaxAttachments bounds the binary attachments of one packet.
	MaxAttachments = 10
	// MaxArgs bounds the arguments of one event or acknowledgement, the event's name not counted.
	MaxArgs = 64
	// MaxNamespaceBytes bounds a namespace with its query.
	MaxNamespaceBytes = 256
	// MaxID is the largest acknowledgement id: what a JavaScript number counts exactly.
	MaxID int64 = 1<<53 - 1

	// maxIDDigits and maxCountDigits bound the digits read for MaxID and MaxAttachments.
	maxIDDigits    = 16
	maxCountDigits = 2
)

// The violations of Socket.IO. Those about names, arguments and counts are also returned for what cannot be encoded.
const (
	ErrType        = Violation("unknown socket.io packet type")
	ErrCount       = Violation("bad number of attachments")
	ErrNamespace   = Violation("namespace is too long")
	ErrID          = Violation("bad acknowledgement id")
	ErrData        = Violation("data does not fit the packet type")
	ErrName        = Violation("event name is not a string or is reserved")
	ErrArgs        = Violation("too many arguments")
	ErrPlaceholder = Violation("placeholder out of range")
	ErrOwed        = Violation("text while attachments are owed")
	ErrNotOwed     = Violation("binary while no attachment is owed")
)

// ErrTooLarge says that a packet with its attachments has more bytes than allowed.
var ErrTooLarge = errors.New("packet: packet with its attachments is too large")

// ErrRaw says that a raw argument to encode is not JSON or not UTF-8.
var ErrRaw = errors.New("packet: raw argument is not valid JSON")

// Packet is a Socket.IO packet. Data and Attachments of a parsed packet share the memory of what was parsed.
type Packet struct {
	Type Type
	// Namespace is "/" when the packet names none. It may carry a query ("/x?y=z").
	Namespace string
	// ID asks for an acknowledgement (events) or names the event acknowledged (acks); NoID when absent.
	ID int64
	// Data is valid JSON of the kind the type asks for: an array for events (whose first element is the name) and acks,
	// an object or nothing for Connect, an object or a string for ConnectError, nothing for Disconnect.
	Data json.RawMessage
	// Count is the number of attachments the text announces. They follow as binary messages.
	Count int
	// Attachments holds them once an [Assembler] has put the packet together.
	Attachments [][]byte
}

// Parse reads the text of a Socket.IO packet, without Engine.IO's type character. Text of the wrong form, with a number
// out of bounds, or with data that does not fit the type is refused. It decodes no arguments.
func Parse(text []byte) (Packet, error) {
	p := Packet{Namespace: "/", ID: NoID}
	if len(text) == 0 {
		return p, ErrEmpty
	}
	p.Type = Type(text[0])
	if p.Type < Connect || p.Type > BinaryAck {
		return p, ErrType
	}
	text = text[1:]
	if p.Type == BinaryEvent || p.Type == BinaryAck {
		n, rest, ok := digits(text, maxCountDigits)
		if !ok || n > MaxAttachments || len(rest) == 0 || rest[0] != '-' {
			return p, ErrCount
		}
		p.Count, text = int(n), rest[1:]
	}
	if len(text) > 0 && text[0] == '/' {
		end := 0
		for end < len(text) && text[end] != ',' {
			end++
		}
		if end > MaxNamespaceBytes {
			return p, ErrNamespace
		}
		if end > 1 {
			p.Namespace = string(text[:end])
		}
		text = text[min(end+1, len(text)):]
	}
	if len(text) > 0 && text[0] >= '0' && text[0] <= '9' {
		n, rest, ok := digits(text, maxIDDigits)
		if !ok || n > MaxID {
			return p, ErrID
		}
		p.ID, text = n, rest
	}
	if len(text) > 0 {
		p.Data = text
	}
	return p, p.check()
}

// digits reads a number of 1 to most digits.
func digits(text []byte, most int) (n int64, rest []byte, ok bool) {
	i := 0
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		if i == most {
			return 0, nil, false
		}
		n = n*10 + int64(text[i]-'0')
		i++
	}
	return n, text[i:], i > 0
}

// check holds the data and the id against the type.
func (p Packet) check() error {
	if len(p.Data) > 0 && !json.Valid(p.Data) {
		return ErrData
	}
	first := firstByte(p.Data)
	switch p.Type {
	case Connect:
		if first != '{' && first != 0 {
			return ErrData
		}
	case Disconnect:
		if first != 0 {
			return ErrData
		}
	case ConnectError:
		if first != '{' && first != '"' {
			return ErrData
		}
	default:
		if first != '[' {
			return ErrData
		}
	}
	if p.ID == NoID {
		if p.Type == Ack || p.Type == BinaryAck {
			return ErrID
		}
		return nil
	}
	if p.Type == Connect || p.Type == Disconnect || p.Type == ConnectError {
		return ErrID
	}
	return nil
}

// firstByte is the first byte of JSON that is not white space, 0 when there is none.
func firstByte(data []byte) byte {
	for _, c := range data {
		if c != ' ' && c != '\t' && c != '\n' && c != '\r' {
			return c
		}
	}
	return 0
}

// Event splits the data of an event into its name and its arguments, which share the packet's memory. Reserved names
// are refused: they would be taken for events of the library itself.
func (p Packet) Event() (name string, args []json.RawMessage, err error) {
	all, err := elements(p.Data)
	if err != nil {
		return "", nil, err
	}
	if len(all) == 0 || all[0][0] != '"' {
		return "", nil, ErrName
	}
	if err := json.Unmarshal(all[0], &name); err != nil || Reserved(name) {
		return "", nil, ErrName
	}
	return name, all[1:], nil
}

// Args splits the data of an acknowledgement into its arguments, which share the packet's memory.
func (p Packet) Args() ([]json.RawMessage, error) {
	all, err := elements(p.Data)
	if err != nil {
		return nil, err
	}
	if len(all) > MaxArgs {
		return nil, ErrArgs
	}
	return all, nil
}

// Reserved tells whether a name means something to Socket.IO itself and so is no event of an application.
func Reserved(name string) bool {
	switch name {
	case "connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener":
		return true
	}
	return false
}

// elements cuts a JSON array, already known to be valid, into its elements without decoding them.
func elements(data []byte) ([]json.RawMessage, error) {
	var out []json.RawMessage
	depth, start := 0, -1 // start of the element in work, within the outermost array
	for i := 0; i < len(data); i++ {
		c := data[i]
		if depth == 1 && (c == ',' || c == ']') && start >= 0 {
			if len(out) > MaxArgs {
				return nil, ErrArgs
			}
			out, start = append(out, bytes.TrimRight(data[start:i], " \t\n\r")), -1
		}
		if depth == 1 && start < 0 && !strings.ContainsRune(" \t\n\r,]", rune(c)) {
			start = i
		}
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		case '"':
			for i++; data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		}
	}
	return out, nil
}

// appendHeader appends the text of a packet up to its data: type, attachment count, namespace, id.
func (p Packet) appendHeader(dst []byte) []byte {
	dst = append(dst, byte(p.Type))
	if p.Type == BinaryEvent || p.Type == BinaryAck {
		dst = append(strconv.AppendInt(dst, int64(p.Count), 10), '-')
	}
	if p.Namespace != "" && p.Namespace != "/" {
		dst = append(append(dst, p.Namespace...), ',')
	}
	if p.ID != NoID {
		dst = strconv.AppendInt(dst, p.ID, 10)
	}
	return dst
}

// Append appends the text form of the packet. Its data is written as it is.
func (p Packet) Append(dst []byte) []byte {
	return append(p.appendHeader(dst), p.Data...)
}

// AppendEvent appends the text of an event for namespace "/" and returns it with the attachments to send after it.
// id asks for an acknowledgement, NoID for none. Arguments of type []byte become attachments, a json.RawMessage is
// written as it is (checked), everything else is marshalled.
func AppendEvent(dst []byte, id int64, name string, args ...any) (text []byte, attachments [][]byte, err error) {
	if Reserved(name) {
		return dst, nil, ErrName
	}
	return appendArgs(dst, Packet{Type: Event, ID: id}, BinaryEvent, append([]any{name}, args...))
}

// AppendAck appends the text of the acknowledgement of event id, like [AppendEvent].
func AppendAck(dst []byte, id int64, args ...any) (text []byte, attachments [][]byte, err error) {
	return appendArgs(dst, Packet{Type: Ack, ID: id}, BinaryAck, args)
}

// AppendRawEvent appends the text of an event whose arguments are JSON that may hold placeholders for attachments at
// any depth: what [Assembler] delivered, passed on.
func AppendRawEvent(dst []byte, id int64, name string, args []json.RawMessage, attachments [][]byte) ([]byte, error) {
	list := make([]any, 0, len(args)+1)
	list = append(list, name)
	for _, a := range args {
		list = append(list, a)
	}
	if Reserved(name) {
		return dst, ErrName
	}
	p := Packet{Type: Event, ID: id}
	if len(attachments) > 0 {
		p.Type, p.Count = BinaryEvent, len(attachments)
	}
	text, _, err := appendArgs(dst, p, p.Type, list)
	return text, err
}

// appendArgs writes p with args as its data; p becomes withBinary when arguments turn into attachments.
func appendArgs(dst []byte, p Packet, withBinary Type, args []any) ([]byte, [][]byte, error) {
	if len(args) > MaxArgs+1 {
		return dst, nil, ErrArgs
	}
	var attachments [][]byte
	for _, a := range args {
		if b, ok := a.([]byte); ok {
			attachments = append(attachments, b)
		}
	}
	if len(attachments) > 0 {
		p.Type, p.Count = withBinary, len(attachments)
	}
	if p.Count > MaxAttachments {
		return dst, nil, ErrCount
	}
	text := append(p.appendHeader(dst), '[')
	num := 0
	for i, a := range args {
		if i > 0 {
			text = append(text, ',')
		}
		switch v := a.(type) {
		case []byte:
			text = append(text, `{"_placeholder":true,"num":`...)
			text = append(strconv.AppendInt(text, int64(num), 10), '}')
			num++
		case json.RawMessage:
			if !json.Valid(v) || !utf8.Valid(v) {
				return dst, nil, ErrRaw
			}
			text = append(text, v...)
		default:
			b, err := json.Marshal(v)
			if err != nil {
				return dst, nil, fmt.Errorf("encoding argument %d: %w", i, err)
			}
			text = append(text, b...)
		}
	}
	return append(text, ']'), attachments, nil
}
