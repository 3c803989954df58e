package api

// Bounds of the notification service that both sides check.
const (
	MaxNotifications    = 1_000 // of an account; the oldest goes
	MaxNotificationPage = 100   // in one page
	MaxPushEndpoint     = 2_048 // bytes of the URL
	MaxFCMToken         = 4_096 // bytes, printable ASCII
	MaxTimeZone         = 64    // bytes of an IANA name
	MaxMutedDays        = 3_650 // in the future
)

// NotificationKind says what a notification is about. A client that does not know a kind shows that something happened.
type NotificationKind string

// Kinds of notification.
const (
	NotifyMessages        NotificationKind = "messages" // messages wait in ConversationID
	NotifyWelcome         NotificationKind = "welcome"  // the account was made
	NotifySignedIn        NotificationKind = "signed_in"
	NotifyDeviceAdded     NotificationKind = "device_added"
	NotifyDeviceRemoved   NotificationKind = "device_removed"
	NotifyPasswordChanged NotificationKind = "password_changed"
	NotifyRecovered       NotificationKind = "recovered" // by recovery code
	NotifyReset           NotificationKind = "reset"     // the account has a new identity
	NotifyEmailChanged    NotificationKind = "email_changed"
)

// Notification is one thing an account should learn of. It never says who wrote or what.
type Notification struct {
	ID             int64            `json:"id"` // higher is newer
	Kind           NotificationKind `json:"kind"`
	ConversationID *ConversationID  `json:"conversation_id,omitempty"` // of kind messages
	Count          int              `json:"count"`                     // of messages that wait; 1 for other kinds
	At             int64            `json:"at"`                        // when it happened
	Read           bool             `json:"read"`
}

// Notifications is one page, newest first. Next is the "before" of the following one, 0 at the end.
type Notifications struct {
	Notifications []Notification `json:"notifications"`
	Next          int64          `json:"next,omitempty"`
	Unread        int            `json:"unread"` // of all, not only of this page
}

// UnreadCount is how many notifications were not read.
type UnreadCount struct {
	Unread int `json:"unread"`
}

// ReadThrough marks every notification up to an id as read.
type ReadThrough struct {
	Through int64 `json:"through"`
}

// Channels says through which channels somebody is notified.
type Channels struct {
	App  bool `json:"app"`  // in the list of notifications
	Mail bool `json:"mail"` // to the verified address, when there is one
	Push bool `json:"push"` // to every subscribed device
}

// NotificationSettings are those of the account. Quiet hours are minutes of the day in TimeZone; equal ones mean none.
// During quiet hours mail and push wait.
type NotificationSettings struct {
	Channels    Channels `json:"channels"`
	MutedUntil  int64    `json:"muted_until,omitempty"` // mail and push are silent until then; the list goes on
	TimeZone    string   `json:"time_zone"`             // IANA name, for example "Europe/Berlin"
	QuietFrom   int      `json:"quiet_from"`            // 0 to 1439
	QuietTo     int      `json:"quiet_to"`              // 0 to 1439; before QuietFrom when quiet over midnight
	Language    string   `json:"language"`              // of mail: "en", "de" or "ar"
	MailMinutes int      `json:"mail_minutes"`          // at most one mail about messages in this time, 5 to 1440
}

// ConversationNotifications are what differs from the account for one conversation. MentionsOnly is for the device, which
// alone can tell: push carries it, mail and the list leave such a conversation out.
type ConversationNotifications struct {
	Channels     *Channels `json:"channels,omitempty"` // nil: the account's; an answer always says which
	MutedUntil   int64     `json:"muted_until,omitempty"`
	MentionsOnly bool      `json:"mentions_only"`
}

// PushSubscription is where a device takes push messages: what PushManager.subscribe returns, for Web Push and UnifiedPush,
// or a token of Firebase Cloud Messaging and nothing else, where PushState names the project that it belongs to.
type PushSubscription struct {
	Endpoint string `json:"endpoint,omitempty"` // https URL
	P256dh   []byte `json:"p256dh,omitempty"`   // uncompressed P-256 point, 65 bytes
	Auth     []byte `json:"auth,omitempty"`     // 16 bytes
	FCMToken string `json:"fcm_token,omitempty"`
}

// PushState tells a device how it stands to push. Key is the server's VAPID public key, an uncompressed P-256 point.
type PushState struct {
	Key        []byte `json:"key"`
	Subscribed bool   `json:"subscribed"`
	FCMProject string `json:"fcm_project,omitempty"` // the Firebase project whose tokens this server takes; none when empty
}

// FCMVersion is what a message through FCM says under "v", and all that it says, because Google reads it: look what is new.
const FCMVersion = "1"

// PushPayload is what a Web Push message says once it is decrypted. It holds nothing that the push service, which cannot
// decrypt it, or the operator should not know: no content, no sender, no name.
type PushPayload struct {
	Kind           NotificationKind `json:"kind"`
	ConversationID *ConversationID  `json:"conversation_id,omitempty"`
	Count          int              `json:"count"`
	MentionsOnly   bool             `json:"mentions_only,omitempty"`
}
