package node

import (
	"sync"
	"time"
)

// Phase is how far the node has come.
type Phase string

// The phases.
const (
	Starting Phase = "Starting"
	Running  Phase = "Running"
	Failed   Phase = "Failed"
)

// Step is something that was reached.
type Step struct {
	Text string    `json:"text"`
	At   time.Time `json:"at"`
}

// progress is written by those who start things and read by those who watch.
type progress struct {
	mu     sync.Mutex
	steps  []Step
	done   bool
	failed string
}

func (p *progress) step(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.steps = append(p.steps, Step{text, time.Now()})
}

func (p *progress) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failed = err.Error()
}

func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
}

func (p *progress) read() (Phase, string, []Step) {
	p.mu.Lock()
	defer p.mu.Unlock()
	steps := append([]Step(nil), p.steps...)
	switch {
	case p.failed != "":
		return Failed, p.failed, steps
	case p.done:
		return Running, "", steps
	}
	return Starting, "", steps
}
