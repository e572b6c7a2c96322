//go:build heavy

// Command kube is every program of the test cluster in one file. It runs the
// one that its own name, or its first argument, asks for.
//
// One program instead of ten because they share most of their packages: apart
// they would compile and link the same libraries again and again, which on two
// cores is the difference between twelve minutes and half an hour.
//
// The build tag keeps `go vet ./...` and `go test ./...` of this module from
// compiling all of Kubernetes with other settings than `cluster tools` does,
// which would take as long again.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

// commands maps the name of a program to what runs it. The function reads
// os.Args, of which the first element is the program's own name, and returns
// the exit status.
var commands = map[string]func() int{
	"coredns":                 runCoreDNS,
	"crane":                   runCrane,
	"etcd":                    runEtcd,
	"helm":                    runHelm,
	"kube-apiserver":          runAPIServer,
	"kube-controller-manager": runControllerManager,
	"kube-proxy":              runProxy,
	"kube-scheduler":          runScheduler,
	"kubectl":                 runKubectl,
	"kubelet":                 runKubelet,
}

func main() {
	run, ok := commands[filepath.Base(os.Args[0])]
	if !ok && len(os.Args) > 1 {
		if run, ok = commands[os.Args[1]]; ok {
			os.Args = os.Args[1:]
		}
	}
	if !ok {
		fmt.Fprintf(os.Stderr, "usage: kube COMMAND [ARGUMENT...]\ncommands: %s\n", strings.Join(names(), ", "))
		os.Exit(2)
	}
	os.Exit(run())
}

// names lists the commands in the order of the alphabet.
func names() []string {
	all := make([]string, 0, len(commands))
	for name := range commands {
		all = append(all, name)
	}
	sort.Strings(all)
	return all
}
