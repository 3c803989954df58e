package e2e_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// sotto runs the command to its end.
func (w *world) sotto(state, stdin string, args ...string) (stdout, stderr string, status int) {
	w.t.Helper()
	cmd := w.command(state, w.server.URL, args...)
	var out, errOut strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatal(err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

func (w *world) command(state, url string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(w.t.Context(), filepath.Join(binaries, "sotto"),
		append([]string{"--state", filepath.Join(w.dir, state+".db"), "--server", url}, args...)...)
	cmd.Env = []string{"HOME=" + w.dir, "PATH=" + os.Getenv("PATH")}
	return cmd
}

// terminal is a `sotto` process that reads lines and prints lines.
type terminal struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string
}

func (w *world) terminal(state string, args ...string) *terminal {
	w.t.Helper()
	cmd := w.command(state, w.server.URL, args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	p := &terminal{t: w.t, cmd: cmd, in: in, lines: make(chan string, 1_000)}
	go func() {
		defer close(p.lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			p.lines <- s.Text()
		}
	}()
	w.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return p
}

func (p *terminal) types(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// shows waits for a line that ends like this, and returns it.
func (p *terminal) shows(end string) string {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.t.Fatalf("the program ended before it showed %q", end)
			}
			if strings.HasSuffix(line, end) {
				return line
			}
		case <-deadline:
			p.t.Fatalf("%q was not shown within %v", end, patience)
		}
	}
}

// leaves ends the input and waits for a clean end.
func (p *terminal) leaves() {
	p.t.Helper()
	if err := p.in.Close(); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatal(err)
	}
}

// TestTwoTerminals is what the README promises a newcomer.
func TestTwoTerminals(t *testing.T) {
	w := newWorld(t)
	out, errOut, status := w.sotto("carol", password+"\n", "register", "carol", "--password-stdin")
	if status != 0 || !strings.Contains(out, "recovery code") {
		t.Fatalf("register: %d\n%s\n%s", status, out, errOut)
	}
	alice, carol := w.terminal("alice", "chat", "carol"), w.terminal("carol", "chat", "alice")
	alice.shows("/help shows the commands.")
	carol.shows("/help shows the commands.")
	alice.types("hello carol")
	carol.shows("alice: hello carol")
	carol.types("hello alice")
	alice.shows("carol: hello alice")
	carol.types("//slash")
	alice.shows("carol: /slash")
	alice.types("last words")
	alice.leaves()
	carol.shows("alice: last words")
	carol.leaves()

	// History stands above the prompt the next time.
	again := w.terminal("carol", "chat", "alice")
	again.shows("you: hello alice")
	again.shows("alice: last words")
	again.leaves()
}

func TestScripts(t *testing.T) {
	w := newWorld(t)
	listen := w.terminal("bob", "listen", "--json", "--count=2")
	for _, c := range []struct{ stdin, text string }{{"", "first"}, {"from standard input\n", "-"}} {
		if _, errOut, status := w.sotto("alice", c.stdin, "send", "bob", c.text); status != 0 {
			t.Fatalf("send: %d %s", status, errOut)
		}
	}
	var got []string
	for line := range listen.lines {
		var l struct {
			With string `json:"with"`
			Text string `json:"text"`
			Seq  uint64 `json:"seq"`
			Own  bool   `json:"own"`
		}
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if l.With != "alice" || l.Own || l.Seq != uint64(len(got)+1) {
			t.Errorf("%+v", l)
		}
		got = append(got, l.Text)
	}
	if want := []string{"first", "from standard input"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}

	out, _, status := w.sotto("alice", "", "devices")
	if status != 0 || !strings.Contains(out, "this device") || !strings.Contains(out, "alice's first") {
		t.Errorf("devices: %d %s", status, out)
	}
	one, _, _ := w.sotto("alice", "", "safety", "bob")
	two, _, _ := w.sotto("bob", "", "safety", "alice")
	if digits(one) != digits(two) || len(digits(one)) != 60 {
		t.Errorf("safety numbers differ:\n%s\n%s", one, two)
	}
}

func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
}

// TestCommandLineMistakes: each ends with the status that scripts can tell apart and a sentence that says what to do.
func TestCommandLineMistakes(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		state, stdin string
		args         []string
		status       int
		says         string
	}{
		"no command":          {"alice", "", nil, 2, "expected one of"},
		"password argument":   {"new", "", []string{"register", "dave", "--password=x"}, 2, "unknown flag"},
		"no terminal":         {"new", "", []string{"register", "dave"}, 1, "--password-stdin"},
		"short password":      {"new", "short\n", []string{"register", "dave", "--password-stdin"}, 1, "10"},
		"bad username":        {"new", password, []string{"register", "Dave the 2nd", "--password-stdin"}, 1, "username"},
		"taken":               {"new", password, []string{"register", "BOB", "--password-stdin"}, 1, "taken"},
		"wrong password":      {"new", "wrong password entirely\n", []string{"login", "bob", "--password-stdin"}, 4, ""},
		"not signed in":       {"new", "", []string{"send", "bob", "x"}, 4, "sotto register"},
		"already signed in":   {"alice", password, []string{"login", "bob", "--password-stdin"}, 1, ""},
		"unknown person":      {"alice", "", []string{"send", "nobody.here", "x"}, 1, "no"},
		"empty message":       {"alice", "", []string{"send", "bob", ""}, 1, "bytes"},
		"logout unconfirmed":  {"alice", "", []string{"logout"}, 1, "--yes"},
		"server is not there": {"alice", "", []string{"--server=http://127.0.0.1:1", "send", "--timeout=1s", "bob", "x"}, 5, "reached"},
		"not a server":        {"alice", "", []string{"--server=nonsense", "devices"}, 1, "https://"},
	} {
		_, says, status := w.sotto(c.state, c.stdin, c.args...)
		if status != c.status || !strings.Contains(says, c.says) {
			t.Errorf("%s: status %d, want %d; says %q, want %q", name, status, c.status, says, c.says)
		}
	}
}
