// Package telemetry makes the registry of metrics, the handler of logs and the pages of the private listener. Metrics
// are declared in the file that counts them and registered with the registry that is handed over; there is no global
// one.
package telemetry

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxScrapes bounds the scrapes that run at the same time; one more is answered with 503.
const maxScrapes = 4

// NewRegistry makes a registry that holds the metrics of the Go runtime and of the process.
func NewRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return reg
}

// PrivateHandler serves GET /metrics. It has no authentication: it belongs on a listener that only the host's own
// monitoring reaches.
func PrivateHandler(reg *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes}))
	return mux
}
