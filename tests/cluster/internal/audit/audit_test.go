package audit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	older = `{"stage":"ResponseComplete","requestReceivedTimestamp":"2026-11-21T10:00:00.000000Z","verb":"create","requestURI":"/x","user":{"username":"ann"},"objectRef":{"resource":"pods","namespace":"a","name":"p"},"responseStatus":{"code":201}}`
	newer = `{"stage":"ResponseComplete","requestReceivedTimestamp":"2026-11-21T11:00:00.500000Z","verb":"patch","requestURI":"/x","user":{"username":"bob"},"objectRef":{"resource":"inferencepools","namespace":"b","name":"q","apiGroup":"quartermaster.dev","subresource":"status"},"responseStatus":{"code":200}}`
	read  = `{"stage":"ResponseComplete","requestReceivedTimestamp":"2026-11-21T11:00:01.000000Z","verb":"get","requestURI":"/metrics","user":{"username":"bob"},"responseStatus":{"code":200}}`
)

// logOf writes a log whose older part was put aside and whose last line is
// still being written.
func logOf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"audit-2026-11-21T10-30-00.000.log": older + "\n",
		"audit.log":                         newer + "\n{\"cut off\n" + read + "\n" + older[:40],
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "audit.log")
}

func TestPrint(t *testing.T) {
	log := logOf(t)
	const (
		first  = "10:00:00.000 201 create pods a/p by ann"
		second = "11:00:00.500 200 patch  inferencepools.quartermaster.dev/status b/q by bob"
		third  = "11:00:01.000 200 get    /metrics by bob"
	)
	at := time.Date(2026, 11, 21, 10, 30, 0, 0, time.UTC)
	tests := []struct {
		name   string
		filter Filter
		want   []string
	}{
		{"all", Filter{}, []string{first, second, third}},
		{"since", Filter{Since: at}, []string{second, third}},
		{"writes", Filter{Writes: true}, []string{first, second}},
		{"user", Filter{User: "ann"}, []string{first}},
		{"group", Filter{Group: "quartermaster.dev"}, []string{second}},
		{"resource", Filter{Resource: "pods"}, []string{first}},
		{"namespace", Filter{Namespace: "b", Writes: true}, []string{second}},
		{"none", Filter{User: "carl"}, nil},
	}
	for _, test := range tests {
		var out strings.Builder
		if err := Print(&out, log, test.filter, false); err != nil {
			t.Fatal(err)
		}
		want := strings.Join(test.want, "\n")
		if got := strings.TrimSpace(out.String()); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", test.name, got, want)
		}
	}
	var out strings.Builder
	if err := Print(&out, log, Filter{Since: at, Writes: true}, true); err != nil || out.String() != newer+"\n" {
		t.Errorf("as JSON: got %s, %v", out.String(), err)
	}
	if err := Print(&out, filepath.Join(t.TempDir(), "audit.log"), Filter{}, false); err == nil {
		t.Error("a log that is not there was printed")
	}
}

func TestParseSince(t *testing.T) {
	if got, err := ParseSince("30s"); err != nil || time.Since(got) < 29*time.Second || time.Since(got) > 40*time.Second {
		t.Errorf("got %v, %v", got, err)
	}
	if got, err := ParseSince("2026-11-21T10:00:00Z"); err != nil || got.Hour() != 10 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := ParseSince("yesterday"); err == nil {
		t.Error("nonsense was read")
	}
}
