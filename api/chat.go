package api

// Bounds of the chat service that both sides check.
const (
	MaxEnvelopes       = 1_000   // in one send
	MaxEnvelopeBytes   = 256_000 // bytes of one envelope
	MaxAckEntries      = 256     // in one acknowledgement
	MaxMailboxPage     = 256     // entries in one page
	MaxMailboxPageSize = 768 << 10
	MaxSyncPage        = 256 // positions in one page
	MaxConversations   = 100 // in one page
	MaxMailboxEntries  = 10_000
	MaxMailboxBytes    = 64 << 20
	MailboxIdleDays    = 45
	MaxArchivePage     = 256 // records in one page
	MaxArchivePageSize = 768 << 10
	MaxStateName       = 64 // bytes of [a-z0-9/_.-]
	MaxStateBytes      = 66_560
	MaxStates          = 10_000 // of an account
	MaxStatePage       = 256    // in one page
	MaxStatePageSize   = 768 << 10
	MaxArchiveDays     = 3_650
	MaxOwedPage        = 256 // in one page
	OwedDays           = 30  // until what is owed is given up
	CommitmentSize     = 32
	TagSize            = 36 // key id (4) and HMAC (32)
)

// Kind of a conversation.
type Kind string

// Kinds. Group ids are reserved for a later version.
const (
	KindDirect Kind = "direct" // two members, one conversation a pair
	KindSelf   Kind = "self"   // notes to oneself
)

// MemberState is how an account stands to a conversation.
type MemberState string

// States of a member. While requested there are no receipts, presence or typing.
const (
	MemberRequested MemberState = "requested"
	MemberAccepted  MemberState = "accepted"
	MemberBlocked   MemberState = "blocked"
)

// Class decides storage and position of a send.
type Class string

// Classes, protocol.md section 4.
const (
	ClassMessage   Class = "message"   // takes a seq, names every current device, archived, notifies
	ClassSilent    Class = "silent"    // no seq, named devices only, stored until acknowledged or 30 days
	ClassEphemeral Class = "ephemeral" // never stored, live sockets only, dropped when busy
)

// Envelope types of the session wire format.
const (
	EnvelopeWhisper   = 2 // SignalMessage
	EnvelopePreKey    = 3 // PreKeySignalMessage
	EnvelopeSealed    = 6 // reserved: sealed sender
	EnvelopeSenderKey = 7
	EnvelopePlaintext = 8 // retry request of a device without a session
)

// OpenConversationRequest makes a conversation or finds the existing one. Peer is absent for kind self.
type OpenConversationRequest struct {
	Kind Kind       `json:"kind"`
	Peer *AccountID `json:"peer,omitempty"`
}

// Conversation as the asking account sees it.
type Conversation struct {
	ConversationID ConversationID `json:"conversation_id"`
	Kind           Kind           `json:"kind"`
	State          MemberState    `json:"state"` // of the asking account
	Members        []AccountID    `json:"members"`
	LastSeq        uint64         `json:"last_seq"`
	CreatedAt      int64          `json:"created_at"`
}

// Conversations is one page; Next is the cursor of the following one, empty at the end.
type Conversations struct {
	Conversations []Conversation `json:"conversations"`
	Next          string         `json:"next,omitempty"`
}

// MemberStateRequest accepts or blocks a conversation for the asking account.
type MemberStateRequest struct {
	State MemberState `json:"state"` // accepted or blocked
}

// ConnectionRequest raises the device's generation before anything is encrypted. A generation that was passed already
// is refused with CodeDeviceCloned.
type ConnectionRequest struct {
	Generation uint64 `json:"generation"`
}

// Connection answers an accepted generation, over REST and as the socket's "ready" event.
type Connection struct {
	Epoch      uint64 `json:"epoch"`
	Generation uint64 `json:"generation"`
	ServerTime int64  `json:"server_time"`
	Waiting    int    `json:"waiting"`        // mailbox entries of this device
	Owed       int    `json:"owed,omitempty"` // messages of this account that it should supplement: read them
	// Returned tells that this device was signed out or dormant and is part of the device set again from here on. It
	// publishes new prekeys and reads the archive.
	Returned bool `json:"returned,omitempty"`
}

