package e2ee

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// The encodings of the bodies. Fields are numbered from 1 in the order in which
// they are written, and all are written.

// bodyFormat is the encoding of one kind of body. read takes the current field.
type bodyFormat[T any] interface {
	*T
	marshal() []byte
	read(r *wireReader)
	valid() bool
}

// decodeBody reads a body of the given kind. What this package knows must come
// first, whole and canonical; fields of later formats may follow it.
func decodeBody[T any, F bodyFormat[T]](b Body, kind BodyKind) (T, error) {
	var v, none T
	if b.Kind != kind {
		return none, fmt.Errorf("body of kind %d read as %d: %w", b.Kind, kind, ErrFormat)
	}
	r := readCanonical(b.Bytes)
	for r.next() {
		F(&v).read(r)
	}
	if r.err != nil || !bytes.HasPrefix(b.Bytes, F(&v).marshal()) || !F(&v).valid() {
		return none, fmt.Errorf("body of kind %d: %w", kind, ErrFormat)
	}
	return v, nil
}

func validText(s string, shortest, longest int) bool {
	return len(s) >= shortest && len(s) <= longest && utf8.ValidString(s)
}

func appendTarget(b []byte, t Target) []byte {
	return appendBytesField(appendBytesField(b, 1, t.Sender[:]), 2, t.MessageID[:])
}

// readTarget reads fields 1 and 2 of a body and passes over the others.
func readTarget(r *wireReader, t *Target) {
	switch r.number {
	case 1:
		r.fixed(t.Sender[:])
	case 2:
		r.fixed(t.MessageID[:])
	}
}

// flag reads a varint field that is 0 or 1.
func flag(r *wireReader) bool {
	v := r.uint64()
	if v > 1 {
		r.err = errWire
	}
	return v == 1
}

func appendFlagField(b []byte, number int, v bool) []byte {
	if v {
		return appendUintField(b, number, 1)
	}
	return appendUintField(b, number, 0)
}

// text is the body of kind BodyText.
type text string

func (t text) marshal() []byte { return appendBytesField(nil, 1, []byte(t)) }
func (t text) valid() bool     { return validText(string(t), 1, MaxText) }
func (t *text) read(r *wireReader) {
	if r.number == 1 {
		*t = text(r.bytes(MaxText))
	}
}

func (p Reply) marshal() []byte {
	return appendBytesField(appendTarget(nil, p.Target), 3, []byte(p.Text))
}
func (p Reply) valid() bool { return validText(p.Text, 1, MaxText) }
func (p *Reply) read(r *wireReader) {
	readTarget(r, &p.Target)
	if r.number == 3 {
		p.Text = string(r.bytes(MaxText))
	}
}

func (p Reaction) marshal() []byte {
	b := appendBytesField(appendTarget(nil, p.Target), 3, []byte(p.Emoji))
	return appendFlagField(b, 4, p.Remove)
}
func (p Reaction) valid() bool { return validText(p.Emoji, 1, MaxEmoji) }
func (p *Reaction) read(r *wireReader) {
	readTarget(r, &p.Target)
	switch r.number {
	case 3:
		p.Emoji = string(r.bytes(MaxEmoji))
	case 4:
		p.Remove = flag(r)
	}
}

func (e Edit) marshal() []byte {
	return appendBytesField(appendTarget(nil, e.Target), 3, []byte(e.Text))
}
func (e Edit) valid() bool { return validText(e.Text, 1, MaxText) }
func (e *Edit) read(r *wireReader) {
	readTarget(r, &e.Target)
	if r.number == 3 {
		e.Text = string(r.bytes(MaxText))
	}
}

func (d Delete) marshal() []byte {
	return appendUintField(appendTarget(nil, d.Target), 3, uint64(d.Scope))
}
func (d Delete) valid() bool { return d.Scope == DeleteForAll || d.Scope == DeleteForSelf }
func (d *Delete) read(r *wireReader) {
	readTarget(r, &d.Target)
	if r.number == 3 {
		d.Scope = DeleteScope(small(r))
	}
}

