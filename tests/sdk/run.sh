#!/usr/bin/env bash
# run.sh [CHECK...]: hold the provider stand-ins, and the router in front of them and of the engine's simulator, to the
# official SDKs. Installs the SDKs when they are missing. Each check is a line; names given run only the checks that hold one
# of them. The programs come from TARGET_DIR (default: target/debug of this checkout) and have to be built before.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
programs=${TARGET_DIR:-$here/../../target/debug}
python=$("$here/install.sh")
cd "$here"
export PYTHONDONTWRITEBYTECODE=1
exec "$python" -m conformance --programs "$programs" "$@"