// ListVersion names the device-list version of one member account that a send was made for.
type ListVersion struct {
	AccountID AccountID `json:"account_id"`
	Version   uint64    `json:"version"`
}

// Envelope is one ciphertext for one device. RegistrationID tells a re-installed device from its predecessor.
type Envelope struct {
	AccountID      AccountID    `json:"account_id"`
	DeviceID       WireDeviceID `json:"device_id"`
	RegistrationID uint32       `json:"registration_id"`
	Type           int          `json:"type"`
	Bytes          []byte       `json:"bytes"`
}

// Record is one archive record: sealed by the account's archive key of KeyEpoch.
type Record struct {
	ConversationID ConversationID `json:"conversation_id"`
	MessageID      MessageID      `json:"message_id"`
	KeyEpoch       uint64         `json:"key_epoch"`
	Sealed         []byte         `json:"sealed"`
	EraseAfter     int64          `json:"erase_after,omitempty"` // rounded up to the hour
}

// Send stores one message or passes one ephemeral. The server looks the message id up before any other check: same
// sender and commitment get the first answer, anything else CodeConflict. Envelopes for active devices that have none of
// a stored message yet are added to it: any device of the sender's account may supplement a message like that.
type Send struct {
	ConversationID ConversationID `json:"conversation_id"`
	MessageID      MessageID      `json:"message_id"`
	Class          Class          `json:"class"`
	Commitment     []byte         `json:"commitment"`
	ListVersions   []ListVersion  `json:"list_versions,omitempty"` // class message: every member account, the sender's included
	Shared         []byte         `json:"shared,omitempty"`        // ciphertext for all devices (sender keys)
	Envelopes      []Envelope     `json:"envelopes"`
	Record         *Record        `json:"record,omitempty"` // class message: the sender's archive record
	After          *MessageID     `json:"after,omitempty"`  // refused with CodeOutOfOrder until that one is stored
	// SenderDevice is given when another device of the account wrote the content and a restored server has forgotten it.
	// Absent it is the sending device.
	SenderDevice WireDeviceID `json:"sender_device,omitempty"`
	EraseAfter   int64        `json:"erase_after,omitempty"`
}

// Sent is the answer to a stored send. For class ephemeral and silent Seq is 0; ephemeral has no Tag.
type Sent struct {
	ConversationID ConversationID `json:"conversation_id"`
	MessageID      MessageID      `json:"message_id"`
	Epoch          uint64         `json:"epoch"`
	Seq            uint64         `json:"seq"`
	ServerTime     int64          `json:"server_time"`
	Tag            []byte         `json:"tag,omitempty"`
	Devices        []DeviceRef    `json:"devices"` // that have an envelope of this message
}

// Entry is a mailbox entry: one message for one device. EntryID orders one device's mailbox.
type Entry struct {
	EntryID        int64          `json:"entry_id"`
	ConversationID ConversationID `json:"conversation_id"`
	MessageID      MessageID      `json:"message_id"`
	Class          Class          `json:"class"`
	Epoch          uint64         `json:"epoch"`
	Seq            uint64         `json:"seq"`
	ServerTime     int64          `json:"server_time"`
	SenderID       AccountID      `json:"sender_id"`
	SenderDevice   WireDeviceID   `json:"sender_device"`   // that sent the message
	EnvelopeDevice WireDeviceID   `json:"envelope_device"` // of the sender's account, that made this envelope
	Type           int            `json:"type"`            // 0 when there is only a shared ciphertext
	Bytes          []byte         `json:"bytes,omitempty"`
	Shared         []byte         `json:"shared,omitempty"`
	Commitment     []byte         `json:"commitment"`
	Tag            []byte         `json:"tag,omitempty"`
}

// MailboxPage holds the oldest unacknowledged entries. Next pages within one pass and never stands for receipt.
type MailboxPage struct {
	Entries []Entry `json:"entries"`
	Next    int64   `json:"next,omitempty"` // pass as "after"; 0 at the end
	Epoch   uint64  `json:"epoch"`
}

