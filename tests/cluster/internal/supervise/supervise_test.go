package supervise

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// reaper is one for all tests, as there must be one only in a process.
var reaper = sync.OnceValue(NewReaper)

var env = []string{"PATH=/usr/bin:/bin"}

func newKeeper(t *testing.T, script string) *Keeper {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	k := NewKeeper(reaper(), env, []Program{{Name: "it", Path: "sh", Args: []string{"-c", script}, Log: log}})
	t.Cleanup(func() { _ = k.Kill("it") })
	return k
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so: %s", what)
		}
	}
}

func TestKilledStaysDeadUntilStarted(t *testing.T) {
	k := newKeeper(t, "exec sleep 60")
	if err := k.Start("it"); err != nil {
		t.Fatal(err)
	}
	pid := k.States()[0].PID
	if err := k.Start("it"); err != nil || k.States()[0].PID != pid {
		t.Fatal("starting what runs must do nothing")
	}
	if err := k.Kill("it"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(restartDelay + 200*time.Millisecond)
	if state := k.States()[0]; state.Alive || state.Ended != "ended by signal killed" {
		t.Fatalf("after the kill: %+v", state)
	}
	if err := k.Kill("it"); err != nil {
		t.Errorf("killing the dead: %v", err)
	}
	if err := k.Start("it"); err != nil || !k.States()[0].Alive {
		t.Errorf("started: %v", err)
	}
}

func TestWhatEndsByItselfIsStartedAgain(t *testing.T) {
	k := newKeeper(t, "exit 3")
	if err := k.Start("it"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "restarted", func() bool { return k.States()[0].Restarts > 0 })
	eventually(t, "the reason is told", func() bool { return k.States()[0].Ended == "exit status 3" })
}

func TestPauseAndResume(t *testing.T) {
	k := newKeeper(t, "exec sleep 60")
	if err := k.Pause("it"); err == nil {
		t.Error("what does not run was paused")
	}
	if err := k.Start("it"); err != nil {
		t.Fatal(err)
	}
	if err := k.Pause("it"); err != nil || !k.States()[0].Paused {
		t.Fatalf("paused: %v", err)
	}
	if err := k.Restart("it"); err != nil || k.States()[0].Paused || !k.States()[0].Alive {
		t.Fatalf("a paused program must be restarted, too: %v", err)
	}
	if err := k.Pause("it"); err != nil {
		t.Fatal(err)
	}
	if err := k.Repair(); err != nil || k.States()[0].Paused {
		t.Errorf("repaired: %v", err)
	}
}

func TestUnknownComponent(t *testing.T) {
	k := newKeeper(t, "")
	for name, do := range map[string]func(string) error{"start": k.Start, "kill": k.Kill, "pause": k.Pause, "restart": k.Restart} {
		if err := do("other"); err == nil || !strings.Contains(err.Error(), "[it]") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRun(t *testing.T) {
	said, err := reaper().Run(Launch{Path: "sh", Args: []string{"-c", "echo out; echo err >&2"}, Env: env})
	if err != nil || said != "out\nerr" {
		t.Errorf("got %q, %v", said, err)
	}
	if _, err := reaper().Run(Launch{Path: "sh", Args: []string{"-c", "echo why; exit 4"}, Env: env}); err == nil || !strings.Contains(err.Error(), "exit status 4: why") {
		t.Errorf("got %v", err)
	}
	if _, err := reaper().Run(Launch{Path: "no-such-program", Env: env}); err == nil {
		t.Error("what is not there was run")
	}
}
