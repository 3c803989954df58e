package socketio

import "sync/atomic"

// Reason says why a session or a socket ended.
type Reason uint8

// The reasons. After ReasonServer the official client does not come back by itself; after every other it does.
const (
	// ReasonClient: the client left the namespace or closed the session.
	ReasonClient Reason = iota
	// ReasonServer: the application ended the socket, say because its login ended.
	ReasonServer
	// ReasonDrain: the server stops.
	ReasonDrain
	// ReasonTransport: the connection broke or was closed without a word.
	ReasonTransport
	// ReasonPingTimeout: no answer to a heartbeat.
	ReasonPingTimeout
	// ReasonConnectTimeout: no accepted CONNECT in time.
	ReasonConnectTimeout
	// ReasonAttachments: announced attachments did not come in time.
	ReasonAttachments
	// ReasonProtocol: the client broke the protocol.
	ReasonProtocol
	// ReasonTooLarge: a message was larger than MaxPayload.
	ReasonTooLarge
	// ReasonSlow: the client read too slowly (MaxPending or WriteTimeout).
	ReasonSlow
	// ReasonPanic: a handler panicked.
	ReasonPanic

	reasonCount
)

var reasonNames = [reasonCount]string{
	"client", "server", "drain", "transport", "ping_timeout", "connect_timeout", "attachments", "protocol", "too_large",
	"slow", "panic",
}

// String is the reason's label in metrics.
func (r Reason) String() string {
	if r >= reasonCount {
		return "unknown"
	}
	return reasonNames[r]
}

// refusal is why an HTTP request was refused.
type refusal uint8

const (
	refusedTransport refusal = iota
	refusedSession
	refusedMethod
	refusedRequest
	refusedOrigin
	refusedVersion
	refusedOwner
	refusedTooLarge
	refusedFull
	refusedConnect // a CONNECT that Authenticate refused

	refusalCount
)

var refusalNames = [refusalCount]string{
	"transport", "session", "method", "request", "origin", "version", "owner", "too_large", "full", "connect",
}

// counters are what the server counts while it runs.
type counters struct {
	polling, websocket, sockets, pending atomic.Int64
	opened, upgraded, probesFailed       atomic.Int64
	packetsIn, packetsOut                atomic.Int64
	bytesIn, bytesOut, writes            atomic.Int64
	ephemeralDropped, ackTimeouts        atomic.Int64
	encodeErrors, panics                 atomic.Int64
	ended                                [reasonCount]atomic.Int64
	refused                              [refusalCount]atomic.Int64
}

// Metric is one number of a [Server]. Label is "" or a name and one of a fixed set of values.
type Metric struct {
	Name, Help   string
	Label, Value string
	Gauge        bool
	Count        int64
}

// Metrics is a snapshot of all numbers. The set of names and labels never changes, so it can be exported as it is.
func (s *Server) Metrics() []Metric {
	c := &s.metrics
	all := []Metric{
		{"sessions", "Open sessions by transport.", "transport", "polling", true, c.polling.Load()},
		{"sessions", "Open sessions by transport.", "transport", "websocket", true, c.websocket.Load()},
		{"sockets", "Sockets whose CONNECT was accepted.", "", "", true, c.sockets.Load()},
		{"pending_bytes", "Bytes waiting to be written to clients.", "", "", true, c.pending.Load()},
		{"timers", "Timers scheduled.", "", "", true, int64(s.wheel.waiting())},
		{"sessions_opened_total", "Sessions opened.", "", "", false, c.opened.Load()},
		{"upgrades_total", "Upgrades from polling to websocket.", "result", "done", false, c.upgraded.Load()},
		{"upgrades_total", "Upgrades from polling to websocket.", "result", "failed", false, c.probesFailed.Load()},
		{"packets_total", "Packets by direction.", "direction", "in", false, c.packetsIn.Load()},
		{"packets_total", "Packets by direction.", "direction", "out", false, c.packetsOut.Load()},
		{"bytes_total", "Bytes of packets by direction; on the way out with their framing.", "direction", "in", false, c.bytesIn.Load()},
		{"bytes_total", "Bytes of packets by direction; on the way out with their framing.", "direction", "out", false, c.bytesOut.Load()},
		{"writes_total", "Writes to websockets; each may carry many packets.", "", "", false, c.writes.Load()},
		{"ephemeral_dropped_total", "Ephemeral events not sent.", "", "", false, c.ephemeralDropped.Load()},
		{"ack_timeouts_total", "Acknowledgements a client did not send in time.", "", "", false, c.ackTimeouts.Load()},
		{"encode_errors_total", "Acknowledgements that could not be encoded.", "", "", false, c.encodeErrors.Load()},
		{"panics_total", "Handlers that panicked.", "", "", false, c.panics.Load()},
	}
	for r := range reasonCount {
		all = append(all, Metric{"sessions_ended_total", "Sessions ended by reason.", "reason", r.String(), false,
			c.ended[r].Load()})
	}
	for r := range refusalCount {
		all = append(all, Metric{"refused_total", "Requests and CONNECTs refused by cause.", "cause", refusalNames[r],
			false, c.refused[r].Load()})
	}
	return all
}
