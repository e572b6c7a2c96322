// Command cluster makes a real Kubernetes on a machine without Docker, and
// lets tests do to it what happens to clusters: components die, hang and come
// back, nodes come and go.
//
// It uses the standard library only, so that `go run` starts it in a second or
// two. Whatever is heavy is in command kube, which it builds once.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/node"
)

// call is one use of the program.
type call struct {
	ctx     context.Context
	flags   *flag.FlagSet
	name    string
	cluster layout.Cluster
	// args are the arguments that are not flags.
	args []string
}

// command is something that the program can do.
type command struct {
	usage, help string
	// define adds the command's flags and returns what runs it.
	define func(*call) func() error
}

// commands by name. The names of the node's stages are not for users.
func commands() map[string]command {
	return map[string]command{
		"tools":   {"", "install and build what is missing; print the folder of programs", defineTools},
		"up":      {"", "make the cluster, or repair it; does nothing if it is well", defineUp},
		"down":    {"", "remove the cluster and all its traces", defineDown},
		"status":  {"", "show components, nodes and kubeconfig", defineStatus},
		"kill":    {"COMPONENT", "end a component at once and leave it dead", operation(node.OpKill)},
		"pause":   {"COMPONENT", "stop a component in its tracks", operation(node.OpPause)},
		"resume":  {"COMPONENT", "let a paused component go on", operation(node.OpResume)},
		"start":   {"COMPONENT", "start a component that does not run", operation(node.OpStart)},
		"restart": {"COMPONENT", "end a component in order and start it again", operation(node.OpRestart)},
		"load":    {"IMAGE.tar…", "put images into the node's container runtime", defineLoad},
		"image":   {"", "build an image without a container engine", defineImage},
		"node":    {"add|rm NAME", "add or remove a node that exists in the API only", defineNode},
		"audit":   {"", "print what the API server recorded of requests", defineAudit},
		"exec":    {"-- COMMAND…", "run a command inside of the node", defineExec},
		"logs":    {"COMPONENT", "print the end of a component's log", defineLogs},

		node.FirstStage:  {"", "", stage(node.RunFirstStage)},
		node.SecondStage: {"", "", stage(node.RunSecondStage)},
	}
}

// order is that of the help.
var order = []string{
	"tools", "up", "down", "status", "kill", "pause", "resume", "start", "restart",
	"load", "image", "node", "audit", "exec", "logs",
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(0)
	case err != nil:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, arguments []string) error {
	all := commands()
	if len(arguments) == 0 || arguments[0] == "help" || strings.HasPrefix(arguments[0], "-") {
		printHelp(all)
		if len(arguments) == 0 {
			return errors.New("say what to do")
		}
		return nil
	}
	name := arguments[0]
	chosen, ok := all[name]
	if !ok {
		printHelp(all)
		return fmt.Errorf("there is no command %q", name)
	}
	c := &call{ctx: ctx, flags: flag.NewFlagSet(name, flag.ContinueOnError)}
	c.flags.StringVar(&c.name, "name", "demo", "the cluster's `name`")
	act := chosen.define(c)
	c.flags.Usage = func() {
		fmt.Fprintf(os.Stderr, "usage: cluster %s [FLAGS] %s\n%s\n", name, chosen.usage, chosen.help)
		c.flags.PrintDefaults()
	}
	if err := c.parse(arguments[1:]); err != nil {
		return err
	}
	var err error
	if c.cluster, err = layout.New(c.name); err != nil {
		return err
	}
	return act()
}

// parse lets flags stand before, between and after the other arguments; what
// follows "--" is taken as it is.
func (c *call) parse(arguments []string) error {
	var verbatim []string
	for i, argument := range arguments {
		if argument == "--" {
			arguments, verbatim = arguments[:i], arguments[i+1:]
			break
		}
	}
	for {
		if err := c.flags.Parse(arguments); err != nil {
			return err
		}
		arguments = c.flags.Args()
		if len(arguments) == 0 {
			break
		}
		c.args = append(c.args, arguments[0])
		arguments = arguments[1:]
	}
	c.args = append(c.args, verbatim...)
	return nil
}

// given tells which flags were given.
func (c *call) given() map[string]bool {
	given := map[string]bool{}
	c.flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return given
}

// one returns the only argument.
func (c *call) one(what string) (string, error) {
	if len(c.args) != 1 {
		return "", fmt.Errorf("give one %s", what)
	}
	return c.args[0], nil
}

// none refuses arguments where there is no use for any.
func (c *call) none() error {
	if len(c.args) > 0 {
		return fmt.Errorf("%q means nothing here", c.args[0])
	}
	return nil
}

func printHelp(all map[string]command) {
	fmt.Fprint(os.Stderr, "usage: cluster COMMAND [FLAGS] [ARGUMENTS]\n\n")
	for _, name := range order {
		fmt.Fprintf(os.Stderr, "  %-24s %s\n", name+" "+all[name].usage, all[name].help)
	}
	fmt.Fprint(os.Stderr, "\nEvery command takes --name NAME (\"demo\" if not given), and --help.\n")
}

// stage runs a part of the node's first process.
func stage(part func(layout.Cluster) error) func(*call) func() error {
	return func(c *call) func() error {
		return func() error { return part(c.cluster) }
	}
}
