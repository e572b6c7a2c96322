package supervise

import (
	"fmt"
	"log"
	"os"
	"sort"
	"sync"
	"syscall"
	"time"
)

// Program is something to keep running.
type Program struct {
	Name string
	Path string
	Args []string
	Log  string
}

// State is what can be told about a program.
type State struct {
	Name string `json:"name"`
	// PID is its number inside of the namespace; zero when it does not run.
	PID      int       `json:"pid"`
	Alive    bool      `json:"alive"`
	Paused   bool      `json:"paused"`
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since"`
	// Ended says how it ended last.
	Ended string `json:"ended,omitempty"`
}

// Keeper keeps programs running: what ends without having been asked to is
// started again. What a test killed stays dead until the test starts it.
type Keeper struct {
	reaper *Reaper
	env    []string

	mu      sync.Mutex
	entries map[string]*entry
}

type entry struct {
	program Program
	state   State
	wanted  bool
	// gone is closed when the running process has ended.
	gone chan struct{}
}

// restartDelay keeps a program that cannot start from eating the machine.
const restartDelay = time.Second

// NewKeeper makes a keeper that has started nothing yet.
func NewKeeper(reaper *Reaper, env []string, programs []Program) *Keeper {
	k := &Keeper{reaper: reaper, env: env, entries: map[string]*entry{}}
	for _, program := range programs {
		k.entries[program.Name] = &entry{program: program, state: State{Name: program.Name}}
	}
	return k
}

// Start starts a program that does not run; a running one is left alone.
func (k *Keeper) Start(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, err := k.find(name)
	if err != nil {
		return err
	}
	e.wanted = true
	return k.launch(e)
}

func (k *Keeper) find(name string) (*entry, error) {
	if e, ok := k.entries[name]; ok {
		return e, nil
	}
	names := make([]string, 0, len(k.entries))
	for known := range k.entries {
		names = append(names, known)
	}
	sort.Strings(names)
	return nil, fmt.Errorf("there is no component %q; there are %v", name, names)
}

// launch starts the program of an entry, under the lock.
func (k *Keeper) launch(e *entry) error {
	if e.state.Alive {
		return nil
	}
	output, err := os.OpenFile(e.program.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer output.Close()
	pid, ended, err := k.reaper.Start(Launch{Path: e.program.Path, Args: e.program.Args, Env: k.env, Output: output})
	if err != nil {
		return err
	}
	e.state.PID, e.state.Alive, e.state.Paused, e.state.Since = pid, true, false, time.Now()
	e.gone = make(chan struct{})
	go k.watch(e, ended)
	return nil
}

// watch waits for the end of a program, and starts it again if it is wanted.
func (k *Keeper) watch(e *entry, ended <-chan syscall.WaitStatus) {
	status := <-ended
	k.mu.Lock()
	e.state.PID, e.state.Alive, e.state.Paused, e.state.Ended = 0, false, false, Describe(status)
	close(e.gone)
	wanted := e.wanted
	k.mu.Unlock()
	if !wanted {
		return
	}
	log.Printf("%s: %s; it is started again", e.program.Name, Describe(status))
	time.Sleep(restartDelay)
	k.mu.Lock()
	defer k.mu.Unlock()
	if !e.wanted || e.state.Alive {
		return
	}
	e.state.Restarts++
	if err := k.launch(e); err != nil {
		log.Printf("%s: %v", e.program.Name, err)
	}
}

// Kill ends a program at once, and leaves it dead.
func (k *Keeper) Kill(name string) error {
	return k.end(name, syscall.SIGKILL, 10*time.Second)
}

// Stop asks a program to end, and ends it if it does not.
func (k *Keeper) Stop(name string) error {
	if err := k.end(name, syscall.SIGTERM, 10*time.Second); err == nil {
		return nil
	}
	return k.Kill(name)
}

// Restart stops a program and starts it again.
func (k *Keeper) Restart(name string) error {
	if err := k.Stop(name); err != nil {
		return err
	}
	return k.Start(name)
}

func (k *Keeper) end(name string, signal syscall.Signal, patience time.Duration) error {
	k.mu.Lock()
	e, err := k.find(name)
	if err != nil {
		k.mu.Unlock()
		return err
	}
	e.wanted = false
	pid, gone, alive := e.state.PID, e.gone, e.state.Alive
	k.mu.Unlock()
	if !alive {
		return nil
	}
	for _, s := range []syscall.Signal{signal, syscall.SIGCONT} { // a paused one acts on nothing but the last signal
		if err := syscall.Kill(pid, s); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("signalling %s: %w", name, err)
		}
	}
	select {
	case <-gone:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("%s runs on %v after signal %v", name, patience, signal)
	}
}

// Pause stops a program in its tracks: its connections stay open and nothing
// answers on them.
func (k *Keeper) Pause(name string) error { return k.signal(name, syscall.SIGSTOP, true) }

// Resume lets a paused program go on.
func (k *Keeper) Resume(name string) error { return k.signal(name, syscall.SIGCONT, false) }

func (k *Keeper) signal(name string, signal syscall.Signal, paused bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	e, err := k.find(name)
	if err != nil {
		return err
	}
	if !e.state.Alive {
		return fmt.Errorf("%s does not run", name)
	}
	if err := syscall.Kill(e.state.PID, signal); err != nil {
		return fmt.Errorf("signalling %s: %w", name, err)
	}
	e.state.Paused = paused
	return nil
}

// Repair starts what does not run and resumes what is paused.
func (k *Keeper) Repair() error {
	for _, state := range k.States() {
		if state.Paused {
			if err := k.Resume(state.Name); err != nil {
				return err
			}
		}
		if err := k.Start(state.Name); err != nil {
			return err
		}
	}
	return nil
}

// States lists all programs by name.
func (k *Keeper) States() []State {
	k.mu.Lock()
	defer k.mu.Unlock()
	states := make([]State, 0, len(k.entries))
	for _, e := range k.entries {
		states = append(states, e.state)
	}
	sort.Slice(states, func(i, j int) bool { return states[i].Name < states[j].Name })
	return states
}