// Ack acknowledges entries and stores the archive records of what they held, in one transaction. An entry of class
// message whose message no record of this account covers stays, and is named in Refused.
type Ack struct {
	Entries []int64  `json:"entries"`
	Records []Record `json:"records,omitempty"`
}

// Acked tells which entries have left the mailbox (an entry that was gone already counts as left).
type Acked struct {
	Removed []int64      `json:"removed"`
	Refused []AckRefusal `json:"refused,omitempty"`
}

// AckRefusal names an entry that stays and why: CodeRecordRequired or CodeArchiveEpoch.
type AckRefusal struct {
	EntryID int64  `json:"entry_id"`
	Code    string `json:"code"`
}

// Reason why a seq has no envelope for the asking device.
type Reason string

// Reasons. A seq with neither entry nor reason is a fault and is counted.
const (
	ReasonAcknowledged Reason = "acknowledged" // this device acknowledged it
	ReasonOwn          Reason = "own"          // this device sent it
	ReasonBefore       Reason = "before"       // stored before this device was active: read the archive
	ReasonExpired      Reason = "expired"
	ReasonDeleted      Reason = "deleted"
	ReasonWithheld     Reason = "withheld" // the account has blocked the sender
	ReasonOwed         Reason = "owed"     // the sender's devices are asked for it
	// ReasonElsewhere: stored before this device was active, and no device of the account has acknowledged it yet. The one
	// that does brings it into the archive: ask again.
	ReasonElsewhere Reason = "elsewhere"
)

// SyncRequest asks for a range of one conversation.
type SyncRequest struct {
	ConversationID ConversationID `json:"conversation_id"`
	From           uint64         `json:"from"`  // first seq, 1 or more
	Limit          int            `json:"limit"` // 1 to MaxSyncPage
}

// SyncItem answers one seq with an entry or a reason.
type SyncItem struct {
	Seq    uint64 `json:"seq"`
	Entry  *Entry `json:"entry,omitempty"`
	Reason Reason `json:"reason,omitempty"`
}

// SyncPage answers every seq of [From, From+len(Items)). Through is the seq up to which this device has acknowledged
// or needs nothing more, counted from the beginning of the conversation.
type SyncPage struct {
	ConversationID ConversationID `json:"conversation_id"`
	Epoch          uint64         `json:"epoch"`
	From           uint64         `json:"from"`
	Items          []SyncItem     `json:"items"`
	Through        uint64         `json:"through"`
	LastSeq        uint64         `json:"last_seq"`
}

// ArchiveRequest pages through the account's records, newest first.
type ArchiveRequest struct {
	Before         string          `json:"before,omitempty"`          // Next of the page before; empty to begin
	ConversationID *ConversationID `json:"conversation_id,omitempty"` // only its records
	Limit          int             `json:"limit"`                     // 1 to MaxArchivePage
}

// ArchivePage holds records in the order of their messages' positions, the newest first. Records of messages that the
// server does not know come last, in the order in which they were stored.
type ArchivePage struct {
	Records []ArchivedRecord `json:"records"`
	Next    string           `json:"next,omitempty"`  // pass as "before"; empty at the end
	Count   int              `json:"count,omitempty"` // of all records asked for, in the first page
}

// ArchivedRecord is a record as it is stored. Revision counts its replacements from 1 on.
type ArchivedRecord struct {
	Record   Record           `json:"record"`
	Revision uint64           `json:"revision"`
	Message  *ArchivedMessage `json:"message,omitempty"` // absent when the server does not know the message, after a restore
}

// ArchivedMessage is what the server knows of the message that a record is of.
type ArchivedMessage struct {
	Epoch        uint64       `json:"epoch"`
	Seq          uint64       `json:"seq"`
	ServerTime   int64        `json:"server_time"`
	SenderID     AccountID    `json:"sender_id"`
	SenderDevice WireDeviceID `json:"sender_device"`
	Commitment   []byte       `json:"commitment"`
	Tag          []byte       `json:"tag"`
}

