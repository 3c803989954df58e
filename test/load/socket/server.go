package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"sotto/internal/socketio"
)

// nodeFolder holds Node's socket.io and load.js, the same application as serveApplication.
const nodeFolder = "test/socketio"

// serveApplication is the server under test: it prints its URL, and for each line on its input it collects garbage and
// prints a line. It ends with its input.
func serveApplication(members int) error {
	var mu sync.RWMutex
	byName := make(map[int]*socketio.Socket)
	srv, err := socketio.New(socketio.Config{PingInterval: time.Minute, MaxPending: 16 << 20}, socketio.Handler{
		Authenticate: func(_ context.Context, _ socketio.Handshake, auth json.RawMessage) (any, error) {
			var a struct{ Name int }
			err := json.Unmarshal(auth, &a)
			return a.Name, err
		},
		Connect: func(s *socketio.Socket) {
			mu.Lock()
			defer mu.Unlock()
			byName[s.Identity().(int)] = s
		},
		Disconnect: func(s *socketio.Socket, _ socketio.Reason) {
			mu.Lock()
			defer mu.Unlock()
			if name := s.Identity().(int); byName[name] == s {
				delete(byName, name)
			}
		},
		Event: func(_ *socketio.Socket, e socketio.Event) {
			mu.RLock()
			defer mu.RUnlock()
			switch e.Name {
			case "msg":
				if to, err := strconv.Atoi(string(e.Args[0])); err == nil && byName[to] != nil {
					_ = byName[to].Emit("msg", e.Args[1])
				}
				e.Ack()
			case "room":
				p, err := socketio.Prepare("room", e.Args[0])
				for i := 0; err == nil && i < members; i++ {
					_ = byName[i].EmitRaw(p)
				}
			}
		},
	})
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	hs := &http.Server{Handler: srv, ReadHeaderTimeout: time.Minute}
	go func() { _ = hs.Serve(ln) }()
	fmt.Println(ln.Addr())
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		debug.FreeOSMemory()
		fmt.Println("collected")
	}
	return nil
}

// server is a server process.
type server struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
	url string
}

func startServer(name string, members int) (*server, error) {
	args := []string{"-serve", "-members", strconv.Itoa(members)}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if name == "node" {
		if _, err := os.Stat(filepath.Join(nodeFolder, "node_modules", "socket.io")); err != nil {
			return nil, fmt.Errorf("socket.io is not installed; run: npm ci --prefix %s", nodeFolder)
		}
		program, args = "node", []string{"--expose-gc", filepath.Join(nodeFolder, "load.js"), strconv.Itoa(members)}
	}
	s := &server{cmd: exec.Command(program, args...)} //nolint:gosec // G204: this program itself, or node with our script
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	s.out = bufio.NewReader(out)
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	line, err := s.out.ReadString('\n')
	s.url = "ws://" + strings.TrimSpace(line) + "/socket.io/?EIO=4&transport=websocket"
	return s, err
}

func (s *server) stop() {
	_ = s.in.Close()
	_ = s.cmd.Wait()
}

// collect lets the server collect its garbage and returns its resident memory then.
func (s *server) collect() (float64, error) {
	if _, err := io.WriteString(s.in, "collect\n"); err != nil {
		return 0, err
	}
	if _, err := s.out.ReadString('\n'); err != nil {
		return 0, err
	}
	return s.residentKB()
}

// residentKB is the process's resident memory in KB of 1024 bytes (proc(5), status).
func (s *server) residentKB() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("no VmRSS for process %d", s.cmd.Process.Pid)
}

// clockTick is the unit of CPU time in proc(5), stat: USER_HZ is 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu is the process's user and system time.
func (s *server) cpu() (time.Duration, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The second field is the name in parentheses; user and system time are fields 14 and 15.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}
