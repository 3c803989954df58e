package api

// RecoveryStartRequest begins signing in with the recovery code. Unknown names get an answer of the same form and time.
type RecoveryStartRequest struct {
	Name string `json:"name"`
}

// RecoveryStartResponse carries an attempt that is good for two minutes and one account.
type RecoveryStartResponse struct {
	Attempt string `json:"attempt"` // opaque
}

// RecoveryFinishRequest proves the recovery code. The answer is a Login with lists and bundle whose token sets a new
// password and does nothing else; after that the login is like any other without a device.
type RecoveryFinishRequest struct {
	Attempt      string `json:"attempt"`
	RecoveryAuth []byte `json:"recovery_auth"` // 32 bytes
	RenewalHash  []byte `json:"renewal_hash"`
}

// PasswordRequest replaces the password, and whatever changes with it, in one transaction. A retry with the same bytes
// gets the first answer.
type PasswordRequest struct {
	Proof            string `json:"proof,omitempty"` // auth of the current password; absent only with a recovery login
	Method           string `json:"method"`          // MethodSplitPBKDF2
	Salt             []byte `json:"salt"`            // a new one
	Iterations       int    `json:"iterations"`
	Auth             string `json:"auth"`
	RecoveryVerifier []byte `json:"recovery_verifier,omitempty"` // of a new code; required with a recovery login
	Bundle           Bundle `json:"bundle"`                      // next version, with slots for the new password and a code
	// Email is the same password for the e-mail login: required when there is one.
	Email         *EmailPassword `json:"email,omitempty"`
	List          *SignedList    `json:"list,omitempty"`            // next version, to remove devices at the same time
	SignOutOthers bool           `json:"sign_out_others,omitempty"` // ends every login but the asking one
}

// DevicesChange is the answer to a request that takes devices out of the current set. Pending tells that the chat service
// has not recorded that yet. Tokens of what was removed are refused all the same.
type DevicesChange struct {
	Pending bool `json:"pending"`
}

// RenameDeviceRequest gives one of the actor's own devices another name.
type RenameDeviceRequest struct {
	Name string `json:"name"` // 1 to MaxDeviceName bytes, printable
}

// RemoveDeviceRequest removes one device. List is the next version without it and Bundle the next version with a new
// archive epoch. A retry gets the first answer.
type RemoveDeviceRequest struct {
	Proof  string     `json:"proof"` // auth of the password
	List   SignedList `json:"list"`
	Bundle Bundle     `json:"bundle"`
}
