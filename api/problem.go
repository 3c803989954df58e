package api

import "encoding/json"

// Problem is the error document of every REST answer (RFC 9457, application/problem+json) and, under "error", of every
// refused socket acknowledgement. Programs decide by Code; Detail is a sentence for people.
type Problem struct {
	Type       string          `json:"type"`                  // "about:blank" or a documentation path
	Title      string          `json:"title"`                 // text of the HTTP status
	Status     int             `json:"status"`                // HTTP status, also on sockets
	Code       string          `json:"code"`                  // one of the Code constants, stable
	Detail     string          `json:"detail,omitempty"`      // what happened and what to do
	RequestID  string          `json:"request_id,omitempty"`  // to find the line in the server's log
	RetryAfter int64           `json:"retry_after,omitempty"` // seconds, rounded up
	Details    json.RawMessage `json:"details,omitempty"`     // depends on Code, see the struct named there
}

// Stable codes. A client that meets an unknown code falls back to Status.
const (
	CodeInvalid          = "invalid"           // the request breaks a stated rule; nothing changed
	CodeUnauthenticated  = "unauthenticated"   // no token, or one that is expired or ended
	CodeForbidden        = "forbidden"         // known actor, not allowed
	CodeNotFound         = "not_found"         // does not exist, or the actor may not see it
	CodeMethod           = "method"            // the path exists, this method does not
	CodeExists           = "exists"            // a name or id is taken
	CodeConflict         = "conflict"          // the same id was used before with other bytes, or a version moved on
	CodeTooLarge         = "too_large"         // over a stated size
	CodeLimited          = "limited"           // too often; see RetryAfter
	CodeUnavailable      = "unavailable"       // a part that is needed does not answer; try again
	CodeInternal         = "internal"          // a fault of ours, logged under RequestID
	CodeUpgradeRequired  = "upgrade_required"  // the client's protocol version is too old; Details is Info
	CodeWrongLogin       = "wrong_login"       // unknown name or wrong proof, not told apart
	CodeDeviceCloned     = "device_cloned"     // this device's generation was overtaken: the copy must become a new device
	CodeDeviceGone       = "device_gone"       // the device is not in the account's current list
	CodeDeviceSet        = "device_set"        // list versions or envelopes do not match; Details is DeviceSetDetails
	CodeOutOfOrder       = "out_of_order"      // the message named in "after" is not stored yet
	CodeListVersion      = "list_version"      // a device list skips, forks or goes back; Details is ListDetails
	CodeBundleVersion    = "bundle_version"    // the sealed bundle moved on; Details is Bundle
	CodeSignature        = "signature"         // a signature does not verify
	CodeRecordRequired   = "record_required"   // an acknowledged or sent message lacks its archive record
	CodePasswordRequired = "password_required" // the current password is needed with a key bundle that is given back
	CodeArchiveEpoch     = "archive_epoch"     // the record was sealed under an archive epoch that has ended
	CodeQuota            = "quota"             // the account has no room for that; Details is QuotaDetails
	CodeAssetHash        = "asset_hash"        // what was uploaded is not what was announced; the upload was dropped
)

// DeviceSetDetails explains CodeDeviceSet: what the server's copy of the lists says. The client verifies the lists,
// makes the missing envelopes and sends again under the same message id.
type DeviceSetDetails struct {
	Lists   []AccountLists `json:"lists"`             // newest signed list of each account whose named version was old
	Missing []DeviceRef    `json:"missing,omitempty"` // current devices without an envelope
	Extra   []DeviceRef    `json:"extra,omitempty"`   // envelopes for devices that are not current
}

// ListDetails explains CodeListVersion.
type ListDetails struct {
	Current AccountLists `json:"current"`
}
