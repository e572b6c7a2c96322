#!/usr/bin/env bash
# What becomes of the streams that a router takes on while three times as many are asked for as it can serve. The client
# does not wait for answers, and an answer counts when all of it came within a second (0.2 s is what it takes undisturbed).
# On two processors, one for the router and one for client and engine, these would be the first to be behind; so the router
# shares its processor with a busy loop, which leaves it half. Rounds are interleaved; medians are compared.
#
#   ROUNDS=5 SECONDS_EACH=8 OFFERS="800 900 1000 1100 1200 1400" OVERLOAD=3300 benches/overload.sh
set -euo pipefail
cd "$(dirname "$0")/.."

rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-8}
read -ra offers <<<"${OFFERS:-800 900 1000 1100 1200 1400}"
overload=${OVERLOAD:-3300}
. benches/lib.sh
ulimit -n "$(ulimit -Hn)"

if [ -z "${BIN:-}" ]; then
    cargo build --quiet --profile dist -p router --examples
    BIN=target/dist/examples
fi
read -r plain burst paced router <<<"$(free_ports 4)"
start taskset -c 1 "$BIN/fixed_upstream" "127.0.0.1:$plain" "127.0.0.1:$burst" "127.0.0.1:$paced"
start taskset -c 0 "$BIN/bench_router" "127.0.0.1:$router" 1 "paced=127.0.0.1:$paced" 2>/dev/null
start taskset -c 0 sh -c 'while :; do :; done'
answers "http://127.0.0.1:$router/v1/models"

for round in $(seq "$rounds"); do
    for offer in "${offers[@]}" "$overload"; do
        line=$(taskset -c 1 "$BIN/open_load" "127.0.0.1:$router" paced "$offer" "$seconds" 1000 2)
        echo "round $round: $line"
        echo "$offer $line" >>"$work/figures"
    done
done
python3 - "$work/figures" "$overload" <<'PY'
import collections
import re
import statistics
import sys

good = collections.defaultdict(list)
for line in open(sys.argv[1]):
    good[int(line.split()[0])].append(int(re.search(r"good (\d+)/s", line)[1]))
medians = {offer: statistics.median(figures) for offer, figures in good.items()}
for offer, figure in medians.items():
    print(f"offered {offer}/s: {figure:.0f}/s whole within a second")
overload = int(sys.argv[2])
peak, at = max((figure, offer) for offer, figure in medians.items() if offer != overload)
print(f"peak {peak:.0f}/s, at {at}/s; with {overload}/s ({overload / peak:.1f} times that): {100 * medians[overload] / peak:.0f} % of it")
PY
