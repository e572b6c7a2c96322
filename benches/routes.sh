#!/usr/bin/env bash
# CPU per request of what a RoutePolicy adds: five rules asked (of which one wants the complexity), a target that is a
# provider's API, and one whose shape the client does not speak. In the same interleaved rounds: the router without any of
# these, nginx that only passes bytes, and LiteLLM, which translates too. The engine is fixed, so all else is the proxy. Last, a prompt of
# 1 MB through the router and nginx.
#
#   ROUNDS=5 SECONDS_EACH=3 benches/routes.sh
#   PEERS=1 benches/routes.sh       with LiteLLM, installed from PyPI beside this checkout's programs
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-3}
. benches/lib.sh
need nginx
need wrk
need python3

echo "building the router and the fixed upstream"
cargo build --quiet --profile dist -p router --examples
bin=target/dist/examples
read -r plain burst paced nginx_plain nginx_burst router litellm <<<"$(free_ports 7)"
start "$bin/fixed_upstream" "127.0.0.1:$plain" "127.0.0.1:$burst" "127.0.0.1:$paced"
start "$bin/bench_router" "127.0.0.1:$router" 1 "plain=127.0.0.1:$plain" "burst=127.0.0.1:$burst" \
    "ruled-plain=ruled@127.0.0.1:$plain" "ruled-burst=ruled@127.0.0.1:$burst" \
    "remote-plain=remote@127.0.0.1:$plain" "remote-burst=remote@127.0.0.1:$burst" 2>"$work/router.log"
router_pid=$!
start_nginx "$nginx_plain $plain on" "$nginx_burst $burst off"
answers "http://127.0.0.1:$router/v1/models"
if [ -n "${PEERS:-}" ]; then
    echo "installing LiteLLM $litellm_version"
    start_litellm "$litellm" "plain=$plain" "burst=$burst"
    litellm_pid=$!
fi

long=$(head -c 1000000 /dev/zero | tr '\0' 'a' | fold -w 50 | sed 's/^.*$/All of this was said before and is of no use now./' | tr '\n' ' ')
ask() { # name path model stream text
    cat >"$work/$1.lua" <<LUA
wrk.method = "POST"
wrk.path = "$2"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer sk-bench"
wrk.body = [[{"model":"$3","stream":$4,"max_tokens":64,"messages":[{"role":"user","content":"$5"}]}]]
LUA
}
text="Say something about the weather in a few words, please."
for model in plain burst; do
    stream=$([ "$model" = plain ] && echo false || echo true)
    ask "$model" /v1/chat/completions "$model" "$stream" "$text"
    for kind in ruled remote; do ask "$kind-$model" /v1/chat/completions "$kind-$model" "$stream" "$text"; done
    ask "translated-$model" /v1/messages "remote-$model" "$stream" "$text"
    ask "messages-$model" /v1/messages "$model" "$stream" "$text"
done
ask long /v1/chat/completions plain false "$long"
ask ruled-long /v1/chat/completions ruled-plain false "$long"

for round in $(seq "$rounds"); do
    echo "round $round of $rounds"
    for model in plain burst; do
        port=nginx_$model
        measure "$model-nginx" "$nginx_pid" "${!port}" "$model" 32
        for case in "$model" "ruled-$model" "remote-$model" "translated-$model"; do
            measure "$case" "$router_pid" "$router" "$case" 32
        done
        if [ -n "${PEERS:-}" ]; then
            # A stream takes it so long that 32 at once would not end in the time.
            measure "$model-litellm" "$litellm_pid" "$litellm" "$model" 4
            measure "translated-$model-litellm" "$litellm_pid" "$litellm" "messages-$model" 4
        fi
    done
    measure long-nginx "$nginx_pid" "$nginx_plain" long 4
    measure long "$router_pid" "$router" long 4
    measure ruled-long "$router_pid" "$router" ruled-long 4
done

python3 - "$work/figures" <<'PY'
import collections
import statistics
import sys

figures = collections.defaultdict(list)
for line in open(sys.argv[1]):
    name, nanoseconds, _ = line.split()
    figures[name].append(int(nanoseconds) / 1000)
print(f"\n{'':28} {'µs':>9} {'x nginx':>8}")
for name, all in figures.items():
    base = name.removesuffix("-litellm").split("-")[-1] if not name.endswith("-nginx") else name.removesuffix("-nginx")
    micros, nginx = statistics.median(all), statistics.median(figures[f"{base}-nginx"])
    print(f"{name:28} {micros:9.1f} {micros / nginx:8.2f}")
PY
