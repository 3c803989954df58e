package client_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestBrowserBuild builds the package for the browser and holds its import list: what is banned would make the download
// large, or cannot work there.
func TestBrowserBuild(t *testing.T) {
	env := append(os.Environ(), "GOOS=js", "GOARCH=wasm")
	build := exec.Command("go", "build", ".")
	build.Env = env
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building for js/wasm: %v\n%s", err, out)
	}
	list := exec.Command("go", "list", "-deps", ".")
	list.Env = env
	out, err := list.Output()
	if err != nil {
		t.Fatalf("listing imports: %v", err)
	}
	for path := range strings.FieldsSeq(string(out)) {
		for _, banned := range []string{"net/http", "database/sql", "crypto/tls", "testing", "modernc.org", "github.com/gobwas"} {
			if path == banned || strings.HasPrefix(path, banned+"/") {
				t.Errorf("the browser build contains %s", path)
			}
		}
	}
}
