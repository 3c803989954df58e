package api

// What devices give back to a server that was restored from a backup. Every route here is refused with CodeForbidden by
// a server that never was: its epoch is 1.

// Bounds of what is given back.
const (
	MaxListsGivenBack    = 128 // signed lists in one request
	MaxAccountsGivenBack = 64  // accounts in one request
)

// RestoredLists gives back signed device lists that the server has forgotten, of any accounts.
type RestoredLists struct {
	Accounts []AccountChain `json:"accounts"`
}

// AccountChain is consecutive lists of one account in ascending version. Those that the server has are passed over; the
// others have to follow the newest that it has.
type AccountChain struct {
	AccountID AccountID    `json:"account_id"`
	Lists     []SignedList `json:"lists"`
}

// RestoredVersions names the newest list version that the server has now of each account given. Accounts that it does not
// know, and such with another account key than the lists', keep what they had; unknown ones are left out.
type RestoredVersions struct {
	Versions []ListVersion `json:"versions"`
}

// RestoredStartRequest begins to introduce a device again.
type RestoredStartRequest struct {
	AccountID AccountID `json:"account_id"`
}

// RestoredStartResponse carries an attempt that is good for two minutes and one account.
type RestoredStartResponse struct {
	Attempt string `json:"attempt"` // opaque
}

// RestoredDeviceRequest introduces a device again, or signs it in, when the server has forgotten it, its login, or the
// whole account. What counts is that the newest list, signed by the account key, has the device, and that the request is
// signed by the device identity key. CodeNotFound tells that the account is unknown: Account is needed then.
type RestoredDeviceRequest struct {
	Attempt     string             `json:"attempt"`
	Lists       []SignedList       `json:"lists"` // as in AccountChain; the last is the newest
	Device      DeviceRegistration `json:"device"`
	RenewalHash []byte             `json:"renewal_hash"`
	Signature   []byte             `json:"signature"` // over "sotto restored v1", the attempt and the renewal hash
	Account     *RestoredAccount   `json:"account,omitempty"`
}

// RestoredAccount is what the owner of a forgotten account knows of it, with the password.
type RestoredAccount struct {
	Username         string `json:"username"`
	Method           string `json:"method"` // MethodSplitPBKDF2
	Salt             []byte `json:"salt"`   // of the bundle's password slot
	Iterations       int    `json:"iterations"`
	Auth             string `json:"auth"`
	RecoveryVerifier []byte `json:"recovery_verifier"` // of the bundle's slot for the recovery code
	Bundle           Bundle `json:"bundle"`
}

// RestoredBundle gives back a newer sealed bundle, once after each restore. Password is needed when the bundle's password
// slot has other parameters than the login; CodePasswordRequired tells so.
type RestoredBundle struct {
	Bundle   Bundle            `json:"bundle"`
	Password *RestoredPassword `json:"password,omitempty"`
}

// RestoredPassword is the current password as the bundle's slot has it.
type RestoredPassword struct {
	Method     string `json:"method"`
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	Auth       string `json:"auth"`
}

// ConversationEpochs tells up to which seq each epoch has reached in a conversation, in ascending epoch. A position whose
// epoch is not the last, and whose seq is above its epoch's, was forgotten by a restore.
type ConversationEpochs struct {
	ConversationID ConversationID `json:"conversation_id"`
	Epoch          uint64         `json:"epoch"` // of the server
	Ends           []EpochEnd     `json:"ends"`
}

// EpochEnd is the last seq that was assigned in an epoch and is still known.
type EpochEnd struct {
	Epoch   uint64 `json:"epoch"`
	LastSeq uint64 `json:"last_seq"`
}
