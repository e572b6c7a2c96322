#!/usr/bin/env bash
# model.sh: write the tiny model that the real engine is tested with, if it is not there.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=tests/vllm/common.sh
. "$here/common.sh"

model=$VLLM_MODELS/tiny
# A model that another version of the script wrote is written again.
recipe=$(sha256sum <"$here/tiny-model.py")
if [ "$(cat "$model/recipe" 2>/dev/null)" = "$recipe" ]; then
  say "the tiny model is in $model"
  exit 0
fi
mkdir -p "$VLLM_MODELS"
rm -rf "$model.new"
step "write the tiny model" "$VLLM_VENV/bin/python" "$here/tiny-model.py" "$model.new"
# The pods of the local cluster run as another user.
chmod -R go+rX "$VLLM_MODELS"
printf '%s\n' "$recipe" >"$model.new/recipe"
rm -rf "$model"
mv "$model.new" "$model"
