// Package say tells the user how far things are. It writes to standard error,
// for standard output belongs to what a command was asked for.
package say

import (
	"fmt"
	"os"
	"time"
)

// Speaker puts the time since its beginning before every line.
type Speaker struct{ begun time.Time }

// New begins now.
func New() *Speaker { return &Speaker{time.Now()} }

// Line writes a line.
func (s *Speaker) Line(format string, args ...any) { s.LineAt(time.Now(), format, args...) }

// LineAt writes a line about something that was at another time than now.
func (s *Speaker) LineAt(at time.Time, format string, args ...any) {
	fmt.Fprintf(os.Stderr, "[%6.1fs] %s\n", max(0, at.Sub(s.begun).Seconds()), fmt.Sprintf(format, args...))
}

// Every calls tell again and again until the function that it returns is
// called, so that nothing is silent for long.
func Every(period time.Duration, tell func()) (stop func()) {
	ticker, done := time.NewTicker(period), make(chan struct{})
	go func() {
		for {
			select {
			case <-ticker.C:
				tell()
			case <-done:
				return
			}
		}
	}()
	return func() {
		ticker.Stop()
		close(done)
	}
}
