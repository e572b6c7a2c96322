package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"reflect"
	"strings"
	"testing"
)

func TestFlagsMayStandAnywhere(t *testing.T) {
	tests := []struct {
		line string
		name string
		args []string
	}{
		{"", "demo", nil},
		{"etcd", "demo", []string{"etcd"}},
		{"--name a etcd", "a", []string{"etcd"}},
		{"etcd --name a", "a", []string{"etcd"}},
		{"add x --name=a y", "a", []string{"add", "x", "y"}},
		{"--name a -- ls --name b -l", "a", []string{"ls", "--name", "b", "-l"}},
		{"ls -- --name b", "demo", []string{"ls", "--name", "b"}},
	}
	for _, test := range tests {
		c := &call{flags: flag.NewFlagSet("test", flag.ContinueOnError)}
		c.flags.StringVar(&c.name, "name", "demo", "")
		if err := c.parse(strings.Fields(test.line)); err != nil {
			t.Errorf("%q: %v", test.line, err)
		}
		if c.name != test.name || !reflect.DeepEqual(c.args, test.args) {
			t.Errorf("%q: got %s %v", test.line, c.name, c.args)
		}
	}
	c := &call{flags: flag.NewFlagSet("test", flag.ContinueOnError)}
	c.flags.SetOutput(io.Discard)
	if err := c.parse([]string{"x", "--nonsense"}); err == nil {
		t.Error("an unknown flag was taken")
	}
}

// What users mistype is answered with an error, and does nothing.
func TestBadCommandLinesAreRefused(t *testing.T) {
	t.Setenv("QUARTERMASTER_STATE", t.TempDir())
	for _, line := range []string{
		"", "nonsense", "up now", "down --name Nonsense", "down --name " + strings.Repeat("a", 21), "up --gpus many",
		"kill", "kill a b", "kill etcd", "load", "load /no/such.tar", "exec", "exec -- ls", "logs etcd",
		"image --tag localhost/x:1 --entrypoint /x", "image --out /dev/null --tag x --entrypoint /x",
		"image --env nonsense", "image --label =x", "image --file nonsense", "image --dir x:y",
		"node", "node add", "node move x", "node add x --label y", "node rm x", "audit", "audit --since yesterday",
		"node-first-stage", "node-second-stage",
	} {
		if err := run(context.Background(), strings.Fields(line)); err == nil || errors.Is(err, flag.ErrHelp) {
			t.Errorf("%q was taken: %v", line, err)
		}
	}
}

func TestHelpListsEveryCommand(t *testing.T) {
	listed := map[string]bool{}
	for _, name := range order {
		listed[name] = true
	}
	for name, command := range commands() {
		if command.help != "" && !listed[name] {
			t.Errorf("%s is not in the help", name)
		}
	}
}
