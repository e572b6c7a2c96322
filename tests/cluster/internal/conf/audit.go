package conf

// Heartbeat is the user as whom the node's own process writes to the API: it
// renews the leases of nodes without kubelet and gives the node its GPUs.
const Heartbeat = "quartermaster-heartbeat"

// auditPolicy records every write and every read that is not the system's own
// routine. For our resources it records what was written, so that a test can
// tell a needless write from a needed one.
func auditPolicy() object {
	reads := []string{"get", "list", "watch"}
	writes := []string{"create", "update", "patch", "delete", "deletecollection"}
	ours := []object{{"group": "quartermaster.dev"}}
	systemUsers := []string{
		"system:apiserver", "system:kube-controller-manager", "system:kube-scheduler",
		"system:kube-proxy", "system:coredns", Heartbeat,
	}
	systemGroups := []string{"system:nodes", "system:serviceaccounts:kube-system"}
	heartbeats := []object{
		{"group": "coordination.k8s.io", "resources": []string{"leases"}},
		{"group": "", "resources": []string{"nodes/status"}},
	}
	return object{
		"apiVersion": "audit.k8s.io/v1", "kind": "Policy",
		"omitStages": []string{"RequestReceived"},
		"rules": []object{
			{"level": "RequestResponse", "verbs": writes, "resources": ours},
			{"level": "None", "verbs": reads, "users": systemUsers},
			{"level": "None", "verbs": reads, "userGroups": systemGroups},
			{"level": "None", "users": systemUsers, "resources": heartbeats},
			{"level": "None", "userGroups": []string{"system:nodes"}, "resources": heartbeats},
			{"level": "None", "nonResourceURLs": []string{"/healthz*", "/readyz*", "/livez*", "/version", "/openapi*"}},
			{"level": "Metadata"},
		},
	}
}
