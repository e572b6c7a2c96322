#!/usr/bin/env bash
# contract.sh: run the engine contract against the real vLLM, on this machine's loopback, and then the official SDKs against it
# through the router. Installs it when it is missing.
# Three engines answer the checks: a plain one, one with adapters, tools and development mode, and one that answers with embeddings
# (their arguments are those of crates/vllm-sim/tests/contract/engine.rs). The checks of how an engine stops start their own.
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
mkdir -p "$VLLM_HOME/logs"
pids=()
trap 'for pid in "${pids[@]}"; do kill -KILL -- "-$pid" 2>/dev/null || true; done' EXIT

# start NAME ARGUMENTS...: starts an engine, and sets NAME_url and NAME_log.
start() {
  local name=$1 port log
  shift
  port=$("$VLLM_VENV/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  log=$VLLM_HOME/logs/contract-engine-$name.log
  # In a session of its own, so that all of its processes can be ended together.
  # shellcheck disable=SC2086
  setsid $engine --served-model-name tiny tiny-alias --host 127.0.0.1 --port "$port" --max-model-len 2048 \
    --max-num-seqs 4 "$@" >"$log" 2>&1 &
  pids+=($!)
  printf -v "${name}_url" 'http://127.0.0.1:%s' "$port"
  printf -v "${name}_log" '%s' "$log"
  say "the engine \"$name\" starts (log: $log)"
}

# wait_for URL LOG PID: waits until the engine is well.
wait_for() {
  local second
  for ((second = 0; ; second++)); do
    if "$VLLM_VENV/bin/python" -S -c "import urllib.request as u; u.urlopen('$1/health', timeout=2)" 2>/dev/null; then
      return
    fi
    kill -0 "$3" 2>/dev/null || die "the engine ended: $(tail -n 5 "$2")"
    ((second < 300)) || die "the engine did not answer within 300 s; its log is $2"
    ((second % 10 != 9)) || say "  waiting for the engine, $((second + 1)) s"
    sleep 1
  done
}

start plain
VLLM_SERVER_DEV_MODE=1 VLLM_ALLOW_RUNTIME_LORA_UPDATING=1 start full --block-size 128 --enable-lora --max-lora-rank 8 \
  --lora-modules "fixed=$VLLM_MODELS/tiny/adapter" --enable-prompt-tokens-details --enable-server-load-tracking \
  --max-num-queued-reqs 12 --enable-auto-tool-choice --tool-call-parser hermes
start pooling --runner pooling --convert embed
# They start while the checks are compiled.
step "compile the contract" cargo test --locked --workspace --test contract --no-run
if "$here/../sdk/install.sh" >/dev/null; then
  sdk=yes
  step "compile the router of the SDK checks" cargo build --locked --workspace --example sdk_router
else
  sdk=no
fi
# shellcheck disable=SC2154
wait_for "$plain_url" "$plain_log" "${pids[0]}"
# shellcheck disable=SC2154
wait_for "$full_url" "$full_log" "${pids[1]}"
# shellcheck disable=SC2154
wait_for "$pooling_url" "$pooling_log" "${pids[2]}"
say "the engines are ready; the contract is checked (three more engines are started, a minute or two)"
ENGINE_URL=$plain_url ENGINE_URL_FULL=$full_url ENGINE_URL_POOLING=$pooling_url ENGINE_COMMAND=$engine \
  ENGINE_ADAPTER=$VLLM_MODELS/tiny/adapter \
  cargo test --locked --workspace --test contract
if [ "$sdk" = yes ]; then
  say "the official SDKs meet the real engine, through the router"
  "$here/../sdk/run.sh" --engine "$full_url" --pooling "$pooling_url"
else
  say "the official SDKs could not be installed, so they do not meet the real engine"
fi
