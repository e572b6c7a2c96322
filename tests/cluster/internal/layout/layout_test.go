package layout

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"demo": true, "a": true, "a-1": true, strings.Repeat("a", 20): true,
		"": false, "-a": false, "a-": false, "A": false, "1a": false, "a/b": false, "..": false, "a b": false,
		strings.Repeat("a", 21): false,
	} {
		if _, err := New(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestClustersDoNotMeet(t *testing.T) {
	seen := map[string]string{}
	for _, root := range []string{"/home/a/state", "/home/b/state"} {
		t.Setenv("QUARTERMASTER_STATE", root)
		for _, name := range []string{"demo", "test"} {
			c, err := New(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Link()) > 15 {
				t.Errorf("the kernel refuses %s as a link's name", c.Link())
			}
			for _, thing := range []string{c.Link(), c.Cgroup(), c.Dir, c.ID} {
				if other, ok := seen[thing]; ok {
					t.Errorf("%s is used by %s and by %s", thing, other, c.Dir)
				}
			}
			for _, thing := range []string{c.Link(), c.Cgroup(), c.Dir, c.ID} {
				seen[thing] = c.Dir
			}
		}
	}
}
