#!/usr/bin/env bash
# prepare.sh [CLUSTER]: make the real vLLM available to the pods of a local cluster (tests/cluster). It installs the engine
# and writes the tiny model when they are missing, loads an image, and applies a policy; then tests/vllm/pool.yaml works.
#
# The engine is 6.5 GB of files that this machine has already, so they are not packed into an image. The image holds an entry
# point and empty folders; a MutatingAdmissionPolicy gives each pod that uses it this machine's /usr, the engine and the
# models as read-only hostPath volumes. The paths are found out here, when the script runs.
#
# KUBECONFIG, KUBECTL and CLUSTER_TOOL name the cluster's kubeconfig, kubectl, and the program of tests/cluster.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/vllm/common.sh
. "$here/common.sh"

cluster=${1:-demo}
state=${QUARTERMASTER_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/quartermaster}
export KUBECONFIG=${KUBECONFIG:-$state/$cluster/kubeconfig}
# Where the pods find the engine; the image's entry point begins with it.
inside=/opt/vllm

main() {
  "$here/install.sh"
  "$here/model.sh"
  local python prefix
  python=$(readlink -f "$VLLM_VENV/bin/python")
  prefix=$("$python" -c 'import sys; print(sys.base_prefix)')
  readable "$VLLM_VENV" "$VLLM_MODELS"
  in_usr "$prefix" || readable "$prefix"
  local image=$VLLM_HOME/image.tar
  tool image --out "$image" --tag "$VLLM_IMAGE" --user 65532:65532 --entrypoint "$inside/bin/python" \
    --entrypoint -m --entrypoint vllm.entrypoints.cli.main --entrypoint serve \
    --env PATH=/usr/bin --env HOME=/tmp --dir "$inside" --dir /models --dir /usr
  tool load --name "$cluster" "$image"
  policy "$prefix" >"$VLLM_HOME/policy.yaml"
  kube apply --server-side --filename "$VLLM_HOME/policy.yaml"
  wait_for_policy
  say "pods with the image $VLLM_IMAGE run the engine from now on"
}

kube() { "${KUBECTL:-kubectl}" "$@"; }

# The API server follows policies with a watch; a pod that comes before it has heard would start without an engine.
wait_for_policy() {
  local volumes deadline=$((SECONDS + 30))
  while ((SECONDS < deadline)); do
    volumes=$(kube create --dry-run=server --output 'jsonpath={.spec.volumes[*].name}' --filename - <<YAML
{apiVersion: v1, kind: Pod, metadata: {generateName: vllm-policy-}, spec: {containers: [{name: engine, image: "$VLLM_IMAGE"}]}}
YAML
    ) || true
    [[ $volumes != *host-engine* ]] || return 0
    sleep 0.2
  done
  die "the API server does not apply the policy: a trial pod was given the volumes: ${volumes:-none}"
}

# Everyone may read /usr, where it matters.
in_usr() { [[ $1/ == /usr/* ]]; }

# The program of tests/cluster; each clone has its own.
tool() {
  if [ -n "${CLUSTER_TOOL:-}" ]; then
    "$CLUSTER_TOOL" "$@"
  else
    (cd "$here/../cluster" && go run ./cmd/cluster "$@")
  fi
}

# The pods run as nobody's user; what it cannot read would only show as a crash.
readable() {
  local folder hidden
  for folder in "$@"; do
    hidden=$(find "$folder" \( -type d ! -perm -o+rx -o -type f ! -perm -o+r \) -print -quit)
    [ -z "$hidden" ] || die "other users cannot read $hidden; run: chmod -R o+rX $folder"
  done
}

# policy PREFIX: the policy and its binding. PREFIX is the Python installation, which /usr need not contain.
policy() {
  local names=() targets=() sources=() folder
  add() { names+=("$1") targets+=("$2") sources+=("$3"); }
  add host-engine "$inside" "$VLLM_VENV"
  add host-models /models "$VLLM_MODELS"
  add host-usr /usr /usr
  # Links into /usr on most systems, which the image does not have.
  for folder in bin lib lib64; do
    [ ! -d "/$folder" ] || add "host-$folder" "/$folder" "$(readlink -f "/$folder")"
  done
  in_usr "$1" || add host-python "$1" "$1"

  local volumes='' mounts='' at comma=''
  for at in "${!names[@]}"; do
    volumes+="$comma
            Object.spec.volumes{name: \"${names[at]}\", hostPath: Object.spec.volumes.hostPath{path: \"${sources[at]}\", type: \"Directory\"}}"
    mounts+="$comma
                Object.spec.containers.volumeMounts{name: \"${names[at]}\", mountPath: \"${targets[at]}\", readOnly: true}"
    comma=,
  done
  cat <<YAML
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata:
  name: vllm-from-this-machine
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules:
      - apiGroups: [""]
        apiVersions: [v1]
        operations: [CREATE]
        resources: [pods]
  matchConditions:
    - name: runs-the-engine
      expression: object.spec.containers.exists(c, c.image == "$VLLM_IMAGE")
  mutations:
    - patchType: ApplyConfiguration
      applyConfiguration:
        expression: |
          Object{spec: Object.spec{
            volumes: [$volumes
            ],
            containers: object.spec.containers.filter(c, c.image == "$VLLM_IMAGE").map(c, Object.spec.containers{
              name: c.name,
              volumeMounts: [$mounts
              ]
            })
          }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata:
  name: vllm-from-this-machine
spec:
  policyName: vllm-from-this-machine
YAML
}

main
