#!/usr/bin/env bash
# Writes the Python stubs of the wire contract beside its .proto files. Run after any change to them.
set -euo pipefail
cd "$(dirname "$0")"
out=${1:-.}
python=${PYTHON:-python}
PATH="$(dirname "$(command -v "$python")"):$PATH" "$python" -m grpc_tools.protoc -I . --python_out="$out" --grpc_python_out="$out" \
  --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" recollect/v1/*.proto
