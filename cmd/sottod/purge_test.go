package main_test

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestPurgeQueueOfOneProcess: what cannot be dropped is not, and the sentence says why.
func TestPurgeQueueOfOneProcess(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	fail(t, "there is no server's data", "purge-queue", "--data-dir", data, "chat.dead")
	serve(t, data)
	if out := succeed(t, "purge-queue", "--data-dir", data, "chat.dead"); !strings.Contains(out, "chat.dead holds 0 entries.") {
		t.Error(out)
	}
	fail(t, "events wait in the database and cannot be dropped", "purge-queue", "--data-dir", data, "chat")
	fail(t, "there is no queue \"char\"; there are notifications", "purge-queue", "--data-dir", data, "char")
	fail(t, "connection refused", "purge-queue", "--broker-url=amqp://127.0.0.1:1/", "chat")
}
