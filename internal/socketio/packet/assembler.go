package packet

import (
	"bytes"
	"encoding/json"
)

// Assembler puts the packets of one connection together from its text and binary messages, in the order they arrive.
// It is not safe for concurrent use. The zero value refuses every packet with data; set MaxBytes.
type Assembler struct {
	// MaxBytes bounds the bytes of one packet's text and attachments together.
	MaxBytes int

	partial *Packet // waits for attachments; nil between packets
	bytes   int     // of text and attachments of partial so far
}

// Owed is the number of attachments the packet in work still waits for, 0 between packets.
func (a *Assembler) Owed() int {
	if a.partial == nil {
		return 0
	}
	return a.partial.Count - len(a.partial.Attachments)
}

// Text takes a text message: a packet is done when it announces no attachments, and then shares text's memory.
func (a *Assembler) Text(text []byte) (p Packet, done bool, err error) {
	if a.partial != nil {
		return p, false, ErrOwed
	}
	if len(text) > a.MaxBytes {
		return p, false, ErrTooLarge
	}
	if p, err = Parse(text); err != nil {
		return p, false, err
	}
	if p.Type != BinaryEvent && p.Type != BinaryAck {
		return p, true, nil
	}
	if err := checkPlaceholders(p.Data, p.Count); err != nil {
		return p, false, err
	}
	if p.Count == 0 {
		return p, true, nil
	}
	waits := p
	waits.Data = bytes.Clone(p.Data)
	a.partial, a.bytes = &waits, len(text)
	return p, false, nil
}

// Binary takes a binary message, which it copies: an attachment of the packet in work. With the last one the packet
// is done.
func (a *Assembler) Binary(data []byte) (p Packet, done bool, err error) {
	if a.partial == nil {
		return p, false, ErrNotOwed
	}
	if a.bytes += len(data); a.bytes > a.MaxBytes {
		a.Reset()
		return p, false, ErrTooLarge
	}
	a.partial.Attachments = append(a.partial.Attachments, bytes.Clone(data))
	if a.Owed() > 0 {
		return p, false, nil
	}
	p = *a.partial
	a.Reset()
	return p, true, nil
}

// Reset forgets the packet in work.
func (a *Assembler) Reset() { a.partial, a.bytes = nil, 0 }

// checkPlaceholders refuses data in which an object {"_placeholder":true,"num":N} names an attachment that is not one
// of count. It walks the tokens, so that its memory is bounded by the depth and not by the size of the data.
func checkPlaceholders(data []byte, count int) error {
	if !bytes.Contains(data, []byte(`_placeholder`)) {
		return nil
	}
	type level struct {
		object, marked bool
		key            string // the key whose value comes next, in an object
		num            json.Number
	}
	var stack []level
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	for {
		tok, err := dec.Token()
		if err != nil { // io.EOF: the data is known to be valid JSON
			return nil
		}
		var top *level
		if len(stack) > 0 {
			top = &stack[len(stack)-1]
		}
		if d, ok := tok.(json.Delim); ok {
			switch d {
			case '[', '{':
				if top != nil {
					top.key = ""
				}
				stack = append(stack, level{object: d == '{'})
			default:
				if top.marked && !inRange(top.num, count) {
					return ErrPlaceholder
				}
				stack = stack[:len(stack)-1]
			}
			continue
		}
		if top == nil || !top.object {
			continue
		}
		if key, ok := tok.(string); ok && top.key == "" {
			top.key = "." + key // never empty, also for the key ""
			continue
		}
		switch v := tok.(type) {
		case bool:
			top.marked = top.marked || v && top.key == "._placeholder"
		case json.Number:
			if top.key == ".num" {
				top.num = v
			}
		}
		top.key = ""
	}
}

// inRange tells whether a placeholder's number is one of 0 to count-1, written plainly.
func inRange(num json.Number, count int) bool {
	n, err := num.Int64()
	return err == nil && n >= 0 && n < int64(count)
}
