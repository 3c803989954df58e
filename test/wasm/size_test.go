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

// compressed prints the size of each compressed file, and fails unless it is a file of the same name that was built.
const compressed = `
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { brotliDecompressSync } from "node:zlib";
const [built, ...files] = process.argv.slice(1);
for (const file of files) {
  const b = readFileSync(file), name = basename(file, ".br");
  if (!brotliDecompressSync(b).equals(readFileSync(join(built, name)))) throw new Error(name + " is another one; run: make web");
  console.log(b.length);
}`

// TestSize: what a browser downloads before it can do anything stays small. Growth is a decision, and written down. The
// web client was built before, and its build compressed the files: that takes a minute.
func TestSize(t *testing.T) {
	t.Parallel()
	root := testenv.Root()
	files, err := filepath.Glob(filepath.Join(root, "web/dist/core/*/*.br"))
	if err != nil || len(files) != 4 {
		t.Fatalf("the web client has %d files of the core, %v; run: make web", len(files), err)
	}
	cmd := exec.Command("node", append([]string{"--input-type=module", "--eval", compressed, "--", built}, files...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("looking at what a browser downloads: %v\n%s", err, stderr.String())
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
