package verdict

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	luajson "layeh.com/gopher-json"
)

// deadline is how long Argo CD lets a script run.
const deadline = time.Second

// healthCheck is a health check in Lua. It runs in the interpreter that Argo CD uses, with the libraries that scripts from
// its configuration may use: the base functions and those of tables.
type healthCheck string

// GetResourceHealth runs the script on the object.
func (script healthCheck) GetResourceHealth(object *unstructured.Unstructured) (*health.HealthStatus, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	state.SetContext(ctx)

	text, err := object.MarshalJSON()
	if err != nil {
		return nil, err
	}
	value, err := luajson.Decode(state, text)
	if err != nil {
		return nil, err
	}
	state.SetGlobal("obj", value)
	if err := state.DoString(string(script)); err != nil {
		return nil, err
	}
	return read(state.Get(-1))
}

// read takes the health out of what the script returned.
func read(answer lua.LValue) (*health.HealthStatus, error) {
	if answer.Type() != lua.LTTable {
		return nil, fmt.Errorf("the script must return a table, not %s", answer.Type())
	}
	text, err := luajson.Encode(answer)
	if err != nil {
		return nil, err
	}
	var result health.HealthStatus
	if err := json.Unmarshal(text, &result); err != nil {
		return nil, err
	}
	switch result.Status {
	case health.HealthStatusHealthy, health.HealthStatusProgressing, health.HealthStatusDegraded,
		health.HealthStatusSuspended, health.HealthStatusMissing, health.HealthStatusUnknown:
		return &result, nil
	case "":
		return nil, errors.New("the script returned no status")
	default:
		return nil, fmt.Errorf("the script returned the status %q, which Argo CD does not know", result.Status)
	}
}
