//go:build !unix

package socketio

import (
	"errors"
	"net"
	"syscall"
)

var errAgain = errors.ErrUnsupported

// rawConn is nil where a socket cannot be read without waiting; connections then hold a read buffer while idle.
func rawConn(net.Conn) syscall.RawConn { return nil }

func readFD(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
