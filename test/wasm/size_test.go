package wasm_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"sotto/internal/testenv"
)

const (
	recordedSize = "size.txt"
	decision     = "docs/decisions/0004-browser-core-size.md"
	sizeLimit    = 1_100_000 // bytes, all files together
)

// compress prints the brotli size of each file. Quality 11 is what a build makes once for all downloads.
const compress = `
import { readFileSync } from "node:fs";
import { brotliCompressSync, constants as c } from "node:zlib";
for (const file of process.argv.slice(1)) {
  const b = readFileSync(file);
  const params = { [c.BROTLI_PARAM_QUALITY]: 11, [c.BROTLI_PARAM_SIZE_HINT]: b.length };
  console.log(brotliCompressSync(b, { params }).length);
}`

// TestSize: what a browser downloads before it can do anything stays small. Growth is a decision, and written down.
func TestSize(t *testing.T) {
	t.Parallel()
	root := testenv.Root()
	files := []string{
		filepath.Join(built, "sotto.wasm"), filepath.Join(built, "wasm_exec.js"),
		filepath.Join(root, "cmd/sotto-wasm/shim.js"), filepath.Join(root, "cmd/sotto-wasm/worker.js"),
	}
	cmd := exec.Command("node", append([]string{"--input-type=module", "--eval", compress, "--"}, files...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("compressing: %v\n%s", err, stderr.String())
	}
	size := 0
	for _, line := range strings.Fields(string(out)) {
		n, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		size += n
	}
	recorded, text := readRecorded(t, root)
	t.Logf("%d bytes, recorded %d, limit %d", size, recorded, sizeLimit)
	if size > sizeLimit {
		t.Errorf("the browser core has %d bytes, the limit is %d", size, sizeLimit)
	}
	if size > recorded+recorded/20 {
		t.Errorf("the browser core has grown from %d to %d bytes. If that is worth it, say why in %s and change %s to %d.",
			recorded, size, decision, recordedSize, size)
	}
	if !strings.Contains(text, fmt.Sprintf("**%d**", recorded)) {
		t.Errorf("%s does not speak of %d, the recorded size", decision, recorded)
	}
}

// readRecorded reads the recorded size in bytes, and the decision that belongs to it.
func readRecorded(t *testing.T, root string) (recorded int, decided string) {
	t.Helper()
	b, err := os.ReadFile(recordedSize)
	if err == nil {
		recorded, err = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, decision))
	if err != nil {
		t.Fatal(err)
	}
	return recorded, string(text)
}
