#!/usr/bin/env bash
# Makes the virtual environment and installs Recollect with locked dependencies into it.
# usage: set_up.sh PYTHON VENV [pip arguments]
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1 venv=$2
shift 2

fail() { echo "error: $1" >&2; echo "       $2" >&2; exit 1; }

command -v "$python" >/dev/null 2>&1 ||
  fail "no Python found as '$python'." "Install Python 3.11, 3.12 or 3.13, or name one: make PYTHON=/path/to/python3.12"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
case $version in
  3.11 | 3.12 | 3.13) ;;
  *) fail "'$python' is Python $version, but Recollect needs 3.11, 3.12 or 3.13." "Name another one: make PYTHON=/path/to/python3.12" ;;
esac
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
  fail "this Python cannot make virtual environments." "On Debian and Ubuntu: apt-get install python3-venv"

if [ ! -x "$venv/bin/pip" ]; then
  place=$venv
  while [ ! -d "$place" ]; do place=$(dirname "$place"); done
  free_mib=$(df -Pm "$place" | awk 'NR == 2 {print $4}')
  [ "$free_mib" -ge 7168 ] ||
    fail "only $free_mib MiB are free here; the installation needs up to 7168." "Free some space, or put the environment elsewhere: make VENV=/path/to/venv"
  echo "== virtual environment in $venv (Python $version)"
  "$python" -m venv "$venv"
fi

echo "== dependencies (locked in constraints.txt; 2 GB, or 6 GB where the index has torch for CUDA only:"
echo "   PIP_ARGS=\"--extra-index-url https://download.pytorch.org/whl/cpu\" takes the CPU build)"
locked=$(sha256sum constraints.txt pyproject.toml deploy/set_up.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat "$venv/.locked" 2>/dev/null)" != "$locked" ]; then
  # torch first and alone: pip then cannot choose another build of it for somebody's sake.
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" -c constraints.txt torch
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" -c constraints.txt setuptools wheel
  requirements=$("$venv/bin/python" deploy/requirements.py server trainer observe dev)
  # shellcheck disable=SC2086
  "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" -c constraints.txt $requirements
  echo "$locked" >"$venv/.locked"
fi

echo "== recollect (editable)"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# setuptools prints a page of warnings about editable installations: show them only if it fails.
"$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
  --config-settings editable_mode=strict -e . >"$log" 2>&1 || {
  cat "$log" >&2
  fail "the package could not be installed." "The lines above say why."
}
"$venv/bin/recollect" --version
