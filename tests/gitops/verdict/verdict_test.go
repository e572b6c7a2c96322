package verdict

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"
)

const (
	checkout = "../../.."
	shipped  = checkout + "/manifests/argocd/health.lua"
)

// oneCase is a file that the Rust tests of operator-core write: an object in a state, and what must be said of it.
type oneCase struct {
	kstatus, argo string
	object        unstructured.Unstructured
}

func cases(t *testing.T) map[string]oneCase {
	t.Helper()
	files, err := filepath.Glob(checkout + "/crates/operator-core/tests/golden/verdicts/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: UPDATE_GOLDEN=1 cargo test -p operator-core verdicts writes them (%v)", err)
	}
	all := map[string]oneCase{}
	for _, file := range files {
		var c map[string]any
		// This decoder keeps integers as such, which the libraries rely on.
		if err := json.Unmarshal([]byte(content(t, file)), &c); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = oneCase{
			kstatus: c["kstatus"].(string),
			argo:    c["argo"].(string),
			object:  unstructured.Unstructured{Object: c["object"].(map[string]any)},
		}
	}
	return all
}

func content(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFluxAndArgoSayWhatPeopleExpect(t *testing.T) {
	script := content(t, shipped)
	for name, c := range cases(t) {
		t.Run(name, func(t *testing.T) {
			kstatus, err := Kstatus(&c.object)
			if err != nil || kstatus.Status != c.kstatus {
				t.Errorf("kstatus says %+v (%v), not %s", kstatus, err, c.kstatus)
			}
			argo, err := Argo(&c.object, script)
			if err != nil || argo.Status != c.argo {
				t.Errorf("Argo CD says %+v (%v), not %s", argo, err, c.argo)
			}
			if argo.Message == "" && c.argo != "Healthy" {
				t.Errorf("Argo CD says %s, but not why", argo.Status)
			}
		})
	}
}

// When this fails, Argo CD has learned to read conditions by itself: say so in docs/gitops.md, which tells people to add the
// script.
func TestArgoKnowsNothingWithoutTheScript(t *testing.T) {
	for name, c := range cases(t) {
		argo, err := Argo(&c.object, "")
		leaving := c.kstatus == "Terminating"
		if err != nil || (argo.Status != NoHealth && !leaving) {
			t.Errorf("%s: %+v (%v)", name, argo, err)
		}
	}
}

func TestAnObjectThatNobodyHasTouchedIsNotHealthy(t *testing.T) {
	script := content(t, shipped)
	for _, status := range []any{nil, map[string]any{}, map[string]any{"conditions": []any{}}} {
		object := map[string]any{"kind": "InferencePool", "metadata": map[string]any{"generation": int64(1)}}
		if status != nil {
			object["status"] = status
		}
		argo, err := Argo(&unstructured.Unstructured{Object: object}, script)
		if err != nil || argo.Status != "Progressing" {
			t.Errorf("%v: %+v (%v)", status, argo, err)
		}
	}
}

func TestScriptsThatAreWrongAreTold(t *testing.T) {
	for script, want := range map[string]string{
		"return 7":                        "must return a table",
		"return {status = \"Fine\"}":      "\"Fine\"",
		"return {message = \"hello\"}":    "no status",
		"while true do end":               "deadline",
		"return os.exit()":                "attempt to index",
		"return {status = obj.spec.none}": "attempt to index",
	} {
		_, err := Argo(&unstructured.Unstructured{Object: map[string]any{"kind": "RoutePolicy"}}, script)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v does not say %q", script, err, want)
		}
	}
}

// After a change of the script, UPDATE_GOLDEN=1 writes the ConfigMap.
func TestTheConfigMapHoldsTheScript(t *testing.T) {
	const file = checkout + "/manifests/argocd/argocd-cm.yaml"
	lines := strings.Split(strings.TrimSpace(content(t, shipped)), "\n")
	text := `# Made from health.lua by UPDATE_GOLDEN=1 go test ./verdict in tests/gitops. Do not edit.
apiVersion: v1
kind: ConfigMap
metadata:
  name: argocd-cm
  namespace: argocd
  labels:
    app.kubernetes.io/name: argocd-cm
    app.kubernetes.io/part-of: argocd
data:
  resource.customizations.health.quartermaster.dev_InferencePool: &health |
    ` + strings.Join(lines, "\n    ") + `
  resource.customizations.health.quartermaster.dev_RoutePolicy: *health
`
	if os.Getenv("UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if content(t, file) != text {
		t.Errorf("%s is stale: UPDATE_GOLDEN=1 writes it", file)
	}
	var configMap struct{ Data map[string]string }
	if err := yaml.Unmarshal([]byte(text), &configMap); err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	for _, c := range cases(t) {
		kinds[c.object.GetKind()] = true
	}
	for kind := range kinds {
		got := configMap.Data["resource.customizations.health.quartermaster.dev_"+kind]
		if strings.TrimSpace(got) != strings.Join(lines, "\n") {
			t.Errorf("%s has no health check, or another one: %q", kind, got)
		}
	}
}
