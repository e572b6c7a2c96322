#!/usr/bin/env bash
# CPU per request of the router's process beside nginx's, in one run on loopback: a plain answer, a stream whose 65 events
# come at once, and the same events 2 ms apart. Rounds are interleaved, so that whatever else the machine does falls on
# both alike; the medians are compared. The router is there a second time with two workers: what a request costs it then
# says how far two processors are twice one, without a third and a fourth for clients and engines. Last, what each adds to
# the latency of one client that asks one request after the other.
#
#   ROUNDS=5 SECONDS_EACH=4 benches/router-vs-nginx.sh
#   PEERS=1 benches/router-vs-nginx.sh
#
# With PEERS, sglang-router and LiteLLM are installed from PyPI beside this checkout's programs and measured in the same
# rounds.
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-4}
peers=${PEERS:-}
. benches/lib.sh
need nginx
need wrk
need python3

echo "building the router and the fixed upstream"
cargo build --quiet --profile dist -p router --examples
bin=target/dist/examples

read -r plain burst paced nginx_plain nginx_burst nginx_paced router pair \
    sglang_plain sglang_burst sglang_paced s1 s2 s3 litellm <<<"$(free_ports 15)"
start "$bin/fixed_upstream" "127.0.0.1:$plain" "127.0.0.1:$burst" "127.0.0.1:$paced"
engines=("plain=127.0.0.1:$plain" "burst=127.0.0.1:$burst" "paced=127.0.0.1:$paced")
start "$bin/bench_router" "127.0.0.1:$router" 1 "${engines[@]}" 2>"$work/router.log"
router_pid=$!
start "$bin/bench_router" "127.0.0.1:$pair" 2 "${engines[@]}" 2>"$work/pair.log"
pair_pid=$!
start_nginx "$nginx_plain $plain on" "$nginx_burst $burst off" "$nginx_paced $paced off"
answers "http://127.0.0.1:$router/v1/models"
answers "http://127.0.0.1:$pair/v1/models"

# Of each proxy and model: the process that is measured, and where it listens.
declare -A pid port
for model in plain burst paced; do
    of_nginx=nginx_$model
    pid[nginx,$model]=$nginx_pid port[nginx,$model]=${!of_nginx}
    pid[router,$model]=$router_pid port[router,$model]=$router
    pid[pair,$model]=$pair_pid port[pair,$model]=$pair
done
proxies=(nginx router pair)

start_peers() {
    echo "installing sglang-router $sglang_version and LiteLLM $litellm_version"
    venv sglang "sglang-router==$sglang_version"
    # It chooses by load, not by model: one for each upstream.
    local model listen upstream metrics=s1 folder=$PWD/target/peers
    for model in plain burst paced; do
        listen=sglang_$model upstream=$model
        (cd "$work" && exec "$folder/sglang/bin/python" -m sglang_router.launch_router --host 127.0.0.1 --port "${!listen}" \
            --worker-urls "http://127.0.0.1:${!upstream}" --policy round_robin --log-level warn \
            --prometheus-host 127.0.0.1 --prometheus-port "${!metrics}" >"$work/sglang-$model.log" 2>&1) &
        started+=($!)
        pid[sglang,$model]=$! port[sglang,$model]=${!listen}
        [ "$metrics" = s1 ] && metrics=s2 || metrics=s3
    done
    start_litellm "$litellm" "plain=$plain" "burst=$burst" "paced=$paced"
    local litellm_pid=$!
    for model in plain burst paced; do pid[litellm,$model]=$litellm_pid port[litellm,$model]=$litellm; done
    for model in plain burst paced; do
        for proxy in sglang litellm; do
            for try in $(seq 120); do
                curl -sf -m 5 -o /dev/null -H 'content-type: application/json' -H 'authorization: Bearer sk-bench' \
                    -d "{\"model\":\"$model\",\"stream\":$([ "$model" = plain ] && echo false || echo true),\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}" \
                    "http://127.0.0.1:${port[$proxy,$model]}/v1/chat/completions" && continue 2
                sleep 0.5
            done
            echo "$proxy does not answer for $model"; tail -n 20 "$work/$proxy"*.log; exit 1
        done
    done
    proxies+=(sglang litellm)
}
[ -z "$peers" ] || start_peers

