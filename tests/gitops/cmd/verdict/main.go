// The command verdict reads objects as `kubectl get --output json` prints them, and says what Flux and Argo CD make of each:
//
//	kubectl get qpool,qroute --all-namespaces --output json | verdict --health-check ../../manifests/argocd/health.lua
package main

import (
	"flag"
	"fmt"
	"io"
	"os"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"quartermaster.dev/tests/gitops/verdict"
)

func main() {
	check := flag.String("health-check", "", "file of the Lua health check that Argo CD is given; none: as it comes")
	flag.Parse()
	if err := run(*check, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "verdict:", err)
		os.Exit(1)
	}
}

func run(check string, in io.Reader, out io.Writer) error {
	var script []byte
	var err error
	if check != "" {
		if script, err = os.ReadFile(check); err != nil {
			return err
		}
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	objects, err := parse(text)
	if err != nil {
		return err
	}
	for i := range objects {
		if err := say(&objects[i], string(script), out); err != nil {
			return err
		}
	}
	return nil
}

// parse reads one object, or a list of them.
func parse(text []byte) ([]unstructured.Unstructured, error) {
	var object unstructured.Unstructured
	if err := object.UnmarshalJSON(text); err != nil {
		return nil, fmt.Errorf("standard input must be what `kubectl get --output json` prints: %w", err)
	}
	if !object.IsList() {
		return []unstructured.Unstructured{object}, nil
	}
	list, err := object.ToList()
	if err != nil {
		return nil, err
	}
	return list.Items, nil
}

// say prints a line of tab-separated words: kind, namespace/name, kstatus, Argo CD, and Argo CD's message.
func say(object *unstructured.Unstructured, script string, out io.Writer) error {
	kstatus, err := verdict.Kstatus(object)
	if err != nil {
		return err
	}
	argo, err := verdict.Argo(object, script)
	if err != nil {
		return err
	}
	name := object.GetNamespace() + "/" + object.GetName()
	_, err = fmt.Fprintf(out, "%s\t%s\t%s\t%s\t%s\n", object.GetKind(), name, kstatus.Status, argo.Status, argo.Message)
	return err
}
