package disk_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sotto/internal/asset/assettest"
	"sotto/internal/asset/disk"
)

// traced names the folder that the traced process of TestPutSyncs works in.
const traced = "SOTTO_TEST_TRACED"

// TestPutSyncs sees with strace that the object, its name and the name of its folder are on the disk before Put says so.
func TestPutSyncs(t *testing.T) {
	if root := os.Getenv(traced); root != "" {
		put(t, root)
		return
	}
	if _, err := exec.LookPath("strace"); err != nil {
		t.Fatal("strace is missing; install it with `make tools` or: sudo apt-get install -y strace")
	}
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.CommandContext(t.Context(), "strace", "-f", "-y", "-s", "16", "-o", trace,
		"-e", "trace=write,fsync,fdatasync,rename,renameat,renameat2,openat", os.Args[0], "-test.run=^TestPutSyncs$")
	cmd.Env = append(os.Environ(), traced+"="+root)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(trace)
	if err != nil {
		t.Fatal(err)
	}
	at := regexp.QuoteMeta(root)
	rest := string(b)
	for _, step := range []struct{ what, pattern string }{
		{"the content is written", `write\(\d+<` + at + `/aside/[^>]+>, "content of`},
		{"the file is synced", `f(data)?sync\(\d+<` + at + `/aside/[^>]+>\)`},
		{"it gets its name", `rename[^\n]*"` + at + `/aside/[^"]+"[^\n]*"` + at + `/[0-9a-f]{32}/`},
		{"the name is synced", `fsync\(\d+<` + at + `/[0-9a-f]{32}>\)`},
		{"the name of the folder is synced", `fsync\(\d+<` + at + `>\)`},
		{"Put returns", `openat\([^\n]*"` + at + `/stored"`},
	} {
		found := regexp.MustCompile(step.pattern).FindStringIndex(rest)
		if found == nil {
			t.Fatalf("%s: not in this order in the trace:\n%s", step.what, within(string(b), root))
		}
		rest = rest[found[1]:]
	}
}

func put(t *testing.T, root string) {
	d, err := disk.Open(root)
	if err == nil {
		err = d.Put(t.Context(), assettest.Name(), []byte("content of an object"))
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(root, "stored"), nil, 0o600) // the mark in the trace
	}
	if err != nil {
		t.Fatal(err)
	}
}

// within keeps the lines about the folder.
func within(trace, root string) string {
	var lines []string
	for line := range strings.Lines(trace) {
		if strings.Contains(line, root) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}
