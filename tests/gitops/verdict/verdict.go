// Package verdict says what tools for deployment make of an object: kstatus, which Flux and Helm 4 wait by, and Argo CD.
// Both are asked through their own libraries.
package verdict

import (
	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// NoHealth is what Argo CD shows for a kind that it has no health check for: nothing, as if the object did not count.
const NoHealth = "none"

// Verdict is what one tool says of an object.
type Verdict struct {
	Status  string
	Message string
}

// Kstatus is the verdict of kstatus.
func Kstatus(object *unstructured.Unstructured) (Verdict, error) {
	result, err := status.Compute(object)
	if err != nil {
		return Verdict{}, err
	}
	return Verdict{result.Status.String(), result.Message}, nil
}

// Argo is the verdict of Argo CD when its configuration holds the health check script for the object's kind. An empty
// script stands for an Argo CD as it comes.
func Argo(object *unstructured.Unstructured, script string) (Verdict, error) {
	var override health.HealthOverride
	if script != "" {
		override = healthCheck(script)
	}
	result, err := health.GetResourceHealth(object, override)
	if err != nil {
		return Verdict{}, err
	}
	if result == nil {
		return Verdict{Status: NoHealth}, nil
	}
	return Verdict{string(result.Status), result.Message}, nil
}
