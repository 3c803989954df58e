package hint

import (
	"encoding/json"

	"sotto/api"
)

// EncodeNotification makes the payload by which the notification service shows a notification on an account's sockets,
// which the chat service owns: a note of no particular replica.
func EncodeNotification(n api.Notification) ([]byte, error) {
	b, err := json.Marshal(Note{Notification: &n})
	return append(make([]byte, OriginSize), b...), err
}

// OriginSize is the length of what every payload for sockets begins with: the random name of the replica that published
// it, zero for another service.
const OriginSize = 16

// Note is the part of such a payload that services share.
type Note struct {
	Notification *api.Notification `json:"notification,omitempty"`
}
