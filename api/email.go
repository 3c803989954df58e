package api

// EmailCodeLength is the number of digits of the code that confirms an address.
const EmailCodeLength = 8

// EmailStartRequest asks for a mail with a code to an address. The answer is the same whatever the server knows of the
// address; only the mail says when it cannot be used.
type EmailStartRequest struct {
	Address string `json:"address"` // at most 254 bytes of ASCII, any case
	Proof   string `json:"proof"`   // of the current password
}

// EmailRequest makes the address one to sign in with: it has its own salt and verifier of the same password, and its own
// slot (type 5) in the next version of the key bundle. An address of before is replaced.
type EmailRequest struct {
	Code       string `json:"code"`  // from the mail
	Proof      string `json:"proof"` // of the current password, under the username's salt
	Method     string `json:"method"`
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	Auth       string `json:"auth"` // of the same password, under this salt
	Bundle     Bundle `json:"bundle"`
}

// EmailRemoval takes the address away. Bundle is the next version, without the slot.
type EmailRemoval struct {
	Proof  string `json:"proof"`
	Bundle Bundle `json:"bundle"`
}

// EmailPassword is the new password under the salt of the e-mail login, in a change of password.
type EmailPassword struct {
	Salt       []byte `json:"salt"`
	Iterations int    `json:"iterations"`
	Auth       string `json:"auth"`
}
