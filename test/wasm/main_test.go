// Package wasm_test runs the browser core in a real Chromium: the conformance suite of its store, and chats between it
// and native clients over the real server.
package wasm_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sotto/internal/testenv"
)

const chromium = "/usr/bin/chromium"

// Made once: the programs, and a browser that all tests share. Each test has a site, and so an origin and storage, of
// its own.
var (
	built   string // folder of everything that was built
	browser *driver
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "sotto-wasm-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	built = dir
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the tests of the browser core:", err)
		return 1
	}
	defer browser.stop()
	return m.Run()
}

func prepare() error {
	for _, need := range []string{chromium, filepath.Join(testenv.Root(), "test/wasm/node_modules/playwright-core")} {
		if _, err := os.Stat(need); err != nil {
			return fmt.Errorf("%w; run: make tools", err)
		}
	}
	build := exec.Command(filepath.Join(testenv.Root(), "script/wasm"), built)
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the core: %w; run: make tools\n%s", err, out)
	}
	if err := goTool([]string{"GOOS=js", "GOARCH=wasm"}, "test", "-c", "-o", filepath.Join(built, "idbstore.wasm"), "./client/idbstore"); err != nil {
		return err
	}
	if err := testenv.Build(built, "sottod"); err != nil {
		return err
	}
	var err error
	browser, err = startDriver()
	return err
}

func goTool(env []string, args ...string) error {
	cmd := exec.Command("go", args...)
	cmd.Dir = testenv.Root()
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %v: %w\n%s", args, err, out)
	}
	return nil
}

// driver is the Node process that holds the browser. Commands may be given by several goroutines.
type driver struct {
	process *exec.Cmd
	in      io.WriteCloser
	log     lockedText

	mu      sync.Mutex
	lastID  int
	waiting map[int]chan driverAnswer
	ended   error
}

type driverAnswer struct {
	ID    int             `json:"id"`
	Value json.RawMessage `json:"value"`
	Error string          `json:"error"`
}

// lockedText collects what the driver and its pages complain about.
type lockedText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func startDriver() (*driver, error) {
	cmd := exec.Command("node", "driver.mjs", chromium)
	d := &driver{process: cmd, waiting: map[int]chan driverAnswer{}}
	cmd.Stderr = &d.log
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w; run: make tools", err)
	}
	d.in = in
	go d.read(out)
	return d, nil
}

func (d *driver) read(out io.Reader) {
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		var a driverAnswer
		if err == nil {
			err = json.Unmarshal(line, &a)
		}
		d.mu.Lock()
		if err != nil {
			d.ended = fmt.Errorf("the browser's driver ended: %w\n%s", err, d.log.String())
			for _, ch := range d.waiting {
				close(ch)
			}
			d.waiting = nil
			d.mu.Unlock()
			return
		}
		ch := d.waiting[a.ID]
		delete(d.waiting, a.ID)
		d.mu.Unlock()
		ch <- a
	}
}

const patience = 30 * time.Second // for what takes well under a second on a machine that does nothing else

// do gives a command and decodes its value.
func (d *driver) do(command map[string]any, value any) error {
	ch := make(chan driverAnswer, 1)
	d.mu.Lock()
	if d.ended != nil {
		d.mu.Unlock()
		return d.ended
	}
	d.lastID++
	command["id"] = d.lastID
	d.waiting[d.lastID] = ch
	line, err := json.Marshal(command)
	if err == nil {
		_, err = d.in.Write(append(line, '\n'))
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	var a driverAnswer
	var ok bool
	select {
	case a, ok = <-ch:
	case <-time.After(patience):
		return fmt.Errorf("no answer within %v", patience)
	}
	switch {
	case !ok:
		return d.ended
	case a.Error != "":
		return errors.New(a.Error)
	case value == nil || a.Value == nil:
		return nil
	}
	return json.Unmarshal(a.Value, value)
}

// stop ends the driver, which closes the browser.
func (d *driver) stop() {
	_ = d.in.Close()
	_ = d.process.Wait() // it was told to
}