ask() { # model: the script that makes wrk ask for it
    cat >"$work/$1.lua" <<LUA
wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["content-type"] = "application/json"
wrk.headers["authorization"] = "Bearer sk-bench"
wrk.body = [[{"model":"$1","stream":true,"max_tokens":64,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Say something about the weather in a few words, please."}]}]]
LUA
}

of_proxy() { # proxy model
    local seconds=$seconds
    # It ends none of these streams within a few seconds.
    [ "$1-$2" = litellm-paced ] && seconds=$((5 * seconds))
    measure "$1 $2" "${pid[$1,$2]}" "${port[$1,$2]}" "$2" "$(connections "$1" "$2")"
}

connections() { # proxy model: of the two workers of `pair`, each has as much to do as the one of `router`
    case $1-$2 in pair-paced) echo 128 ;; *-paced) echo 64 ;; *) echo 32 ;; esac
}

for model in plain burst paced; do ask "$model"; done
for round in $(seq "$rounds"); do
    echo "round $round of $rounds"
    for model in plain burst paced; do
        for proxy in "${proxies[@]}"; do
            of_proxy "$proxy" "$model"
        done
    done
done

# On one processor: waking another one takes a virtual machine tens of microseconds, now in one place, now in another.
for started_pid in "${started[@]}" "$nginx_pid"; do taskset -acp 0 "$started_pid" >/dev/null; done
latency() { # name port: microseconds of the median request of one client
    local ask="$work/plain.lua"
    echo "done = function(_, latency) io.write(string.format('MEDIAN %d\\n', latency:percentile(50))) end" |
        cat "$ask" - >"$work/latency.lua"
    echo "$1 latency $(taskset -c 0 wrk -t1 -c1 -d2s -s "$work/latency.lua" "http://127.0.0.1:$2" | awk '/^MEDIAN/ { print $2 }')" >>"$work/latencies"
}
for round in $(seq "$rounds"); do
    latency direct "$plain"
    for proxy in nginx router; do
        latency "$proxy" "${port[$proxy,plain]}"
    done
done

python3 - "$work/figures" "$work/latencies" <<'PY'
import collections
import statistics
import sys

figures = collections.defaultdict(list)
for line in open(sys.argv[1]):
    proxy, mode, nanoseconds, rate = line.split()
    figures[mode, proxy].append((int(nanoseconds) / 1000, int(rate)))
goals = {"plain": 1.5, "burst": 1.0, "paced": 1.2}
proxies = sorted({proxy for _, proxy in figures}, key=["nginx", "router", "pair", "sglang", "litellm"].index)
print(f"\n{'':6} {'proxy':8} {'µs':>9} {'x nginx':>8} {'goal':>5} {'requests/s':>11}")
for mode, goal in goals.items():
    nginx = statistics.median(micros for micros, _ in figures[mode, "nginx"])
    for proxy in proxies:
        micros = statistics.median(m for m, _ in figures[mode, proxy])
        rate = statistics.median(r for _, r in figures[mode, proxy])
        aim = f"{goal:5.1f}" if proxy == "router" else " " * 5
        print(f"{mode:6} {proxy:8} {micros:9.1f} {micros / nginx:8.2f} {aim} {rate:11.0f}")
print("\n`pair` is the router with two workers; work that two processors do in the time of one:")
for mode in goals:
    one, two = (statistics.median(m for m, _ in figures[mode, proxy]) for proxy in ("router", "pair"))
    print(f"{mode:6} {2 * one / two:.2f} times (goal 1.8)")
latencies = collections.defaultdict(list)
for line in open(sys.argv[2]):
    proxy, _, micros = line.split()
    latencies[proxy].append(int(micros))
direct, nginx, router = (statistics.median(latencies[who]) for who in ("direct", "nginx", "router"))
print(f"one client, p50: {direct:.0f} us direct, {nginx - direct:.0f} added by nginx, {router - direct:.0f} by the router "
      f"(goal: at most {nginx - direct + 20:.0f})")
PY
awk '/VmRSS|VmHWM/ { printf "router %s %.1f MB\n", $1, $2 / 1024 }' /proc/"$router_pid"/status
