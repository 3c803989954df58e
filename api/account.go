package api

// Sizes that both sides check.
const (
	SaltSize             = 16      // bytes
	VerifierSize         = 32      // bytes: recovery verifier, renewal hash
	MinIterations        = 600_000 // PBKDF2-SHA256
	MaxIterations        = 10_000_000
	AuthLength           = 43        // characters of base64url
	MaxDevices           = 20        // an account
	MaxDeviceName        = 64        // bytes
	MaxOneTimePreKeys    = 100       // of each sort in one upload
	MaxStoredPreKeys     = 200       // of each sort and device waiting to be handed out
	MaxBundleSize        = 64 << 10  // bytes of a sealed key bundle
	MaxListsAsked        = 64        // accounts in one ListsRequest
	MaxListChain         = 200       // signed lists of one account in one answer
	MaxBody              = 100_000   // bytes of a request body unless stated otherwise
	MaxRegistrationBody  = 512 << 10 // bytes: registration, added device, prekey upload
	MaxSendBody          = 1 << 20   // bytes: send, acknowledgement, archive page
	MaxUsername          = 32        // characters of [a-z0-9_.-], at least MinUsername
	MinUsername          = 3
	MethodSplitPBKDF2    = "split-pbkdf2-v1"
	MethodOPAQUE         = "opaque-v1"      // reserved
	MethodPasskeyPRF     = "passkey-prf-v1" // reserved
	DeviceActive         = "active"
	DeviceSignedOut      = "signed_out"
	DeviceDormant        = "dormant"
	ProtocolLowest       = 1
	ProtocolHighest      = 1
	HeaderProtocol       = "Sotto-Protocol"     // request header: protocol version of the client
	HeaderGeneration     = "Sotto-Generation"   // request header of chat writes over REST: the device's generation
	CookieName           = "sotto_token"        // plain HTTP on loopback only
	CookieNameSecure     = "__Host-sotto_token" // behind TLS
	TokenLifetimeSeconds = 15 * 60
)

// Info is the answer of GET /api/info, the one route that needs no account and no protocol version.
type Info struct {
	Server   string        `json:"server"` // "sottod 0.1.0"
	Protocol ProtocolRange `json:"protocol"`
	Epoch    uint64        `json:"epoch"` // raised by every restore of the server; starts at 1
	Time     int64         `json:"time"`  // by the server's clock
	Limits   Limits        `json:"limits"`
}

// ProtocolRange is the span of protocol versions that the server accepts, both ends included.
type ProtocolRange struct {
	Lowest  int `json:"lowest"`
	Highest int `json:"highest"`
}

// Limits tells a client the bounds that it should keep without trying.
type Limits struct {
	Devices         int `json:"devices"`          // an account
	SendBody        int `json:"send_body"`        // bytes
	MailboxEntries  int `json:"mailbox_entries"`  // a device
	MailboxBytes    int `json:"mailbox_bytes"`    // a device
	PaddedContent   int `json:"padded_content"`   // bytes of one content after padding
	OneTimePreKeys  int `json:"one_time_prekeys"` // in one upload
	MailboxIdleDays int `json:"mailbox_idle_days"`
}

// SignedList is a device list as its account key signed it: the exact bytes, so that everyone hashes the same.
type SignedList struct {
	List      []byte `json:"list"`
	Signature []byte `json:"signature"` // 64 bytes
}

// AccountLists is what a server says of an account's devices. Lists are in ascending version without gaps; the last is
// the newest. Status is the server's word only and never adds a device.
type AccountLists struct {
	AccountID  AccountID      `json:"account_id"`
	Username   string         `json:"username,omitempty"` // in ListsResponse only: who writes for the first time has a name
	AccountKey []byte         `json:"account_key"`        // 33 bytes
	Lists      []SignedList   `json:"lists"`
	Status     []DeviceStatus `json:"status,omitempty"` // devices of the newest list that are not active
	// StatusVersion counts the changes of Status by the user service: between two answers with the same newest list the
	// higher one is the later one.
	StatusVersion uint64 `json:"status_version,omitempty"`
}

// DeviceStatus reports a listed device that is not part of the current set.
type DeviceStatus struct {
	DeviceID WireDeviceID `json:"device_id"`
	State    string       `json:"state"` // DeviceSignedOut or DeviceDormant
}

// DeviceRef names one device of one account, as envelopes do.
type DeviceRef struct {
	AccountID AccountID    `json:"account_id"`
	DeviceID  WireDeviceID `json:"device_id"`
}

// SignedKey is a prekey with the device identity key's signature over its serialised form.
type SignedKey struct {
	ID        uint32 `json:"id"`  // 24 bits
	Key       []byte `json:"key"` // 33 bytes (EC) or 1569 bytes (Kyber-1024)
	Signature []byte `json:"signature"`
}

