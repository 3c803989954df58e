package api

// Socket.IO at /api/chat/socket.io, namespace "/". socket.md in this folder is the contract.

// SocketPath is where the Socket.IO endpoint lives.
const SocketPath = "/api/chat/socket.io/"

// Events from client to server; each is acknowledged with one Reply.
const (
	EventSend    = "send"    // Send -> Sent
	EventAck     = "ack"     // Ack -> Acked
	EventMailbox = "mailbox" // MailboxRequest -> MailboxPage
	EventSync    = "sync"    // SyncRequest -> SyncPage
	EventArchive = "archive" // ArchiveRequest -> ArchivePage
)

// Events from server to client; none is acknowledged, every one may be lost.
const (
	EventReady        = "ready"        // Connection: the generation was accepted
	EventEntries      = "entries"      // Entries: new in this device's mailbox
	EventEphemeral    = "ephemeral"    // Entry with EntryID 0
	EventDelivered    = "delivered"    // Delivered
	EventLists        = "lists"        // ListVersion: an account's devices changed
	EventOwed         = "owed"         // OwedNotice: read what is owed and supplement it
	EventState        = "state"        // StateVersion: another device has changed account state
	EventNotification = "notification" // Notification: it entered the list
	EventPresence     = "presence"     // Presence: of a contact
	EventEnd          = "end"          // Problem: the socket is about to be closed for this reason
)

// SocketAuth is the auth payload of CONNECT. Token may be absent when the cookie carries it.
type SocketAuth struct {
	Token      string `json:"token,omitempty"`
	Generation uint64 `json:"generation"`
	Protocol   int    `json:"protocol"`
}

// Reply is the single argument of every acknowledgement: exactly one of Ok and Error.
type Reply[T any] struct {
	Ok    *T       `json:"ok,omitempty"`
	Error *Problem `json:"error,omitempty"`
}

// MailboxRequest pages through this device's mailbox, oldest first.
type MailboxRequest struct {
	After int64 `json:"after"` // 0 to begin
	Limit int   `json:"limit"` // 1 to MaxMailboxPage
}

// Entries carries mailbox entries to a live socket. More tells that the mailbox holds entries that were not sent
// here; the client then reads it with EventMailbox.
type Entries struct {
	Entries []Entry `json:"entries"`
	More    bool    `json:"more,omitempty"`
}

// Delivered tells a sender's devices that a device of AccountID acknowledged these messages for the first time.
type Delivered struct {
	ConversationID ConversationID `json:"conversation_id"`
	AccountID      AccountID      `json:"account_id"`
	MessageIDs     []MessageID    `json:"message_ids"`
}
