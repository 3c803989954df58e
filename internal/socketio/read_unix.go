//go:build unix

package socketio

import (
	"net"
	"syscall"
)

// errAgain is what readFD returns when nothing is there to read yet.
const errAgain = syscall.EAGAIN

// rawConn gives access to the socket under conn, nil when there is none (TLS, a pipe).
func rawConn(conn net.Conn) syscall.RawConn {
	sc, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}

// readFD reads from a non-blocking socket. 0 and nil mean the end of the stream.
func readFD(fd uintptr, p []byte) (int, error) {
	for {
		n, err := syscall.Read(int(fd), p)
		if err != syscall.EINTR {
			return n, err
		}
	}
}