// OneTimeKey is an EC prekey that is handed out at most once.
type OneTimeKey struct {
	ID  uint32 `json:"id"` // 24 bits
	Key []byte `json:"key"`
}

// SignedStatement is a prekey statement as the device signed it.
type SignedStatement struct {
	Statement []byte `json:"statement"`
	Signature []byte `json:"signature"`
}

// PreKeyUpload replaces the signed prekey, the last-resort Kyber prekey and the statement together, because the
// statement names both, and adds one-time prekeys. Ids that were ever used by the device are ignored, not replaced.
type PreKeyUpload struct {
	SignedPreKey   SignedKey       `json:"signed_prekey"`
	LastResort     SignedKey       `json:"last_resort"`
	Statement      SignedStatement `json:"statement"`
	OneTimePreKeys []OneTimeKey    `json:"one_time_prekeys"`
	KyberPreKeys   []SignedKey     `json:"kyber_prekeys"` // one-time
}

// PreKeyCount is how many one-time prekeys of the asking device wait to be handed out.
type PreKeyCount struct {
	OneTimePreKeys int `json:"one_time_prekeys"`
	KyberPreKeys   int `json:"kyber_prekeys"`
}

// DeviceRegistration introduces a device together with the first device list that contains it.
type DeviceRegistration struct {
	DeviceID     DeviceID     `json:"device_id"`
	WireDeviceID WireDeviceID `json:"wire_device_id"`
	Name         string       `json:"name"` // for the owner's list of devices; seen by the server
	PreKeys      PreKeyUpload `json:"prekeys"`
}

// RegisterRequest makes an account, its first device and its first login in one transaction. A retry with the same
// account id and the same bytes gets the first answer.
type RegisterRequest struct {
	AccountID        AccountID          `json:"account_id"`
	Username         string             `json:"username"`
	Method           string             `json:"method"` // MethodSplitPBKDF2
	Salt             []byte             `json:"salt"`
	Iterations       int                `json:"iterations"`
	Auth             string             `json:"auth"`
	RecoveryVerifier []byte             `json:"recovery_verifier"` // SHA-256 of the recovery auth
	RenewalHash      []byte             `json:"renewal_hash"`      // SHA-256 of the client's renewal secret
	AccountKey       []byte             `json:"account_key"`
	List             SignedList         `json:"list"` // version 1
	Device           DeviceRegistration `json:"device"`
	Bundle           []byte             `json:"bundle"` // sealed, version 1
}

// LoginStartRequest asks how to prove the password. Unknown names get an answer of the same form and time.
type LoginStartRequest struct {
	Name    string   `json:"name"`
	Methods []string `json:"methods"` // that the client knows, best first
}

// LoginParameters are public inputs of the password method; the client enforces their bounds.
type LoginParameters struct {
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
}

// LoginStartResponse carries an attempt that is good for two minutes and one account.
type LoginStartResponse struct {
	Attempt    string          `json:"attempt"` // opaque
	Method     string          `json:"method"`
	Parameters LoginParameters `json:"parameters"`
}

// LoginFinishRequest proves the password. With Device it signs in a device that the account already lists, proven by
// its identity key; without, the login may only add a device.
type LoginFinishRequest struct {
	Attempt     string       `json:"attempt"`
	Proof       string       `json:"proof"`
	RenewalHash []byte       `json:"renewal_hash"`
	Device      *DeviceProof `json:"device,omitempty"`
}

// DeviceProof is the device identity key's signature over "sotto login v1" and the attempt.
type DeviceProof struct {
	DeviceID  DeviceID `json:"device_id"`
	Signature []byte   `json:"signature"`
}

// Login is a signed-in login: of registration, of LoginFinish, of an added device. Token is a JWT of at most 15
// minutes; it is renewed with the login id and the renewal secret. The same token is set as a cookie.
type Login struct {
	LoginID      LoginID       `json:"login_id"`
	AccountID    AccountID     `json:"account_id"`
	Username     string        `json:"username"`
	DeviceID     *DeviceID     `json:"device_id,omitempty"` // nil until a device was added
	WireDeviceID WireDeviceID  `json:"wire_device_id,omitempty"`
	Token        string        `json:"token"`
	ExpiresAt    int64         `json:"expires_at"`
	Lists        *AccountLists `json:"lists,omitempty"`  // newest list only; at login finish
	Bundle       *Bundle       `json:"bundle,omitempty"` // at login finish
}

// RenewRequest asks for a new token of a login that has not ended.
type RenewRequest struct {
	LoginID LoginID `json:"login_id"`
	Renewal []byte  `json:"renewal"` // 32 bytes, the secret itself
}

