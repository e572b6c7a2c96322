package host

import (
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseMounts(t *testing.T) {
	text := `30 20 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
31 20 0:27 / /sys/fs/cgroup/systemd rw,relatime shared:9 - cgroup cgroup rw,xattr,release_agent=/lib/agent,name=systemd
32 20 0:28 /.. /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
33 20 0:26 /inner /somewhere rw - cgroup cgroup rw,cpu
34 20 0:26 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu,cpuacct
35 20 8:1 / / rw,relatime - ext4 /dev/vda rw
`
	got, err := parseMounts(strings.NewReader(text))
	want := []Hierarchy{
		{"/sys/fs/cgroup/cpu", "cgroup", "cpu,cpuacct"},
		{"/sys/fs/cgroup/systemd", "cgroup", "none,name=systemd"},
		{"/sys/fs/cgroup/unified", "cgroup2", ""},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %v, %v; want %v", got, err, want)
	}
}

func TestLockExcludesAndIsReleased(t *testing.T) {
	name := t.Name() + "-" + time.Now().String()
	first, err := Acquire(name, 0, func() {})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Acquire(name, 0, func() {}); err == nil {
		t.Fatal("a held lock was given away")
	}
	first.Release()
	second, err := Acquire(name, 0, func() {})
	if err != nil {
		t.Fatal(err)
	}
	second.Release()
}

func TestProcessIsNotTakenForAnother(t *testing.T) {
	me, err := Identify(os.Getpid())
	if err != nil || !me.Alive() {
		t.Fatalf("%v, %v", me, err)
	}
	for _, other := range []Process{
		{},
		{PID: me.PID, Started: me.Started + "0", Boot: me.Boot},
		{PID: me.PID, Started: me.Started, Boot: "another"},
	} {
		if other.Alive() {
			t.Errorf("%v was taken for %v", other, me)
		}
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	process, err := Identify(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	if process.Alive() {
		t.Error("a dead process that nobody has collected counts as alive")
	}
	_ = child.Wait()
}

// executions tells the child of the next test how often it is yet to execute
// itself.
const executions = "QUARTERMASTER_TEST_EXECUTIONS"

// TestMain is also the child: a process that executes itself again and again,
// each time from a thread that is not its first, and then waits.
func TestMain(m *testing.M) {
	left, err := strconv.Atoi(os.Getenv(executions))
	if err != nil {
		os.Exit(m.Run())
	}
	if left == 0 {
		_, _ = os.Stdout.WriteString("done")
		_, _ = os.Stdin.Read(make([]byte, 1))
		return
	}
	os.Setenv(executions, strconv.Itoa(left-1))
	// This one keeps the first thread, so that the other runs on another.
	runtime.LockOSThread()
	failed := make(chan error)
	go func() { failed <- syscall.Exec("/proc/self/exe", os.Args, os.Environ()) }()
	panic(<-failed)
}

func TestProcessLivesWhileItExecutesPrograms(t *testing.T) {
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), executions+"=300")
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	process, err := Identify(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_, _ = stdout.Read(make([]byte, 4))
		close(done)
	}()
	for looks := 0; ; looks++ {
		if !process.Alive() {
			t.Fatalf("look %d: a process that executes programs counts as dead", looks)
		}
		select {
		case <-done:
			stdin.Close()
			_ = child.Wait()
			return
		default:
		}
	}
}
