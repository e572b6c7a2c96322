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

# Builds a program from its source: crate, version.
built() {
  [ "$(cat "$folder/$1.version" 2>/dev/null)" = "$2" ] && return
  # Its build goes away again; the program stays.
  CARGO_TARGET_DIR=$folder/build cargo install --quiet --locked --version "$2" --root "$folder/part" "$1" || return
  mv "$folder/part/bin/$1" "$folder/$1"
  rm -rf "$folder/build" "$folder/part"
  echo "$2" >"$folder/$1.version"
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

built cargo-deny "$deny_version" || echo "cargo-deny could not be built"
built cargo-fuzz "$fuzz_version" || echo "cargo-fuzz could not be built"
promtool || echo "promtool could not be fetched"
