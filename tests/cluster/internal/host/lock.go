// Package host does what a cluster needs done outside of its node, on the
// machine itself: locks, cgroup folders, the cable to the node, and telling
// whether the node lives. It undoes all of it, too.
package host

import (
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

// Lock keeps other commands out until it is released.
type Lock struct{ listener net.Listener }

// Acquire waits for the lock of the given name. It is a socket in the kernel's
// abstract name space: it needs no file that could be left behind, and it goes
// with the process however that ends.
func Acquire(name string, patience time.Duration, waiting func()) (*Lock, error) {
	deadline := time.Now().Add(patience)
	for told := false; ; told = true {
		listener, err := net.Listen("unix", "@quartermaster/"+name)
		if err == nil {
			return &Lock{listener}, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("locking %s: %w", name, err)
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("another command has been working on %s for more than %v", name, patience)
		}
		if !told {
			waiting()
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// Release gives the lock back.
func (l *Lock) Release() { l.listener.Close() }
