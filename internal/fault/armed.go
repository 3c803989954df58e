//go:build faultpoints

// Package fault ends the program at a named point, in the build of the chaos tests only: FAULTPOINT names the point and,
// after a colon, at which pass. The end is that of kill -9.
package fault

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Of the process, as its environment is.
var (
	armed, pass = read(os.Getenv("FAULTPOINT"))
	passed      atomic.Int64
)

func read(setting string) (name string, pass int64) {
	name, number, _ := strings.Cut(setting, ":")
	pass, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		pass = 1
	}
	return name, pass
}

// Point ends the program if this is the point, for the pass that was asked for.
func Point(name string) {
	if name == armed && passed.Add(1) == pass {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal is on its way
	}
}
