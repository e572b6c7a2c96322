#!/usr/bin/env bash
# from.sh COMMIT: does an upgrade from COMMIT to this checkout, and the way back, lose a request? It builds the images of
# both (some minutes, once for each commit), starts a local cluster for it, and runs the scenario that looks.
#
# The earlier checkout and its builds stay in target/earlier, which can be deleted at any time.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
commit=$(git rev-parse --verify --short "${1:?which commit? for example: tests/upgrade/from.sh HEAD~1}^{commit}")
name=upgrade
earlier=$PWD/target/earlier/$commit
state=${QUARTERMASTER_STATE:-${XDG_STATE_HOME:-$HOME/.local/state}/quartermaster}
tool=$PWD/target/cluster

say() { printf 'upgrade: %s\n' "$*"; }

main() {
  say "images of this checkout"
  cargo xtask images >/dev/null
  [[ -d $earlier ]] || { mkdir -p "$earlier" && git archive "$commit" | tar --extract --directory "$earlier"; }
  if [[ ! -e $earlier/target/images/router.tar ]]; then
    say "images of $commit"
    (cd "$earlier" && cargo xtask images >/dev/null)
  fi
  say "a cluster called $name"
  "$tool" tools >/dev/null
  trap '"$tool" down --name "$name" >/dev/null' EXIT
  "$tool" up --name "$name" >/dev/null
  "$tool" load --name "$name" target/images/*.tar >/dev/null
  local program
  for program in operator router; do
    "$tool" image --out "$earlier/target/$program.tar" --tag "localhost/quartermaster/$program:earlier" \
      --entrypoint "/$program" --user 65532:65532 --certs \
      --file "$earlier/target/x86_64-unknown-linux-gnu/release/$program=/$program:0755" >/dev/null
    "$tool" load --name "$name" "$earlier/target/$program.tar" >/dev/null
  done
  say "from $commit to this checkout and back, under load"
  PATH=$("$tool" tools | tail -1):$PATH KUBECONFIG=$state/$name/kubeconfig E2E_ROUTED=yes \
    E2E_EARLIER_CHARTS=$earlier/charts cargo test --quiet --test scenarios -- --show-output earlier_version
}

main
