package main

import (
	"encoding/json"
	"fmt"
	"os"
	"text/tabwriter"

	"quartermaster.dev/tests/cluster/internal/lifecycle"
	"quartermaster.dev/tests/cluster/internal/node"
	"quartermaster.dev/tests/cluster/internal/say"
	"quartermaster.dev/tests/cluster/internal/tools"
)

func defineTools(c *call) func() error {
	return func() error {
		if err := c.none(); err != nil {
			return err
		}
		bin, err := tools.Get(c.ctx, say.New())
		if err != nil {
			return err
		}
		fmt.Println(bin)
		return nil
	}
}

func defineUp(c *call) func() error {
	var options lifecycle.Options
	c.flags.StringVar(&options.Gates, "gates", "", "feature `gates` of API server and controller manager, such as HPAScaleToZero=true")
	c.flags.StringVar(&options.HPASync, "hpa-sync", "2s", "`period` at which the autoscaler looks")
	c.flags.IntVar(&options.GPUs, "gpus", 8, "`number` of fake GPUs of the node")
	c.flags.BoolVar(&options.Fsync, "fsync", false, "let etcd wait for the disk, as in production")
	c.flags.StringVar(&options.ImageDir, "node-image-dir", "", "`folder` of which every *.tar is loaded into the node")
	return func() error {
		if err := c.none(); err != nil {
			return err
		}
		options.Given = c.given()
		return lifecycle.Up(c.ctx, c.cluster, options, say.New())
	}
}

func defineDown(c *call) func() error {
	return func() error {
		if err := c.none(); err != nil {
			return err
		}
		return lifecycle.Down(c.cluster, say.New())
	}
}

func defineStatus(c *call) func() error {
	asJSON := c.flags.Bool("json", false, "print JSON")
	return func() error {
		if err := c.none(); err != nil {
			return err
		}
		status := lifecycle.ReadStatus(c.ctx, c.cluster)
		if *asJSON {
			encoder := json.NewEncoder(os.Stdout)
			encoder.SetIndent("", "  ")
			return encoder.Encode(status)
		}
		return printStatus(status)
	}
}

func printStatus(status lifecycle.Status) error {
	fmt.Printf("cluster %s: %s\n", status.Name, status.Phase)
	if status.Problem != "" {
		fmt.Println(status.Problem)
	}
	if status.Kubeconfig != "" {
		fmt.Printf("kubeconfig: %s\nAPI server: %s\n", status.Kubeconfig, status.Server)
	}
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	if len(status.Components) > 0 {
		fmt.Fprintln(table, "\nCOMPONENT\tPID\tSTATE\tRESTARTS\tENDED")
	}
	for _, component := range status.Components {
		state := "dead"
		switch {
		case component.Paused:
			state = "paused"
		case component.Alive:
			state = "runs"
		}
		fmt.Fprintf(table, "%s\t%d\t%s\t%d\t%s\n", component.Name, component.PID, state, component.Restarts, component.Ended)
	}
	if len(status.Nodes) > 0 {
		fmt.Fprintln(table, "\nNODE\tREADY\tGPUS\tAPI ONLY\t")
	}
	for _, n := range status.Nodes {
		fmt.Fprintf(table, "%s\t%t\t%s\t%t\t\n", n.Name, n.Ready, n.GPUs, n.APIOnly)
	}
	return table.Flush()
}

// operation asks the node to do something to a component.
func operation(op string) func(*call) func() error {
	return func(c *call) func() error {
		return func() error {
			component, err := c.one("component")
			if err != nil {
				return err
			}
			if _, err := lifecycle.First(c.cluster); err != nil {
				return err
			}
			_, err = node.Ask(c.cluster.Socket(), node.Request{Op: op, Component: component})
			return err
		}
	}
}
