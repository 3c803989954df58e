// Package testenv starts the real programs for tests: each with its own folder, a free port and its log captured. It is
// the only place that starts processes for tests.
package testenv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	readyTimeout = 90 * time.Second // on a machine that is busy with everything else
	stopTimeout  = 20 * time.Second
	pollEvery    = 10 * time.Millisecond
)

// Root is the folder of the module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Build builds the module's programs into a folder that lives as long as the test process. Called from TestMain.
func Build(dir string, programs ...string) error {
	args := []string{"-o", dir + string(filepath.Separator)}
	for _, p := range programs {
		args = append(args, "./cmd/"+p)
	}
	return build(args...)
}

func build(args ...string) error {
	cmd := exec.Command("go", append([]string{"build"}, args...)...)
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %v: %w\n%s", args, err, out)
	}
	return nil
}

// Process is one program under test. Its methods are called from one goroutine, but Kill9 may interrupt the others.
type Process struct {
	Name string
	Path string
	Args []string
	Env  []string // added to a minimal environment; nothing of the machine's SOTTO_ settings gets in

	// Credential, unless nil, is who the program runs as: some refuse to run as root.
	Credential *syscall.Credential

	mu     sync.Mutex
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has been waited for
	err    error         // of Wait
	log    lockedBuffer
}

// lockedBuffer keeps everything a process wrote, over all its restarts.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Start starts the program; it dies with this process, and Ctrl-C in the terminal does not reach it before.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := exec.Command(p.Path, p.Args...)
	cmd.Env = p.environment()
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true, Credential: p.Credential}
	exited, started := make(chan struct{}), make(chan error)
	go func() {
		// Pdeathsig follows the thread that forked, so that thread waits here for as long as the process lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(exited)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("starting %s: %w", p.Name, err)
	}
	p.cmd, p.exited = cmd, exited
	return nil
}

func (p *Process) environment() []string {
	return append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.TempDir()}, p.Env...)
}

// WaitHTTP waits until url answers 200.
func (p *Process) WaitHTTP(ctx context.Context, url string) error {
	return p.wait(ctx, func(ctx context.Context) bool { return get(ctx, url) })
}

// WaitTCP waits until something takes connections at the address.
func (p *Process) WaitTCP(ctx context.Context, address string) error {
	return p.wait(ctx, func(ctx context.Context) bool {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return false
		}
		_ = conn.Close()
		return true
	})
}

// wait asks until ready says yes, the process ends or the time is over.
func (p *Process) wait(ctx context.Context, ready func(context.Context) bool) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	for !ready(ctx) {
		select {
		case <-p.exitedChannel():
			return fmt.Errorf("%s ended before it was ready:\n%s", p.Name, p.Log())
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready within %v:\n%s", p.Name, readyTimeout, p.Log())
		case <-time.After(pollEvery):
		}
	}
	return nil
}

func get(ctx context.Context, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	return res.StatusCode == http.StatusOK
}

func (p *Process) exitedChannel() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// Kill9 ends the process as a power cut of the program would, and waits until it is gone.
func (p *Process) Kill9() error { return p.end(syscall.SIGKILL) }

// Stop asks the process to end, and kills it when it does not. Ending with an error, or not at all, is an error.
func (p *Process) Stop() error {
	if err := p.end(syscall.SIGTERM); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		return fmt.Errorf("%s ended with %w:\n%s", p.Name, p.err, p.log.String())
	}
	return nil
}

func (p *Process) end(sig syscall.Signal) error {
	p.mu.Lock()
	cmd, exited := p.cmd, p.exited
	p.mu.Unlock()
	if cmd == nil {
		return nil
	}
	if err := cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signalling %s: %w", p.Name, err)
	}
	select {
	case <-exited:
		return nil
	case <-time.After(stopTimeout):
		_ = cmd.Process.Kill()
		<-exited
		return fmt.Errorf("%s did not end within %v of %v:\n%s", p.Name, stopTimeout, sig, p.Log())
	}
}

// Running tells whether the process was started and has not ended.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Pid is the process id of the running process.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.cmd.Process.Pid
}

// Log is everything that the process wrote since the first start.
func (p *Process) Log() string { return p.log.String() }

// CleanUp kills the process when the test ends, and shows its log if the test failed.
func (p *Process) CleanUp(t testing.TB) {
	t.Cleanup(func() {
		_ = p.Kill9()
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.Name, tail(p.Log(), 2<<10))
		}
	})
}

func tail(s string, n int) string {
	if len(s) > n {
		return "…" + s[len(s)-n:]
	}
	return s
}
