package e2ee

// BodyKind says what a body is: its field number in the content.
type BodyKind uint32

// The kinds of bodies. Numbers are never used again.
const (
	BodyText          BodyKind = 16
	BodyReply         BodyKind = 17
	BodyReaction      BodyKind = 18
	BodyEdit          BodyKind = 19
	BodyDelete        BodyKind = 20
	BodyReceipt       BodyKind = 21
	BodyTyping        BodyKind = 22
	BodyAttachments   BodyKind = 23
	BodyListUpdate    BodyKind = 24
	BodyArchiveKeys   BodyKind = 25
	BodyRetryRequest  BodyKind = 26
	BodySessionRepair BodyKind = 27 // no fields: the message exists to make a new session
	BodyProfile       BodyKind = 28
	BodyExpiryChange  BodyKind = 29 // no fields: the new timer stands in the content
	BodyGroupChange   BodyKind = 30 // reserved
	BodySenderKey     BodyKind = 31 // reserved
)

func (k BodyKind) known() bool { return k >= BodyText && k <= BodyExpiryChange }

// The bounds of bodies, in bytes unless named otherwise. Text is valid UTF-8.
const (
	MaxText        = 32 << 10
	MaxEmoji       = 64
	MaxReceiptIDs  = 100 // message ids
	MaxDisplayName = 128
	MaxStatus      = 512
	MaxRetryError  = 128
)

// Target names an earlier message of the same conversation.
type Target struct {
	Sender    [16]byte // account
	MessageID [16]byte
}

// Reply is a text in answer to a message.
type Reply struct {
	Target Target
	Text   string // 1 to MaxText bytes
}

// Reaction adds an emoji of the sender to a message, or takes it away. A second
// one by the same account replaces the first.
type Reaction struct {
	Target Target
	Emoji  string // 1 to MaxEmoji bytes
	Remove bool
}

// Edit replaces the text of a message. A receiver applies it only to a message
// of the same sender account.
type Edit struct {
	Target Target
	Text   string // 1 to MaxText bytes
}

// DeleteScope says for whom a message disappears.
type DeleteScope uint8

// The scopes. DeleteForSelf goes to the sender's own devices only.
const (
	DeleteForAll  DeleteScope = 1
	DeleteForSelf DeleteScope = 2
)

// Delete takes a message away. For all, a receiver applies it only to a message
// of the same sender account.
type Delete struct {
	Target Target
	Scope  DeleteScope
}

// ReceiptKind says what happened to messages. That a device has a message is
// told by the server and is no receipt.
type ReceiptKind uint8

// The kinds of receipts.
const (
	ReceiptRead   ReceiptKind = 1
	ReceiptViewed ReceiptKind = 2 // a view-once content was opened
)

// Receipt covers every message up to and including a position, and the messages
// named one by one. One of the two must be there.
type Receipt struct {
	Kind       ReceiptKind
	Epoch, Seq uint64     // both 0: no position
	MessageIDs [][16]byte // at most MaxReceiptIDs
}

// Typing says that the sender is typing, or has stopped.
type Typing struct{ Started bool }

// ArchiveKeys hands archive keys to the other devices of the own account. A
// receiver takes it only from its own account.
type ArchiveKeys struct {
	BundleVersion uint64       // the version of the key bundle that holds the keys too
	Keys          []ArchiveKey // ascending epoch, 1 to MaxArchiveKeys
}

// RetryRequest asks for a message that could not be decrypted.
type RetryRequest struct {
	Conversation, MessageID [16]byte
	Error                   []byte // see ParseDecryptionErrorMessage; 1 to MaxRetryError bytes
}

// Profile is how an account shows itself to the members of a conversation.
type Profile struct {
	Version     uint64 // the higher one counts
	DisplayName string // 1 to MaxDisplayName bytes
	Status      string // at most MaxStatus bytes
	Avatar      *Attachment
}

// TextBody makes a body of 1 to MaxText bytes of UTF-8. Like all functions
// here that make a body it checks nothing: [Content.Padded] does.
func TextBody(text string) Body {
	return Body{Kind: BodyText, Bytes: appendBytesField(nil, 1, []byte(text))}
}

// ReplyBody makes a body.
func ReplyBody(r Reply) Body { return Body{Kind: BodyReply, Bytes: r.marshal()} }

// ReactionBody makes a body.
func ReactionBody(r Reaction) Body { return Body{Kind: BodyReaction, Bytes: r.marshal()} }

