package wasm_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"sotto/internal/testenv"
)

// TestStrip: a program from which strip.mjs took the names works as before, and what it prints when it crashes can be
// read with the list that strip.mjs printed.
func TestStrip(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(dir, "stripped.wasm")
	env := []string{"GOOS=js", "GOARCH=wasm", "GOEXPERIMENT=nogreenteagc"}
	if err := goTool(env, "build", "-trimpath", "-gcflags=all=-l", "-ldflags=-s -w", "-o", program, "./test/wasm/testdata/stripped"); err != nil {
		t.Fatal(err)
	}
	functions, err := exec.Command("node", filepath.Join(testenv.Root(), "cmd/sotto-wasm/strip.mjs"), program).Output()
	if err != nil {
		t.Fatalf("stripping: %v", err)
	}
	if b, err := os.ReadFile(program); err != nil || bytes.Contains(b, []byte("main.crash")) {
		t.Errorf("the names are still there (%v)", err)
	}
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	run := exec.Command("node", filepath.Join(strings.TrimSpace(string(root)), "lib/wasm/wasm_exec_node.js"), program)
	run.Env = append(os.Environ(), "GOTRACEBACK=system")
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	if err := run.Run(); err == nil {
		t.Error("the program did not crash")
	}
	said := stdout.String() + stderr.String()
	// Two goroutines: main, and the one that JavaScript calls. Those of the runtime do not count, which it tells by their names.
	if want := "<nil>\ntext4 3 2\n"; !strings.HasPrefix(said, want) {
		t.Errorf("the program said:\n%s\nwant first:\n%s", said, want)
	}
	names := map[uint64]string{}
	for line := range strings.Lines(string(functions)) {
		number, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		n, err := strconv.ParseUint(number, 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		names[n] = name
	}
	var trace []string
	for _, pc := range regexp.MustCompile(`pc=0x([0-9a-f]+)`).FindAllStringSubmatch(said, -1) {
		n, err := strconv.ParseUint(pc[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		trace = append(trace, names[n>>16])
	}
	if got := strings.Join(trace, " "); !strings.Contains(got, "runtime.goPanicIndex main.crash main.main runtime.main") {
		t.Errorf("the trace reads %s\n%s", got, said)
	}
}