// RecordUpdate replaces a record. When Revision is not that of the stored record the answer is CodeConflict, with the
// ArchivedRecord as Details when there is one. Revision 0 stands for no record: a device gives back what a restored
// server forgot.
type RecordUpdate struct {
	Revision   uint64 `json:"revision"`
	KeyEpoch   uint64 `json:"key_epoch"`
	Sealed     []byte `json:"sealed"`
	EraseAfter int64  `json:"erase_after,omitempty"`
}

// RecordRevision is the revision that a record has now.
type RecordRevision struct {
	Revision uint64 `json:"revision"`
}

// State is one sealed piece of account state. Version counts its changes from 1 on and is sealed in.
type State struct {
	Name     string `json:"name"`
	Version  uint64 `json:"version"`
	KeyEpoch uint64 `json:"key_epoch"`
	Sealed   []byte `json:"sealed"`
}

// States is one page in the order of names. Next is the "after" of the following one, empty at the end.
type States struct {
	States []State `json:"states"`
	Next   string  `json:"next,omitempty"`
}

// StateVersion tells that a piece of account state has this version now.
type StateVersion struct {
	Name    string `json:"name"`
	Version uint64 `json:"version"`
}

// ArchiveChoice is how much history an account keeps.
type ArchiveChoice string

// Choices of history.
const (
	ArchiveEverything ArchiveChoice = "everything"
	ArchiveDays       ArchiveChoice = "days"    // of the last days only
	ArchiveNothing    ArchiveChoice = "nothing" // records are not stored and what is stored is erased
)

// ChatSettings are what the chat service does for an account.
type ChatSettings struct {
	Archive ArchiveChoice `json:"archive"`
	Days    int           `json:"days,omitempty"` // with ArchiveDays: 1 to MaxArchiveDays
}

// ArchiveEpochDetails explains CodeArchiveEpoch: records and states under an older epoch are refused. Every removal of a
// device ends an epoch.
type ArchiveEpochDetails struct {
	KeyEpoch uint64 `json:"key_epoch"`
}

// MaxContacts is the most contacts of one PresenceAnswer, and the most that are told of one account's presence.
const MaxContacts = 1_000

// Presence is whether an account has a live connection, and when it last had one. Only contacts are told: accounts with
// which a conversation was accepted on both sides.
type Presence struct {
	AccountID AccountID `json:"account_id"`
	Online    bool      `json:"online"`
	LastSeen  int64     `json:"last_seen"` // rounded down to the minute
}

// PresenceAnswer holds the actor's contacts, at most MaxContacts.
type PresenceAnswer struct {
	Presence []Presence `json:"presence"`
}

// DeliveredRequest asks which own messages of a conversation another member's device has acknowledged.
type DeliveredRequest struct {
	ConversationID ConversationID `json:"conversation_id"`
	MessageIDs     []MessageID    `json:"message_ids"` // 1 to MaxDeliveredAsked
}

// MaxDeliveredAsked bounds one DeliveredRequest.
const MaxDeliveredAsked = 100

// DeliveredAnswer names those that were delivered. A member that has not accepted the conversation tells nothing.
type DeliveredAnswer struct {
	MessageIDs []MessageID `json:"message_ids"`
}

// OwedMessage is a message of the asking account that no device of AccountID has and none will get, unless a device of
// the sender supplements it.
type OwedMessage struct {
	ConversationID ConversationID `json:"conversation_id"`
	MessageID      MessageID      `json:"message_id"`
	Epoch          uint64         `json:"epoch"`
	Seq            uint64         `json:"seq"`
	AccountID      AccountID      `json:"account_id"` // that lacks it
	Since          int64          `json:"since"`
}

// OwedMessages is one page in the order of sending. Next is the "after" of the following one, empty at the end.
type OwedMessages struct {
	Owed []OwedMessage `json:"owed"`
	Next string        `json:"next,omitempty"`
}

// OwedNotice tells the sender's devices that AccountID lacks messages, or that it has a device again to supplement them
// for.
type OwedNotice struct {
	AccountID AccountID `json:"account_id"`
	Count     int       `json:"count"`
}
