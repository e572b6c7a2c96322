// Package audit reads what the API server recorded of requests, so that tests
// can count the writes that the operator sends.
package audit

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Event is the part of a recorded event by which it is chosen and shown.
type Event struct {
	Stage  string    `json:"stage"`
	At     time.Time `json:"requestReceivedTimestamp"`
	Verb   string    `json:"verb"`
	URI    string    `json:"requestURI"`
	User   struct{ Username string }
	Object struct {
		Resource, Subresource, Namespace, Name, APIGroup string
	} `json:"objectRef"`
	Response struct{ Code int } `json:"responseStatus"`
}

// Filter chooses events. What is empty chooses all.
type Filter struct {
	Since                            time.Time
	Writes                           bool
	User, Group, Resource, Namespace string
}

var writes = []string{"create", "update", "patch", "delete", "deletecollection"}

func (f Filter) chooses(e Event) bool {
	matches := func(want, is string) bool { return want == "" || want == is }
	return !e.At.Before(f.Since) && (!f.Writes || slices.Contains(writes, e.Verb)) &&
		matches(f.User, e.User.Username) && matches(f.Group, e.Object.APIGroup) &&
		matches(f.Resource, e.Object.Resource) && matches(f.Namespace, e.Object.Namespace)
}

// ParseSince reads a time, or how long ago it was.
func ParseSince(text string) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a duration nor a time", text)
	}
	return at, nil
}

// Print prints the chosen events of a log, the oldest first.
func Print(out io.Writer, log string, filter Filter, asJSON bool) error {
	files, err := parts(log)
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := printFile(out, file, filter, asJSON); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// parts lists the files of a log: those that were put aside when they had
// grown large, which carry the time in their names, and the present one.
func parts(log string) ([]string, error) {
	if _, err := os.Stat(log); err != nil {
		return nil, errors.New("there is no audit log; is the cluster up?")
	}
	extension := filepath.Ext(log)
	old, err := filepath.Glob(strings.TrimSuffix(log, extension) + "-*" + extension)
	if err != nil {
		return nil, err
	}
	slices.Sort(old)
	return append(old, log), nil
}

func printFile(out io.Writer, file string, filter Filter, asJSON bool) error {
	opened, err := os.Open(file)
	if err != nil {
		return err
	}
	defer opened.Close()
	for reader := bufio.NewReader(opened); ; {
		// Not a scanner: a line holds whole objects and has no limit.
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // a last line without end is still being written
		}
		if err != nil {
			return err
		}
		var event Event
		if err := json.Unmarshal(line, &event); err != nil {
			continue // cut off when the API server was killed
		}
		if !filter.chooses(event) {
			continue
		}
		if asJSON {
			_, err = out.Write(line)
		} else {
			_, err = fmt.Fprintln(out, event)
		}
		if err != nil {
			return err
		}
	}
}

// String shows an event in a line.
func (e Event) String() string {
	about := e.URI
	if o := e.Object; o.Resource != "" {
		about = o.Resource
		if o.APIGroup != "" {
			about += "." + o.APIGroup
		}
		if o.Subresource != "" {
			about += "/" + o.Subresource
		}
		about += " " + strings.TrimPrefix(o.Namespace+"/"+o.Name, "/")
	}
	return fmt.Sprintf("%s %d %-6s %s by %s", e.At.UTC().Format("15:04:05.000"), e.Response.Code, e.Verb, about, e.User.Username)
}
