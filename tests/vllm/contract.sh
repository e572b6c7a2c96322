#!/usr/bin/env bash
# contract.sh: run the engine contract against the real vLLM, on this machine's loopback. Installs it when it is missing.
# One engine answers the checks; the checks of how an engine stops start their own.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/vllm/common.sh
. "$here/common.sh"

"$here/install.sh"
"$here/model.sh"
cd "$here/../.."

# Left to itself, each engine holds on to the same processor, and a busy one keeps the others from getting anywhere.
export VLLM_CPU_OMP_THREADS_BIND=nobind
export VLLM_CPU_KVCACHE_SPACE=1 HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1
engine="$VLLM_VENV/bin/vllm serve $VLLM_MODELS/tiny --enforce-eager"
port=$("$VLLM_VENV/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
log=$VLLM_HOME/logs/contract-engine.log
mkdir -p "$VLLM_HOME/logs"

# In a session of its own, so that all of its processes can be ended together.
# shellcheck disable=SC2086
setsid $engine --served-model-name tiny tiny-alias --host 127.0.0.1 --port "$port" --max-model-len 2048 \
  --max-num-seqs 4 >"$log" 2>&1 &
pid=$!
trap 'kill -KILL -- -$pid 2>/dev/null || true' EXIT
say "the engine starts (log: $log)"
# It starts while the checks are compiled.
step "compile the contract" cargo test --locked --workspace --test contract --no-run
for ((second = 0; ; second++)); do
  if "$VLLM_VENV/bin/python" -S -c "import urllib.request as u; u.urlopen('http://127.0.0.1:$port/health', timeout=2)" \
    2>/dev/null; then
    break
  fi
  kill -0 "$pid" 2>/dev/null || die "the engine ended: $(tail -n 5 "$log")"
  ((second < 300)) || die "the engine did not answer within 300 s; its log is $log"
  ((second % 10 != 9)) || say "  waiting for the engine, $((second + 1)) s"
  sleep 1
done
say "the engine is ready; the contract is checked (two more engines are started, a minute or two)"
ENGINE_URL=http://127.0.0.1:$port ENGINE_COMMAND=$engine \
  cargo test --locked --workspace --test contract
