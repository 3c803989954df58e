package testenv

import (
	"context"
	"fmt"
	"path/filepath"
)

// Serve is one `sottod serve` on a folder and port of its own.
type Serve struct {
	Process
	URL     string
	DataDir string
	listen  string
}

// NewServe prepares a server; binaries is the folder that Build wrote to.
func NewServe(binaries, dataDir string, env ...string) (*Serve, error) {
	port, err := FreePort()
	if err != nil {
		return nil, fmt.Errorf("finding a free port: %w", err)
	}
	listen := fmt.Sprintf("127.0.0.1:%d", port)
	s := &Serve{URL: "http://" + listen, DataDir: dataDir, listen: listen}
	s.Name, s.Path, s.Env = "sottod serve", filepath.Join(binaries, "sottod"), env
	s.Args = s.arguments()
	return s, nil
}

func (s *Serve) arguments() []string {
	return []string{"serve", "--data-dir", s.DataDir, "--listen", s.listen, "--log-level=debug"}
}

// Up starts the server and waits until it is ready.
func (s *Serve) Up(ctx context.Context) error {
	if err := s.Start(); err != nil {
		return err
	}
	return s.WaitHTTP(ctx, s.URL+"/readyz")
}

// Restart kills the server as kill -9 does and brings it back on the same folder and port.
func (s *Serve) Restart(ctx context.Context) error {
	if err := s.Kill9(); err != nil {
		return err
	}
	return s.Up(ctx)
}
