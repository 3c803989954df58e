// Package internal_test holds the rules about who may import whom, with a reason each.
package internal_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

type pkg struct {
	ImportPath string
	Imports    []string
	Standard   bool
}

// list asks the go command, so that build constraints are obeyed for the given platform.
func list(t *testing.T, env []string, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Standard"}, args...)...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list %v: %v\n%s", args, err, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

var services = []string{"sotto/internal/user", "sotto/internal/chat", "sotto/internal/notification"}

func within(path string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return path == r || strings.HasPrefix(path, r+"/") })
}

func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".") && first != "sotto"
}

func TestImportRules(t *testing.T) {
	for _, p := range list(t, nil, "./...") {
		for _, imp := range p.Imports {
			if reason := forbidden(p.ImportPath, imp); reason != "" {
				t.Errorf("%s imports %s: %s", p.ImportPath, imp, reason)
			}
		}
	}
}

// forbidden is the table of rules; the first that is broken is returned.
func forbidden(from, imp string) string {
	for _, s := range services {
		if within(from, s) && within(imp, services...) && !within(imp, s) {
			return "services never import each other; they share api and event"
		}
		if within(imp, s) && !within(from, s, "sotto/internal/app") {
			return "only internal/app sees a service"
		}
	}
	switch {
	case within(imp, "sotto/cmd"):
		return "nothing imports a program"
	case within(imp, "sotto/internal/app") && !within(from, "sotto/internal/app", "sotto/cmd", "sotto/test", "sotto/client"):
		return "only programs and tests start the application"
	case within(from, "sotto/api") && !isStandard(imp) && from != imp:
		return "api imports only the standard library"
	case within(from, "sotto/e2ee") && !isStandard(imp) && !within(imp, "sotto/e2ee", "golang.org/x/crypto", "filippo.io/edwards25519", "github.com/cloudflare/circl"):
		return "the protocol core stays small and auditable"
	case within(from, "sotto/e2ee") && within(imp, "net", "database/sql", "encoding/json", "os"):
		return "the protocol core is pure functions over bytes"
	case within(from, "sotto/internal/socketio") && !isStandard(imp) && !within(imp, "sotto/internal/socketio", "github.com/gobwas/ws", "github.com/gobwas/httphead", "github.com/gobwas/pool"):
		return "the real-time layer is a library of its own"
	case within(imp, "modernc.org/sqlite", "github.com/jackc/pgx/v5") && !within(from, "sotto/internal/sqldb", "sotto/client/sqlitestore", "sotto/test"):
		return "only sqldb knows an SQL dialect (and the client's own store)"
	case within(imp, "github.com/minio/minio-go") && !within(from, "sotto/internal/asset/s3"):
		return "only the store of assets in S3 speaks its protocol"
	case within(from, "sotto/client") && within(imp, services...):
		return "the client knows the server only through api"
	}
	return ""
}

func TestRulesBite(t *testing.T) {
	for _, c := range [][2]string{
		{"sotto/internal/chat", "sotto/internal/user"}, {"sotto/internal/httpx", "sotto/internal/chat"}, {"sotto/client", "sotto/cmd/sottod"},
		{"sotto/api", "github.com/google/uuid"}, {"sotto/e2ee/internal/spqr", "sotto/api"}, {"sotto/e2ee", "net/http"},
		{"sotto/internal/socketio", "sotto/api"}, {"sotto/internal/chat", "modernc.org/sqlite"}, {"sotto/internal/event", "sotto/internal/app"},
		{"sotto/internal/app", "github.com/minio/minio-go/v7"},
	} {
		if forbidden(c[0], c[1]) == "" {
			t.Errorf("%s may import %s", c[0], c[1])
		}
	}
	for _, c := range [][2]string{
		{"sotto/internal/app", "sotto/internal/chat"}, {"sotto/internal/asset/s3", "github.com/minio/minio-go/v7/pkg/credentials"},
	} {
		if r := forbidden(c[0], c[1]); r != "" {
			t.Errorf("%s imports %s: %s", c[0], c[1], r)
		}
	}
}

// TestBrowserCore holds the import list of the js/wasm build: what the browser core must not drag in.
func TestBrowserCore(t *testing.T) {
	banned := map[string]string{
		"net/http":          "network goes through the JavaScript shim",
		"database/sql":      "storage goes through the JavaScript shim",
		"modernc.org/libc":  "no SQL engine in the browser",
		"testing":           "tests stay out of the product",
		"crypto/tls":        "the browser has its own",
		"log/slog":          "nobody listens in the browser; use client.Logger, which is empty there",
		"net/url":           "the browser has its own; see client/platform_js.go",
		"github.com/gobwas": "the browser has its own websocket",
	}
	for _, p := range list(t, []string{"GOOS=js", "GOARCH=wasm"}, "-deps", "./client", "./e2ee", "./cmd/sotto-wasm") {
		for path, reason := range banned {
			if p.ImportPath == path || (strings.Contains(path, ".") && within(p.ImportPath, path)) {
				t.Errorf("the browser core contains %s: %s", p.ImportPath, reason)
			}
		}
	}
}
