// Package browser_test runs the web client in a real Chromium against the real server: what people do, by what the page
// shows. The tests themselves are the *.test.mjs files here, run by Node's test runner; this builds what they need. With
// BROWSER_FILES the files of that pattern run instead: make soak runs *.soak.mjs.
package browser_test

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sotto/internal/testenv"
	"sotto/web"
)

const chromium = "/usr/bin/chromium"

// most is how long all tests may take on a busy machine before something hangs.
const most = 9 * time.Minute

func TestBrowser(t *testing.T) {
	for _, need := range []string{chromium, "node_modules/playwright-core"} {
		if _, err := os.Stat(need); err != nil {
			t.Fatalf("%v; run: make tools", err)
		}
	}
	if _, built, err := web.Client(); err != nil || !built {
		t.Fatalf("the web client is not built, %v; run: make web", err)
	}
	binaries := t.TempDir()
	if err := testenv.Build(binaries, "sottod", "sotto"); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", filepath.Join(binaries, "echobot"), "sotto/examples/echobot").CombinedOutput(); err != nil {
		t.Fatalf("building the example: %v\n%s", err, out)
	}
	files, err := filepath.Glob(cmp.Or(os.Getenv("BROWSER_FILES"), "*.test.mjs"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests, %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), most)
	defer cancel()
	// With threads of V8's own a Node 20 sometimes waits for them for ever when it ends (nodejs/node issue 54918).
	args := append([]string{"--single-threaded", "--test", "--test-reporter=spec", "--test-concurrency=2"}, slices.Sorted(slices.Values(files))...)
	cmd := exec.CommandContext(ctx, "node", args...)
	cmd.Env = append(os.Environ(), "BINARIES="+binaries, "CHROMIUM="+chromium)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("%v", err)
	}
	if !strings.Contains(string(out), "skipped 0") {
		t.Error("a test was skipped")
	}
}
