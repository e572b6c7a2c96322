#!/usr/bin/env bash
# How fast the operator follows many pools, what it costs, and whether it is quiet afterwards, against a real API server
# with its controllers. The pools have no replicas: what is measured is the operator, not the node.
#
#   POOLS=200 REST=600 benches/operator-at-scale.sh
#   POOLS=5000 REST=60 benches/operator-at-scale.sh
#   POOLS=100 RATE=2 benches/operator-at-scale.sh
#
# POOLS are made as fast as the API server takes them, or RATE of them a second; then nothing is touched for REST seconds. The time from a pool's
# creation to its Deployment's is read from the API server's audit log. OPERATOR names a program that is built already.
set -euo pipefail
cd "$(dirname "$0")/.."

pools=${POOLS:-200}
rest=${REST:-60}
rate=${RATE:-0}
name=${CLUSTER_NAME:-scale}
admin=19090
proxy=18001
work=$(mktemp -d)
started=()
trap 'for p in "${started[@]}"; do kill "$p" 2>/dev/null || true; done; target/cluster down --name "$name" >/dev/null 2>&1 || true; rm -rf "$work"' EXIT

(cd tests/cluster && CGO_ENABLED=0 go build -trimpath -o ../../target/cluster ./cmd/cluster)
program=${OPERATOR:-target/release/operator}
[ -n "${OPERATOR:-}" ] || cargo build --quiet --release -p operator
target/cluster up --name "$name" >"$work/up.log" 2>&1 || { cat "$work/up.log"; exit 1; }
KUBECONFIG=$(target/cluster status --name "$name" | sed -n 's/^kubeconfig: //p')
export KUBECONFIG
PATH=$(target/cluster tools | tail -1):$PATH
kubectl apply --server-side --filename crds/ >/dev/null
kubectl create namespace scale >/dev/null
kubectl wait --for=condition=Established crd --all >/dev/null

"$program" --admin-listen "127.0.0.1:$admin" 2>"$work/operator.err" >"$work/operator.log" &
operator=$!
started+=("$operator")
kubectl proxy --port "$proxy" >/dev/null &
started+=($!)
for _ in $(seq 100); do
    curl --silent --fail "http://127.0.0.1:$admin/readyz" >/dev/null && break
    sleep 0.1
done

python3 - "$pools" "$rest" "$operator" "$proxy" "$admin" "$rate" <<'PY'
import concurrent.futures, http.client, json, os, re, sys, threading, time

pools, rest, operator, proxy, admin, rate = (int(a) for a in sys.argv[1:7])
local = threading.local()
POOLS = "/apis/quartermaster.dev/v1alpha1/namespaces/scale/inferencepools"


def ask(port, method, path, body=None):
    if getattr(local, "to", {}).get(port) is None:
        local.to = {**getattr(local, "to", {}), port: http.client.HTTPConnection("127.0.0.1", port, timeout=60)}
    connection = local.to[port]
    connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status >= 300:
        raise SystemExit(f"{method} {path}: {answer.status} {text[:300]}")
    return text


def make(i):
    if rate:
        time.sleep(max(0, begun + i / rate - time.monotonic()))
    spec = {"model": {"source": "file:///models/tiny"}, "engine": {"image": "engine:v1"}, "replicas": 0}
    body = {"apiVersion": "quartermaster.dev/v1alpha1", "kind": "InferencePool", "metadata": {"name": f"p{i}"}, "spec": spec}
    ask(proxy, "POST", POOLS, body)


def count(path, done=lambda item: True):
    found, more = 0, ""
    while True:
        page = json.loads(ask(proxy, "GET", f"{path}?limit=500{more}"))
        found += sum(1 for item in page["items"] if done(item))
        token = page["metadata"].get("continue")
        if not token:
            return found
        more = "&continue=" + token


def settled(pool):
    status = pool.get("status", {})
    ready = [c["status"] for c in status.get("conditions", []) if c["type"] == "Ready"]
    return status.get("observedGeneration") == pool["metadata"]["generation"] and ready == ["True"]


def process():
    fields = open(f"/proc/{operator}/stat").read().rsplit(")", 1)[1].split()
    seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    memory = dict(re.findall(r"(VmRSS|VmHWM):\s+(\d+)", open(f"/proc/{operator}/status").read()))
    return seconds, {name: int(kb) // 1024 for name, kb in memory.items()}


def figures(name):
    page = ask(admin, "GET", "/metrics").decode()
    lines = re.findall(rf"^{name}({{[^}}]*}})? (\S+)$", page, re.M)
    return {labels: float(value) for labels, value in lines}


begun, (before, _) = time.monotonic(), process()
with concurrent.futures.ThreadPoolExecutor(8) as threads:
    list(threads.map(make, range(pools)))
made = time.monotonic() - begun
while count(POOLS, settled) < pools:
    if time.monotonic() - begun > 1800:
        raise SystemExit("the pools did not settle within half an hour")
    time.sleep(1)
converged = time.monotonic() - begun
time.sleep(15)  # what follows the last write: echoes, and the other controllers
seconds, memory = process()
writes = figures("quartermaster_operator_writes_total")
print(f"{pools} pools made in {made:.1f} s, all settled after {converged:.1f} s")
print(f"operator: {seconds - before:.1f} s of processor time, {memory['VmRSS']} MB resident, {memory['VmHWM']} MB at most")
print(f"writes: {int(sum(writes.values()))}, {sum(writes.values()) / pools:.2f} for each pool: {writes}")

time.sleep(rest)
after, memory = process()
late = sum(figures("quartermaster_operator_writes_total").values()) - sum(writes.values())
print(f"at rest for {rest} s: {int(late)} writes, {100 * (after - seconds) / rest:.2f} % of a core, {memory['VmRSS']} MB resident")
PY

target/cluster audit --name "$name" --namespace scale --json | python3 -c '
import json, sys
from datetime import datetime

pools, deployments = {}, {}
for line in sys.stdin:
    event = json.loads(line)
    of, verb = event.get("objectRef", {}), event["verb"]
    if event.get("stage") != "ResponseComplete" or event.get("responseStatus", {}).get("code", 0) >= 300 or of.get("subresource"):
        continue
    at = datetime.fromisoformat(event["stageTimestamp"].replace("Z", "+00:00")).timestamp()
    if of.get("resource") == "inferencepools" and verb == "create":
        pools.setdefault(of.get("name") or (event.get("responseObject") or {}).get("metadata", {}).get("name"), at)
    if of.get("resource") == "deployments" and verb in ("create", "patch"):
        deployments.setdefault(of["name"], at)
lags = sorted(1000 * (deployments[name] - at) for name, at in pools.items() if name in deployments)
if not lags:
    raise SystemExit("the audit log tells of no pool and its Deployment")
at = lambda share: lags[min(len(lags) - 1, int(share * len(lags)))]
print(f"from a pool to its Deployment, {len(lags)} pools: p50 {at(0.5):.0f} ms, p99 {at(0.99):.0f} ms, longest {lags[-1]:.0f} ms")
'
