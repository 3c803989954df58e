package wasm_test

import "testing"

// BenchmarkReady measures from the start of the worker to the core's first message, with the files in the cache of the
// browser from the second time on.
func BenchmarkReady(b *testing.B) {
	s := newSite(b, "")
	p := s.open(b, "page.html")
	var total float64
	for b.Loop() {
		p.reload()
		var got struct {
			Milliseconds float64 `json:"milliseconds"`
		}
		p.call(&got, "ready")
		total += got.Milliseconds
	}
	b.ReportMetric(total/float64(b.N), "ms/ready")
}
