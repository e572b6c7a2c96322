#!/usr/bin/env bash
# install.sh FOLDER: put the programs that only checks use into FOLDER, unless they are there: cargo-deny from its source
# (four minutes on two cores), cargo-fuzz from its source (two minutes), promtool out of Debian's package. What cannot be had is left out, and its check says so.
set -euo pipefail
deny_version=0.20.2
fuzz_version=0.13.2
folder=$1
mkdir -p "$folder"
# Two runs at the same time would write the same files.
exec 9>"$folder/lock"
flock 9

cargo_deny() {
  [ "$(cat "$folder/cargo-deny.version" 2>/dev/null)" = "$deny_version" ] && return
  # Its build goes away again; the programs stay.
  CARGO_TARGET_DIR=$folder/build cargo install --quiet --locked --version "$deny_version" --root "$folder/deny" cargo-deny || return
  mv "$folder/deny/bin/cargo-deny" "$folder/cargo-deny"
  rm -rf "$folder/build" "$folder/deny"
  echo "$deny_version" >"$folder/cargo-deny.version"
}

promtool() {
  [ -x "$folder/promtool" ] && return
  local part
  part=$(mktemp -d)
  # Unpacked, not installed: the package would start a server.
  (cd "$part" && { apt-get download prometheus || { apt-get update && apt-get download prometheus; }; } && dpkg-deb -x prometheus_*.deb .) >/dev/null 2>&1 &&
    mv "$part/usr/bin/promtool" "$folder/promtool"
  rm -rf "$part"
  [ -x "$folder/promtool" ]
}

cargo_fuzz() {
  [ "$(cat "$folder/cargo-fuzz.version" 2>/dev/null)" = "$fuzz_version" ] && return
  CARGO_TARGET_DIR=$folder/build cargo install --quiet --locked --version "$fuzz_version" --root "$folder/fuzz" cargo-fuzz || return
  mv "$folder/fuzz/bin/cargo-fuzz" "$folder/cargo-fuzz"
  rm -rf "$folder/build" "$folder/fuzz"
  echo "$fuzz_version" >"$folder/cargo-fuzz.version"
}

cargo_deny || echo "cargo-deny could not be built"
cargo_fuzz || echo "cargo-fuzz could not be built"
promtool || echo "promtool could not be fetched"
