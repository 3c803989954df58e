// Package api holds what Sotto's services and clients say to each other: id types with their parsers, and the structs
// of REST requests and answers and of socket events. The contract itself is openapi.yaml, socket.md and events.md in
// this folder; tests hold both against it. The package imports only the standard library and holds no behaviour.
//
// Units: every time is milliseconds since 1970 UTC in an int64, every size is bytes. Binary values are standard
// base64 with padding in JSON ([]byte).
package api

// Version is the release that this source is, of server and clients alike.
const Version = "0.1.0"
