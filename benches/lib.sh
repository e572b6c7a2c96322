# What the benches share; to be sourced from the checkout's root. Programs that `start` started end with the script.

sglang_version=0.3.2
litellm_version=1.106.0
work=$(mktemp -d)
started=()
trap 'for p in "${started[@]}"; do kill "$p" 2>/dev/null || true; done; rm -rf "$work"' EXIT

need() { # program: installs it if it is missing
    command -v "$1" >/dev/null && return
    echo "installing $1"
    apt-get install -y --no-install-recommends "$1" >"$work/apt.log" 2>&1 || { cat "$work/apt.log"; exit 1; }
}

free_ports() { # count: nothing else on the machine is expected to grab one in between
    python3 - "$1" <<'PY'
import socket
import sys

held = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in held:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in held))
PY
}

start() { # program and arguments; its process is $!
    "$@" &
    started+=($!)
}

answers() { # url, curl's further arguments: waits until it does
    local try
    for try in $(seq 240); do
        curl -sf -m 5 -o /dev/null "$@" && return
        sleep 0.25
    done
    echo "$* does not answer"
    exit 1
}

start_nginx() { # "LISTEN UPSTREAM BUFFERING"...: one worker, whose process is $nginx_pid
    local listen upstream buffering master servers=
    for server in "$@"; do
        read -r listen upstream buffering <<<"$server"
        servers+="upstream u$listen { server 127.0.0.1:$upstream; keepalive 128; }
        server { listen 127.0.0.1:$listen backlog=1024; location / { proxy_pass http://u$listen; proxy_http_version 1.1;
            proxy_set_header Connection ''; proxy_buffering $buffering; } }
        "
    done
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
    client_max_body_size 64m;
    client_body_buffer_size 4m;
    client_body_temp_path $work/body; proxy_temp_path $work/proxy; fastcgi_temp_path $work/f; uwsgi_temp_path $work/u; scgi_temp_path $work/s;
    $servers
}
CONF
    start nginx -c "$work/nginx.conf" -p "$work"
    master=$!
    for _ in $(seq 100); do
        nginx_pid=$(pgrep -P "$master" -f 'worker process' | head -n1 || true)
        [ -n "$nginx_pid" ] && return
        sleep 0.1
    done
    echo "nginx did not start"; cat "$work/nginx-error.log"; exit 1
}

venv() { # name requirement: an environment of its own, kept between runs
    [ -x "target/peers/$1/bin/pip" ] || python3 -m venv "target/peers/$1"
    "target/peers/$1/bin/pip" install --quiet "$2"
}

start_litellm() { # port MODEL=UPSTREAM...: one worker, whose process is $!
    local listen=$1 folder=$PWD/target/peers pair
    shift
    venv litellm "litellm[proxy]==$litellm_version"
    {
        echo "model_list:"
        for pair in "$@"; do
            echo "  - {model_name: ${pair%%=*}, litellm_params: {model: openai/${pair%%=*}, api_base: 'http://127.0.0.1:${pair#*=}/v1', api_key: x}}"
        done
    } >"$work/litellm.yaml"
    # Asked in messages, it would ask upstream for responses, which the fixed upstream does not speak.
    (cd "$work" && LITELLM_MASTER_KEY=sk-bench LITELLM_LOCAL_MODEL_COST_MAP=True LITELLM_LOG=ERROR \
        LITELLM_USE_CHAT_COMPLETIONS_URL_FOR_ANTHROPIC_MESSAGES=true exec "$folder/litellm/bin/python" \
        -m litellm.proxy.proxy_cli --config litellm.yaml --host 127.0.0.1 --port "$listen" --num_workers 1 >"$work/litellm.log" 2>&1) &
    started+=($!)
    answers "http://127.0.0.1:$listen/health/liveliness"
    # Its first answers take it seconds.
    for pair in "$@"; do
        answers "http://127.0.0.1:$listen/v1/chat/completions" -H 'content-type: application/json' -H 'authorization: Bearer sk-bench' \
            -d "{\"model\":\"${pair%%=*}\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"stream\":$([ "${pair%%=*}" = burst ] && echo true || echo false)}"
    done
}

cpu() { # nanoseconds of CPU that a process has used, over all its threads
    awk '{ sum += $1 } END { printf "%.0f", sum }' /proc/"$1"/task/*/schedstat
}

measure() { # name pid port script connections: CPU of the process per request, into $work/figures
    local before after done
    before=$(cpu "$2")
    wrk -t1 -c"$5" -d"${seconds}s" --timeout 30s -s "$work/$4.lua" "http://127.0.0.1:$3" >"$work/wrk.out"
    after=$(cpu "$2")
    done=$(awk '/requests in/ { print $1 }' "$work/wrk.out")
    if [ "$done" -eq 0 ] || [ "$before" -eq "$after" ]; then
        echo "$1 did nothing"; cat "$work/wrk.out"; exit 1
    fi
    if grep -qE 'Non-2xx|Socket errors' "$work/wrk.out"; then
        echo "errors while measuring $1:"; cat "$work/wrk.out"; exit 1
    fi
    echo "$1 $(((after - before) / done)) $((done / seconds))" >>"$work/figures"
}
