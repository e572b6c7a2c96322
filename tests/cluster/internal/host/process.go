package host

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"quartermaster.dev/tests/cluster/internal/settings"
)

// Process identifies a process for ever: its number alone would, after its
// death or a restart of the machine, be somebody else's.
type Process struct {
	PID int `json:"pid"`
	// Started is the kernel's count of ticks from boot to the start.
	Started string `json:"started"`
	// Boot is the kernel's name of this run of the machine.
	Boot string `json:"boot"`
}

// Identify describes a process that runs now.
func Identify(pid int) (Process, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return Process{}, err
	}
	state, started, err := stat("/proc/" + strconv.Itoa(pid))
	if err != nil || state == "Z" && ended(pid) {
		return Process{}, fmt.Errorf("process %d has ended", pid)
	}
	return Process{PID: pid, Started: started, Boot: strings.TrimSpace(string(boot))}, nil
}

// ended tells whether no thread of a process runs any more. Its first thread
// alone does not tell: when another thread executes a program, the first one
// is a zombie for a moment, until the other has taken its place. That can
// happen between two readings, so one look is not enough: what has ended stays
// so.
func ended(pid int) bool {
	for range 10 {
		if runs(fmt.Sprintf("/proc/%d/task", pid)) {
			return false
		}
		time.Sleep(time.Millisecond)
	}
	return true
}

// runs tells whether one of the threads in this folder is not a zombie.
func runs(tasks string) bool {
	threads, err := os.ReadDir(tasks)
	if err != nil {
		return false
	}
	for _, thread := range threads {
		if state, _, err := stat(tasks + "/" + thread.Name()); err == nil && state != "Z" && state != "X" {
			return true
		}
	}
	return false
}

// stat reads the state and start time of the process, or thread, whose folder
// this is. The name before them may hold spaces and brackets, so that reading
// begins after the last bracket.
func stat(folder string) (state, started string, err error) {
	text, err := os.ReadFile(folder + "/stat")
	if err != nil {
		return "", "", err
	}
	end := strings.LastIndexByte(string(text), ')')
	fields := strings.Fields(string(text[end+1:]))
	if len(fields) < 20 {
		return "", "", fmt.Errorf("cannot read the state in %s", folder)
	}
	return fields[0], fields[19], nil
}

// Alive tells whether it is this very process that runs.
func (p Process) Alive() bool {
	now, err := Identify(p.PID)
	return p.PID > 0 && err == nil && now == p
}

// Save records the process in a file.
func (p Process) Save(path string) error { return settings.WriteJSON(path, p) }

// LoadProcess reads what Save wrote.
func LoadProcess(path string) (Process, error) {
	var p Process
	text, err := os.ReadFile(path)
	if err != nil {
		return p, err
	}
	return p, json.Unmarshal(text, &p)
}

// Kill ends the process at once, and waits until it is gone. As the first
// process of its namespace it takes all others there with it. Dead, it stays in
// the list of processes until its parent takes note; that is waited for too,
// but not for long, since it is not ours to command.
func (p Process) Kill(patience time.Duration) error {
	if !p.Alive() {
		return nil
	}
	if err := syscall.Kill(p.PID, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
		return fmt.Errorf("killing process %d: %w", p.PID, err)
	}
	for deadline := time.Now().Add(patience); p.Alive(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d lives on %v after it was killed", p.PID, patience)
		}
	}
	for deadline := time.Now().Add(2 * time.Second); p.listed() && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	return nil
}

// listed tells whether the process is in the list, be it dead or alive.
func (p Process) listed() bool {
	_, started, err := stat("/proc/" + strconv.Itoa(p.PID))
	return err == nil && started == p.Started
}

// InsidePIDs maps the numbers that processes have inside of the namespace of
// the given first process to those that they have here.
func InsidePIDs(first int) map[int]int {
	inside := map[int]int{}
	space, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", first))
	if err != nil {
		return inside
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return inside
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		if other, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err != nil || other != space {
			continue
		}
		if within, ok := innermost(pid); ok {
			inside[within] = pid
		}
	}
	return inside
}

// innermost is a process's number in its own namespace.
func innermost(pid int) (int, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, false
	}
	for _, line := range strings.Split(string(text), "\n") {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(rest)
			number, err := strconv.Atoi(fields[len(fields)-1])
			return number, err == nil
		}
	}
	return 0, false
}
