#!/usr/bin/env bash
# install.sh: put the official SDKs, at the versions of requirements.txt, into a virtual environment of the cache, and print
# its interpreter. Some 100 MB the first time, nothing the next. It builds beside the folder and renames at the end, so that
# the folder is whole or absent.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
version=$(sha256sum "$here/requirements.txt" | cut -c1-12)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/quartermaster/sdk-$version

say() { printf 'sdk: %s\n' "$*" >&2; }

choose_python() {
  local candidate
  for candidate in "${PYTHON:-}" /usr/bin/python3 /usr/bin/python3.1{4,3,2,1} "$(command -v python3 || true)"; do
    if [ -x "$candidate" ] && "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  say "no Python 3.10 or newer with venv was found; install one (Debian: apt-get install python3 python3-venv), or name one in PYTHON"
  exit 1
}

if [ ! -x "$venv/bin/python" ]; then
  mkdir -p "$(dirname "$venv")"
  # Two runs at the same time would build the same folder.
  exec 9>"$venv.lock"
  flock 9
fi
if [ ! -x "$venv/bin/python" ]; then
  python=$(choose_python)
  say "installing $(grep -v '^#' "$here/requirements.txt" | tr '\n' ' ')with $python"
  rm -rf "$venv.part"
  "$python" -m venv "$venv.part"
  "$venv.part/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" >&2
  mv "$venv.part" "$venv"
  say "installed in $venv"
fi
printf '%s\n' "$venv/bin/python"
