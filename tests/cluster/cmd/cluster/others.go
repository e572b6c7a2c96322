package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"quartermaster.dev/tests/cluster/internal/audit"
	"quartermaster.dev/tests/cluster/internal/fakenode"
	"quartermaster.dev/tests/cluster/internal/image"
	"quartermaster.dev/tests/cluster/internal/lifecycle"
	"quartermaster.dev/tests/cluster/internal/node"
	"quartermaster.dev/tests/cluster/internal/say"
)

func defineLoad(c *call) func() error {
	return func() error {
		if len(c.args) == 0 {
			return errors.New("give at least one archive of an image")
		}
		return lifecycle.Load(c.cluster, c.args, say.New())
	}
}

func defineImage(c *call) func() error {
	var spec image.Spec
	out := c.flags.String("out", "", "`file` to write")
	certs := c.flags.Bool("certs", false, "put in this machine's certificates of public authorities")
	c.flags.StringVar(&spec.Tag, "tag", "", "the image's `name`, such as localhost/router:1")
	c.flags.StringVar(&spec.User, "user", "", "`user[:group]` that the image runs as, by number")
	c.flags.Func("entrypoint", "`word` of the command line; give it again for each further one", func(text string) error {
		spec.Entrypoint = append(spec.Entrypoint, text)
		return nil
	})
	c.flags.Func("env", "`KEY=VALUE` for the environment", func(text string) error {
		if _, _, err := pair(text); err != nil {
			return err
		}
		spec.Env = append(spec.Env, text)
		return nil
	})
	spec.Labels = map[string]string{}
	c.flags.Func("label", "`KEY=VALUE` to label the image with", into(spec.Labels))
	c.flags.Func("file", "`SOURCE=TARGET[:MODE]` to copy into the image", func(text string) error {
		file, err := image.ParseFile(text)
		spec.Files = append(spec.Files, file)
		return err
	})
	c.flags.Func("dir", "`PATH[:MODE[:UID]]` of a folder to make in the image", func(text string) error {
		dir, err := image.ParseDir(text)
		spec.Dirs = append(spec.Dirs, dir)
		return err
	})
	return func() error {
		if err := c.none(); err != nil {
			return err
		}
		if *out == "" {
			return errors.New("--out says where to write the image")
		}
		if *certs {
			spec.Files = append(spec.Files, image.File{Source: image.CertsPath, Target: image.CertsPath, Mode: 0o644})
		}
		return spec.Write(*out)
	}
}

// pair divides KEY=VALUE.
func pair(text string) (key, value string, err error) {
	key, value, ok := strings.Cut(text, "=")
	if !ok || key == "" {
		return "", "", fmt.Errorf("%q is not of the form KEY=VALUE", text)
	}
	return key, value, nil
}

// into collects pairs.
func into(pairs map[string]string) func(string) error {
	return func(text string) error {
		key, value, err := pair(text)
		pairs[key] = value
		return err
	}
}

func defineNode(c *call) func() error {
	spec := fakenode.Spec{Labels: map[string]string{}}
	c.flags.IntVar(&spec.GPUs, "gpus", 0, "`number` of GPUs")
	c.flags.BoolVar(&spec.Schedulable, "schedulable", false, "let ordinary pods be bound to the node, where they stay Pending for ever")
	c.flags.Func("label", "`KEY=VALUE` to label the node with", into(spec.Labels))
	return func() error {
		if len(c.args) != 2 {
			return errors.New("give add or rm, and the node's name")
		}
		op, ok := map[string]string{"add": node.OpNodeAdd, "rm": node.OpNodeRemove}[c.args[0]]
		if !ok {
			return fmt.Errorf("%q is neither add nor rm", c.args[0])
		}
		if _, err := lifecycle.First(c.cluster); err != nil {
			return err
		}
		spec.Name = c.args[1]
		_, err := node.Ask(c.cluster.Socket(), node.Request{Op: op, Node: spec})
		return err
	}
}

func defineAudit(c *call) func() error {
	var filter audit.Filter
	asJSON := c.flags.Bool("json", false, "print the events as they were recorded, one a line")
	c.flags.Func("since", "leave out what is older: a `duration` such as 30s, or a time such as 2026-11-21T10:00:00Z", func(text string) error {
		since, err := audit.ParseSince(text)
		filter.Since = since
		return err
	})
	c.flags.BoolVar(&filter.Writes, "writes", false, "only requests that change something")
	c.flags.StringVar(&filter.User, "user", "", "only requests of the `user`")
	c.flags.StringVar(&filter.Group, "group", "", "only requests about the API `group`")
	c.flags.StringVar(&filter.Resource, "resource", "", "only requests about the `resource`")
	c.flags.StringVar(&filter.Namespace, "namespace", "", "only requests about the `namespace`")
	return func() error {
		if err := c.none(); err != nil {
			return err
		}
		return audit.Print(os.Stdout, c.cluster.Audit(), filter, *asJSON)
	}
}

func defineExec(c *call) func() error {
	return func() error {
		if len(c.args) == 0 {
			return errors.New("give a command after --")
		}
		first, err := lifecycle.First(c.cluster)
		if err != nil {
			return err
		}
		return replace(node.Enter(first, c.args...), lifecycle.Environment(c.cluster))
	}
}

func defineLogs(c *call) func() error {
	lines := c.flags.Int("lines", 50, "`number` of lines")
	follow := c.flags.Bool("follow", false, "go on as the log grows")
	return func() error {
		component, err := c.one("component")
		if err != nil {
			return err
		}
		file := c.cluster.Log(component)
		if _, err := os.Stat(file); err != nil {
			return fmt.Errorf("cluster %q has no log of %q", c.cluster.Name, component)
		}
		line := []string{"tail", "-n", fmt.Sprint(*lines)}
		if *follow {
			line = append(line, "-F")
		}
		return replace(append(line, file), os.Environ())
	}
}

// replace makes this process be another program's, which so has the terminal
// and the exit status to itself.
func replace(line, env []string) error {
	path, err := exec.LookPath(line[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, line, env)
}
