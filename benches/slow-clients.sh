#!/usr/bin/env bash
# What clients that cost a server patience do to 32 normal ones: these ask one request after the other, alone and beside
# 1,000 that say nothing and 1,000 that drip a head or a body; turns alternate, medians are compared. Then what 500 readers
# that take a byte a second, and 1,000 streams that nobody takes, cost in memory. The router has a processor of its own,
# all clients and the engine share the other one.
#
#   TURNS=5 SECONDS_EACH=6 benches/slow-clients.sh
set -euo pipefail
cd "$(dirname "$0")/.."

turns=${TURNS:-5}
seconds=${SECONDS_EACH:-6}
. benches/lib.sh
need wrk
ulimit -n "$(ulimit -Hn)"

if [ -z "${BIN:-}" ]; then
    cargo build --quiet --profile dist -p router --examples
    BIN=target/dist/examples
fi
read -r plain burst paced endless router <<<"$(free_ports 5)"
start taskset -c 1 "$BIN/fixed_upstream" "127.0.0.1:$plain" "127.0.0.1:$burst" "127.0.0.1:$paced"
start taskset -c 0 "$BIN/bench_router" "127.0.0.1:$router" 1 "plain=127.0.0.1:$plain" "paced=127.0.0.1:$paced" \
    "endless=127.0.0.1:$endless" 2>/dev/null
router_pid=$!
answers "http://127.0.0.1:$router/v1/models"

memory() { awk -v what="$1" '/VmRSS/ { printf "memory %s: %.1f MB\n", what, $2 / 1024 }' /proc/"$router_pid"/status; }
slow() { taskset -c 1 "$BIN/slow_clients" "127.0.0.1:$router" "127.0.0.1:$endless" "$@" & slow=$!; }
normal() { # model how: prints wrk's median and 99th percentile in microseconds
    cat >"$work/ask.lua" <<LUA
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["content-type"] = "application/json"
wrk.body = [[{"model":"$1","stream":true,"max_tokens":64,"messages":[{"role":"user","content":"Say something about the weather."}]}]]
done = function(summary, latency)
    local errors = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write
    io.write(string.format("\nFIGURES %d %d %d\n", latency:percentile(50), latency:percentile(99), errors))
end
LUA
    taskset -c 1 wrk -t1 -c32 -d"${seconds}s" -s "$work/ask.lua" "http://127.0.0.1:$router" |
        awk -v model="$1" -v how="$2" '/^FIGURES/ { print model, how, $2, $3, $4 }'
}

normal plain warm >/dev/null
memory "after some requests"
for turn in $(seq "$turns"); do
    for model in plain paced; do
        normal "$model" alone | tee -a "$work/figures"
        slow 1000 1000 0 $((seconds + 4))
        sleep 3
        normal "$model" beside | tee -a "$work/figures"
        [ "$turn" = "$turns" ] && memory "beside 2,000 of them"
        wait "$slow"
    done
done
# Until the sockets between are full, which is much work of the kernel.
slow 0 0 500 $((seconds + 14))
sleep 12
normal paced readers | tee -a "$work/figures"
memory "beside 500 slow readers of an endless stream"
wait "$slow"
slow 0 0 1000 8
sleep 5
memory "with 1,000 open streams that nobody takes"
wait "$slow"
python3 - "$work/figures" <<'PY'
import collections
import statistics
import sys

figures = collections.defaultdict(list)
for line in open(sys.argv[1]):
    model, how, *rest = line.split()
    figures[model, how].append([int(figure) for figure in rest])
median = lambda model, how, at: statistics.median(row[at] for row in figures[model, how])
for model in ("plain", "paced"):
    alone, beside = median(model, "alone", 1), median(model, "beside", 1)
    errors = sum(row[2] for how in ("alone", "beside") for row in figures[model, how])
    print(f"{model}: p50 {median(model, 'alone', 0):.0f} us alone, {median(model, 'beside', 0):.0f} beside; "
          f"p99 {alone:.0f} alone, {beside:.0f} beside, {beside / alone:.2f} times; {errors} errors")
print(f"paced beside slow readers: p99 {median('paced', 'readers', 1):.0f} us")
PY
