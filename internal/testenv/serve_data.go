package testenv

import (
	"context"
	"fmt"
	"os/exec"
	"slices"
	"time"
)

const commandTimeout = 60 * time.Second // of one command of sottod that ends by itself

// Command runs a command of sottod on the server's data directory to its end, beside the server or without it, and
// returns what it printed.
func (s *Serve) Command(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.Path, slices.Concat(args[:1], []string{"--data-dir", s.DataDir}, args[1:])...)
	cmd.Env = s.environment()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("sottod %v: %w\n%s", args, err, out)
	}
	return string(out), nil
}

// Backup copies everything into a new folder.
func (s *Serve) Backup(ctx context.Context, to string) error {
	_, err := s.Command(ctx, "backup", to)
	return err
}

// RestoreTo puts a backup into a new data directory, from which the server starts the next time. It must be down.
func (s *Serve) RestoreTo(ctx context.Context, from, dataDir string) error {
	s.DataDir = dataDir
	s.Args = s.arguments()
	_, err := s.Command(ctx, "restore", from)
	return err
}