func (p Receipt) marshal() []byte {
	b := appendUintField(nil, 1, uint64(p.Kind))
	b = appendUintField(b, 2, p.Epoch)
	b = appendUintField(b, 3, p.Seq)
	for _, id := range p.MessageIDs {
		b = appendBytesField(b, 4, id[:])
	}
	return b
}
func (p Receipt) valid() bool {
	return (p.Kind == ReceiptRead || p.Kind == ReceiptViewed) &&
		(p.Seq > 0 || len(p.MessageIDs) > 0) && len(p.MessageIDs) <= MaxReceiptIDs
}
func (p *Receipt) read(r *wireReader) {
	switch r.number {
	case 1:
		p.Kind = ReceiptKind(small(r))
	case 2:
		p.Epoch = r.uint64()
	case 3:
		p.Seq = r.uint64()
	case 4:
		var id [16]byte
		r.fixed(id[:])
		p.MessageIDs = append(p.MessageIDs, id)
	}
}

func (t Typing) marshal() []byte { return appendFlagField(nil, 1, t.Started) }
func (t Typing) valid() bool     { return true }
func (t *Typing) read(r *wireReader) {
	if r.number == 1 {
		t.Started = flag(r)
	}
}

// listUpdate is the body of kind BodyListUpdate.
type listUpdate SignedDeviceList

func (u listUpdate) marshal() []byte {
	return appendBytesField(appendBytesField(nil, 1, u.List), 2, u.Signature)
}
func (u listUpdate) valid() bool { return len(u.List) > 0 && len(u.Signature) == SignatureSize }
func (u *listUpdate) read(r *wireReader) {
	switch r.number {
	case 1:
		u.List = bytes.Clone(r.bytes(MaxDeviceListSize))
	case 2:
		u.Signature = bytes.Clone(r.bytes(SignatureSize))
	}
}

func (k ArchiveKeys) marshal() []byte {
	b := appendUintField(nil, 1, k.BundleVersion)
	for _, key := range k.Keys {
		b = appendNumberedKey(b, 2, key.Epoch, key.Key)
	}
	return b
}
func (k ArchiveKeys) valid() bool { return len(k.Keys) > 0 && validArchiveKeys(k.Keys) }
func (k *ArchiveKeys) read(r *wireReader) {
	switch r.number {
	case 1:
		k.BundleVersion = r.uint64()
	case 2:
		epoch, key := parseNumberedKey(r)
		k.Keys = append(k.Keys, ArchiveKey{Epoch: epoch, Key: key})
	}
}

func (q RetryRequest) marshal() []byte {
	b := appendBytesField(nil, 1, q.Conversation[:])
	b = appendBytesField(b, 2, q.MessageID[:])
	return appendBytesField(b, 3, q.Error)
}
func (q RetryRequest) valid() bool { return len(q.Error) > 0 }
func (q *RetryRequest) read(r *wireReader) {
	switch r.number {
	case 1:
		r.fixed(q.Conversation[:])
	case 2:
		r.fixed(q.MessageID[:])
	case 3:
		q.Error = bytes.Clone(r.bytes(MaxRetryError))
	}
}

func (p Profile) marshal() []byte {
	b := appendUintField(nil, 1, p.Version)
	b = appendBytesField(b, 2, []byte(p.DisplayName))
	b = appendBytesField(b, 3, []byte(p.Status))
	if p.Avatar != nil {
		b = appendBytesField(b, 4, p.Avatar.marshal())
	}
	return b
}
func (p Profile) valid() bool {
	return validText(p.DisplayName, 1, MaxDisplayName) && validText(p.Status, 0, MaxStatus) &&
		(p.Avatar == nil || p.Avatar.valid())
}
func (p *Profile) read(r *wireReader) {
	switch r.number {
	case 1:
		p.Version = r.uint64()
	case 2:
		p.DisplayName = string(r.bytes(MaxDisplayName))
	case 3:
		p.Status = string(r.bytes(MaxStatus))
	case 4:
		avatar := parseAttachment(r)
		p.Avatar = &avatar
	}
}