// Me is the signed-in account as the server knows it.
type Me struct {
	AccountID    AccountID    `json:"account_id"`
	Username     string       `json:"username"`
	DeviceID     *DeviceID    `json:"device_id,omitempty"`
	WireDeviceID WireDeviceID `json:"wire_device_id,omitempty"`
	CreatedAt    int64        `json:"created_at"`
	Email        string       `json:"email,omitempty"` // verified address
}

// Device is one of the actor's own devices, for people.
type Device struct {
	DeviceID     DeviceID     `json:"device_id"`
	WireDeviceID WireDeviceID `json:"wire_device_id"`
	Name         string       `json:"name"`
	AddedAt      int64        `json:"added_at"`
	SeenAt       int64        `json:"seen_at"` // last renewal, rounded down to the hour
	Current      bool         `json:"current"` // the asking one
}

// Recipient is where mail for an account goes. Address is empty without a verified one. Between services only.
type Recipient struct {
	Username string `json:"username"`
	Address  string `json:"address,omitempty"`
	// Pending is an address that Code is sent to. Taken tells that it belongs to another account, and there is no code.
	Pending string `json:"pending,omitempty"`
	Code    string `json:"code,omitempty"`
	Taken   bool   `json:"taken,omitempty"`
	// Reset is a code that resets the account and works until ResetUntil, milliseconds: for Address, when that was asked.
	Reset      string `json:"reset,omitempty"`
	ResetUntil int64  `json:"reset_until,omitempty"`
}

// Devices is the answer of GET /api/user/devices.
type Devices struct {
	Devices []Device `json:"devices"`
}

// AddDeviceRequest adds a device to the signed list. List must be exactly the next version and Bundle too: what belongs
// together is one transaction. A retry with the same bytes gets the first answer.
type AddDeviceRequest struct {
	List   SignedList         `json:"list"`
	Device DeviceRegistration `json:"device"`
	Bundle Bundle             `json:"bundle"`
}

// Bundle is the account's sealed key bundle.
type Bundle struct {
	Version uint64 `json:"version"`
	Sealed  []byte `json:"sealed"`
}

// LookupRequest finds an account by its exact username, any case.
type LookupRequest struct {
	Username string `json:"username"`
}

// MaxFound is the most usernames of one FindAnswer.
const MaxFound = 10

// FindRequest asks for usernames that begin with Prefix, any case.
type FindRequest struct {
	Prefix string `json:"prefix"` // MinUsername to MaxUsername characters
}

// FindAnswer holds at most MaxFound accounts in the order of their names.
type FindAnswer struct {
	Accounts []FoundAccount `json:"accounts"`
}

// FoundAccount is a name and whose it is. To write to it, look it up: that gives the signed list.
type FoundAccount struct {
	AccountID AccountID `json:"account_id"`
	Username  string    `json:"username"`
}

// Account is another account as the server knows it.
type Account struct {
	AccountID AccountID    `json:"account_id"`
	Username  string       `json:"username"`
	Lists     AccountLists `json:"lists"` // newest list only
}

// ListsRequest asks for the signed lists after the versions that the client has.
type ListsRequest struct {
	Accounts []ListsAfter `json:"accounts"`
}

// ListsAfter names the highest version that the client holds; 0 for the whole chain.
type ListsAfter struct {
	AccountID AccountID `json:"account_id"`
	After     uint64    `json:"after"`
}

// ListsResponse holds one element for each known account asked for.
type ListsResponse struct {
	Accounts []AccountLists `json:"accounts"`
}

// ClaimRequest takes one prekey bundle for each named device of an account, or for all of its current ones.
type ClaimRequest struct {
	AccountID AccountID      `json:"account_id"`
	DeviceIDs []WireDeviceID `json:"device_ids,omitempty"`
}

// PreKeyBundle is everything needed to start a session with one device. OneTimePreKey is absent when the device ran
// out; KyberPreKey is then the last-resort one.
type PreKeyBundle struct {
	DeviceID       WireDeviceID    `json:"device_id"`
	RegistrationID uint32          `json:"registration_id"`
	IdentityKey    []byte          `json:"identity_key"`
	SignedPreKey   SignedKey       `json:"signed_prekey"`
	KyberPreKey    SignedKey       `json:"kyber_prekey"`
	LastResort     SignedKey       `json:"last_resort"` // named by the statement
	OneTimePreKey  *OneTimeKey     `json:"one_time_prekey,omitempty"`
	Statement      SignedStatement `json:"statement"`
}

// ClaimResponse holds the bundles with the newest signed list they must match.
type ClaimResponse struct {
	Lists   AccountLists   `json:"lists"`
	Bundles []PreKeyBundle `json:"bundles"`
}
