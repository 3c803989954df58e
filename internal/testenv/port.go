package testenv

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Ports of tests lie below those that Linux gives to outgoing connections (32768 on): a connection would take the one of
// a program that is down for a moment. Each test process has a block for itself, so that none is given twice while the
// program that it was given to has not begun to listen, or is being restarted.
const (
	firstPort  = 12_000
	blockSize  = 1_000 // ports; given in turn, so that one comes again only after all the others
	portBlocks = 20    // test processes at a time
)

var portBlock struct {
	sync.Mutex
	lock  *os.File // locked as long as this process lives
	first int
	given int
}

// FreePort gives a port that nothing listens on and that was not given for long.
func FreePort() (int, error) {
	portBlock.Lock()
	defer portBlock.Unlock()
	if portBlock.lock == nil {
		if err := claimPorts(); err != nil {
			return 0, err
		}
	}
	for range blockSize {
		port := portBlock.first + portBlock.given%blockSize
		portBlock.given++
		if l, err := net.Listen("tcp", listenOn(port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("finding a free port: something listens on all of %d to %d", portBlock.first, portBlock.first+blockSize-1)
}

func claimPorts() error {
	dir := filepath.Join(os.TempDir(), "sotto-test-ports")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("claiming ports: %w", err)
	}
	for i := range portBlocks {
		f, err := os.OpenFile(filepath.Join(dir, fmt.Sprint(i)), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return fmt.Errorf("claiming ports: %w", err)
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			portBlock.lock, portBlock.first = f, firstPort+i*blockSize
			return nil
		}
		_ = f.Close()
	}
	return fmt.Errorf("claiming ports: %d test processes run already", portBlocks)
}

// freePorts gives several.
func freePorts(n int) ([]int, error) {
	free := make([]int, n)
	for i := range free {
		var err error
		if free[i], err = FreePort(); err != nil {
			return nil, err
		}
	}
	return free, nil
}