// EditBody makes a body.
func EditBody(e Edit) Body { return Body{Kind: BodyEdit, Bytes: e.marshal()} }

// DeleteBody makes a body.
func DeleteBody(d Delete) Body { return Body{Kind: BodyDelete, Bytes: d.marshal()} }

// ReceiptBody makes a body.
func ReceiptBody(r Receipt) Body { return Body{Kind: BodyReceipt, Bytes: r.marshal()} }

// TypingBody makes a body.
func TypingBody(t Typing) Body { return Body{Kind: BodyTyping, Bytes: t.marshal()} }

// AttachmentsBody makes a body.
func AttachmentsBody(a Attachments) Body { return Body{Kind: BodyAttachments, Bytes: a.marshal()} }

// ListUpdateBody makes a body that hands on a device list, of any account.
func ListUpdateBody(s SignedDeviceList) Body {
	return Body{Kind: BodyListUpdate, Bytes: listUpdate(s).marshal()}
}

// ArchiveKeysBody makes a body.
func ArchiveKeysBody(k ArchiveKeys) Body { return Body{Kind: BodyArchiveKeys, Bytes: k.marshal()} }

// RetryRequestBody makes a body.
func RetryRequestBody(r RetryRequest) Body { return Body{Kind: BodyRetryRequest, Bytes: r.marshal()} }

// ProfileBody makes a body.
func ProfileBody(p Profile) Body { return Body{Kind: BodyProfile, Bytes: p.marshal()} }

// Text reads a body of that kind. It returns [ErrFormat] for another kind or a
// body that breaks a bound, as do the other methods that read a body. Fields of
// later formats are passed over.
func (b Body) Text() (string, error) {
	t, err := decodeBody[text](b, BodyText)
	return string(t), err
}

// Reply reads a body of that kind.
func (b Body) Reply() (Reply, error) { return decodeBody[Reply](b, BodyReply) }

// Reaction reads a body of that kind.
func (b Body) Reaction() (Reaction, error) { return decodeBody[Reaction](b, BodyReaction) }

// Edit reads a body of that kind.
func (b Body) Edit() (Edit, error) { return decodeBody[Edit](b, BodyEdit) }

// Delete reads a body of that kind.
func (b Body) Delete() (Delete, error) { return decodeBody[Delete](b, BodyDelete) }

// Receipt reads a body of that kind.
func (b Body) Receipt() (Receipt, error) { return decodeBody[Receipt](b, BodyReceipt) }

// Typing reads a body of that kind.
func (b Body) Typing() (Typing, error) { return decodeBody[Typing](b, BodyTyping) }

// Attachments reads a body of that kind.
func (b Body) Attachments() (Attachments, error) { return decodeBody[Attachments](b, BodyAttachments) }

// ListUpdate reads a body of that kind. The list is not verified; see
// [SignedDeviceList.Open].
func (b Body) ListUpdate() (SignedDeviceList, error) {
	u, err := decodeBody[listUpdate](b, BodyListUpdate)
	return SignedDeviceList(u), err
}

// ArchiveKeys reads a body of that kind.
func (b Body) ArchiveKeys() (ArchiveKeys, error) { return decodeBody[ArchiveKeys](b, BodyArchiveKeys) }

// RetryRequest reads a body of that kind.
func (b Body) RetryRequest() (RetryRequest, error) {
	return decodeBody[RetryRequest](b, BodyRetryRequest)
}

// Profile reads a body of that kind.
func (b Body) Profile() (Profile, error) { return decodeBody[Profile](b, BodyProfile) }

// check reads the body as what it says it is. Kinds without a reader pass.
func (b Body) check() error {
	var err error
	switch b.Kind { //nolint:exhaustive // the reserved kinds are kept as they are
	case BodyText:
		_, err = b.Text()
	case BodyReply:
		_, err = b.Reply()
	case BodyReaction:
		_, err = b.Reaction()
	case BodyEdit:
		_, err = b.Edit()
	case BodyDelete:
		_, err = b.Delete()
	case BodyReceipt:
		_, err = b.Receipt()
	case BodyTyping:
		_, err = b.Typing()
	case BodyAttachments:
		_, err = b.Attachments()
	case BodyListUpdate:
		_, err = b.ListUpdate()
	case BodyArchiveKeys:
		_, err = b.ArchiveKeys()
	case BodyRetryRequest:
		_, err = b.RetryRequest()
	case BodyProfile:
		_, err = b.Profile()
	}
	return err
}
