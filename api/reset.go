package api

// MailResetRequest asks for a one-time code by mail, to the verified address of an account. Every answer to it is empty.
type MailResetRequest struct {
	Name string `json:"name"` // username or address
}

// ResetStartRequest asks what a one-time code is good for: of the operator, or from a mail.
type ResetStartRequest struct {
	Code string `json:"code"`
}

// ResetStartResponse is what the first list and bundle after the reset have to follow.
type ResetStartResponse struct {
	Lists         AccountLists `json:"lists"` // newest list only, with the username
	BundleVersion uint64       `json:"bundle_version"`
}

// ResetRequest gives an account that nobody can open any more a new account key, in one transaction. The account id and
// the username stay; every device, login and prekey of before is gone. Every peer is told that the identity changed. A
// retry with the same bytes gets the first answer.
type ResetRequest struct {
	Code             string             `json:"code"`
	Method           string             `json:"method"` // MethodSplitPBKDF2
	Salt             []byte             `json:"salt"`
	Iterations       int                `json:"iterations"`
	Auth             string             `json:"auth"`
	RecoveryVerifier []byte             `json:"recovery_verifier"`
	RenewalHash      []byte             `json:"renewal_hash"`
	AccountKey       []byte             `json:"account_key"`
	List             SignedList         `json:"list"` // next version, signed by the new key, with one device numbered 1
	Device           DeviceRegistration `json:"device"`
	Bundle           Bundle             `json:"bundle"` // next version
}
