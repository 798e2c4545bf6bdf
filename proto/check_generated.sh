#!/usr/bin/env bash
# Fails if the committed stubs are not what the .proto files generate. usage: check_generated.sh [PYTHON]
set -euo pipefail
python=$(cd "$(dirname "${1:-python}")" 2>/dev/null && pwd)/$(basename "${1:-python}")
[ -x "$python" ] || python=${1:-python}
cd "$(dirname "$0")"
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
PYTHON=$python PATH="$(dirname "$python"):$PATH" ./generate.sh "$fresh"
for stub in "$fresh"/recollect/v1/*; do
  cmp -s "$stub" "recollect/v1/$(basename "$stub")" || {
    echo "error: proto/recollect/v1/$(basename "$stub") is stale." >&2
    echo "       Run make protos and commit the result." >&2
    exit 1
  }
done
echo "stubs are current"
