#!/usr/bin/env bash
# What slow clients do to others: an even load of small requests, alone and beside clients that say nothing, drip, and read
# a stream by the byte; undisturbed and disturbed turns alternate. Prints both latencies and the router's memory. Then what
# open streams cost, and what an offer of three times the capacity does.
#
#   TURNS=3 SECONDS_EACH=10 benches/slow-clients.sh
set -euo pipefail
cd "$(dirname "$0")/.."

turns=${TURNS:-3}
seconds=${SECONDS_EACH:-10}
rate=${RATE:-500}
started=()
trap 'for p in "${started[@]}"; do kill "$p" 2>/dev/null || true; done' EXIT
ulimit -n "$(ulimit -Hn)"

if [ -z "${BIN:-}" ]; then
    cargo build --quiet --profile dist -p router --examples
    BIN=target/dist/examples
fi
read -r plain burst paced endless router <<<"$(python3 - <<'PY'
import socket
held = [socket.socket() for _ in range(5)]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))
PY
)"
"$BIN/fixed_upstream" "127.0.0.1:$plain" "127.0.0.1:$burst" "127.0.0.1:$paced" &
started+=($!)
"$BIN/bench_router" "127.0.0.1:$router" 1 "plain=127.0.0.1:$plain" "paced=127.0.0.1:$paced" \
    "endless=127.0.0.1:$endless" 2>/dev/null &
router_pid=$!
started+=("$router_pid")
sleep 1

memory() { awk -v what="$1" '/VmRSS/ { printf "memory %s: %.1f MB\n", what, $2 / 1024 }' /proc/"$router_pid"/status; }
normal() { "$BIN/open_load" "127.0.0.1:$router" "$1" "$2" "$seconds" "${3:-1000}"; }

normal plain "$rate" >/dev/null
memory "after some requests"
for turn in $(seq "$turns"); do
    echo "turn $turn, alone:  $(normal plain "$rate")"
    "$BIN/slow_clients" "127.0.0.1:$router" "127.0.0.1:$endless" 1000 1000 0 $((seconds + 4)) &
    slow=$!
    sleep 3
    echo "turn $turn, beside 1,000 silent and 1,000 dripping clients: $(normal plain "$rate")"
    memory "with them"
    wait "$slow"
done
"$BIN/slow_clients" "127.0.0.1:$router" "127.0.0.1:$endless" 0 0 500 $((seconds + 14)) &
slow=$!
# Until the sockets between are full, which is much work of the kernel.
sleep 12
echo "beside 500 slow readers of an endless stream: $(normal plain "$rate")"
memory "with them"
wait "$slow"
"$BIN/slow_clients" "127.0.0.1:$router" "127.0.0.1:$endless" 0 0 1000 8 &
slow=$!
sleep 5
memory "with 1,000 open streams that nobody takes"
wait "$slow"
for offer in ${OFFERS:-300 600 900 1200 1800 2700 3600}; do
    echo "streams of 65 tokens, $(normal paced "$offer")"
done
memory "after that"
