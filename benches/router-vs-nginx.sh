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
sglang_version=0.3.2
litellm_version=1.106.0
work=$(mktemp -d)
started=()
trap 'for p in "${started[@]}"; do kill "$p" 2>/dev/null || true; done; rm -rf "$work"' EXIT

need() {
    command -v "$1" >/dev/null && return
    echo "installing $1"
    apt-get install -y --no-install-recommends "$1" >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; exit 1; }
}
need nginx
need wrk
need python3

echo "building the router and the fixed upstream"
cargo build --quiet --profile dist -p router --examples
bin=target/dist/examples

# A free port each; nothing else on the machine is expected to grab one in between.
read -r plain burst paced nginx_plain nginx_burst nginx_paced router pair \
    sglang_plain sglang_burst sglang_paced s1 s2 s3 litellm <<<"$(python3 - <<'PY'
import socket
held = [socket.socket() for _ in range(15)]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))
PY
)"

"$bin/fixed_upstream" "127.0.0.1:$plain" "127.0.0.1:$burst" "127.0.0.1:$paced" &
started+=($!)
"$bin/bench_router" "127.0.0.1:$router" 1 \
    "plain=127.0.0.1:$plain" "burst=127.0.0.1:$burst" "paced=127.0.0.1:$paced" 2>"$work/router.log" &
router_pid=$!
started+=("$router_pid")
"$bin/bench_router" "127.0.0.1:$pair" 2 \
    "plain=127.0.0.1:$plain" "burst=127.0.0.1:$burst" "paced=127.0.0.1:$paced" 2>"$work/pair.log" &
pair_pid=$!
started+=("$pair_pid")

server() { # listen upstream buffering
    echo "upstream u$1 { server 127.0.0.1:$2; keepalive 128; }
    server { listen 127.0.0.1:$1 backlog=1024; location / { proxy_pass http://u$1; proxy_http_version 1.1;
        proxy_set_header Connection ''; proxy_buffering $3; } }"
}
cat >"$work/nginx.conf" <<CONF
worker_processes 1;
daemon off;
pid $work/nginx.pid;
error_log $work/nginx-error.log;
events { worker_connections 4096; }
http {
    access_log off;
    keepalive_requests 1000000;
    tcp_nodelay on;
    client_body_temp_path $work/body; proxy_temp_path $work/proxy; fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;
    $(server "$nginx_plain" "$plain" on)
    $(server "$nginx_burst" "$burst" off)
    $(server "$nginx_paced" "$paced" off)
}
CONF
nginx -c "$work/nginx.conf" -p "$work" &
started+=($!)
nginx_master=$!
for _ in $(seq 100); do
    nginx_pid=$(pgrep -P "$nginx_master" -f 'worker process' | head -n1 || true)
    [ -n "$nginx_pid" ] && curl -s -o "$work/hello" "http://127.0.0.1:$router/v1/models" && break
    sleep 0.1
done

# Of each proxy and model: the process that is measured, and where it listens.
declare -A pid port
for model in plain burst paced; do
    of_nginx=nginx_$model
    pid[nginx,$model]=$nginx_pid port[nginx,$model]=${!of_nginx}
    pid[router,$model]=$router_pid port[router,$model]=$router
    pid[pair,$model]=$pair_pid port[pair,$model]=$pair
done
proxies=(nginx router pair)

venv() { # name requirement: an environment of its own, kept between runs
    [ -x "target/peers/$1/bin/pip" ] || python3 -m venv "target/peers/$1"
    "target/peers/$1/bin/pip" install --quiet "$2"
}

start_peers() {
    echo "installing sglang-router $sglang_version and LiteLLM $litellm_version"
    venv sglang "sglang-router==$sglang_version"
    venv litellm "litellm[proxy]==$litellm_version"
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
    {
        echo "model_list:"
        for model in plain burst paced; do
            echo "  - {model_name: $model, litellm_params: {model: openai/$model, api_base: 'http://127.0.0.1:${!model}/v1', api_key: x}}"
        done
    } >"$work/litellm.yaml"
    (cd "$work" && LITELLM_MASTER_KEY=sk-bench LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=ERROR exec "$folder/litellm/bin/python" \
        -m litellm.proxy.proxy_cli --config litellm.yaml --host 127.0.0.1 --port "$litellm" --num_workers 1 >"$work/litellm.log" 2>&1) &
    started+=($!)
    for model in plain burst paced; do pid[litellm,$model]=$! port[litellm,$model]=$litellm; done
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

cpu() { # nanoseconds of CPU that a process has used, over all its threads
    awk '{ sum += $1 } END { printf "%.0f", sum }' /proc/"$1"/task/*/schedstat
}

measure() { # name pid port model connections
    local before after done seconds=$seconds
    # It ends none of these streams within a few seconds.
    [ "$1-$4" = litellm-paced ] && seconds=$((5 * seconds))
    before=$(cpu "$2")
    wrk -t1 -c"$5" -d"${seconds}s" --timeout 30s -s "$work/$4.lua" "http://127.0.0.1:$3" >"$work/wrk.out"
    after=$(cpu "$2")
    done=$(awk '/requests in/ { print $1 }' "$work/wrk.out")
    if [ "$done" -eq 0 ] || [ "$before" -eq "$after" ]; then
        echo "$1 did nothing for $4"; cat "$work/wrk.out"; exit 1
    fi
    if grep -qE 'Non-2xx|Socket errors' "$work/wrk.out"; then
        echo "errors while measuring $1 $4:"; cat "$work/wrk.out"; exit 1
    fi
    echo "$1 $4 $(((after - before) / done)) $((done / seconds))" >>"$work/figures"
}

connections() { # proxy model: of the two workers of `pair`, each has as much to do as the one of `router`
    case $1-$2 in pair-paced) echo 128 ;; *-paced) echo 64 ;; *) echo 32 ;; esac
}

for model in plain burst paced; do ask "$model"; done
for round in $(seq "$rounds"); do
    echo "round $round of $rounds"
    for model in plain burst paced; do
        for proxy in "${proxies[@]}"; do
            measure "$proxy" "${pid[$proxy,$model]}" "${port[$proxy,$model]}" "$model" "$(connections "$proxy" "$model")"
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
