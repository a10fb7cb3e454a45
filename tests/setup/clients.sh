#!/usr/bin/env bash
# Installs the real MQTT clients that the tests drive: mosquitto from the system's packages, paho-mqtt
# and MQTT.js under .tools/. Does nothing, quickly, when all of them are there.
set -euo pipefail
cd "$(dirname "$0")/../.."

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs Debian packages. A fresh machine has no package lists or old ones, so when the first try
# fails the lists are fetched, and then a failure counts.
install_packages() {
    if ! command -v apt-get >/dev/null; then
        echo "error: please install $* with this system's package manager" >&2
        exit 1
    fi
    local install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends)
    if ! as_root "${install[@]}" "$@"; then
        as_root apt-get update -qq
        as_root "${install[@]}" "$@"
    fi
}

setup_mosquitto() {
    # Debian keeps the broker in a directory that is not on every user's PATH.
    PATH="$PATH:/usr/sbin"
    if command -v mosquitto_pub && command -v mosquitto_sub && command -v mosquitto; then return; fi >/dev/null
    install_packages mosquitto mosquitto-clients
    # The package starts a broker on port 1883, which `make run` wants for ours.
    if [ -d /run/systemd/system ]; then as_root systemctl disable --now mosquitto; fi
}

# paho-mqtt. What was installed lies beside it, so that a new version replaces it.
setup_python() {
    local wanted=tests/setup/requirements.txt venv=.tools/venv
    if cmp --silent "$wanted" "$venv/installed.txt"; then return; fi
    rm -rf "$venv"
    # Debian's Python makes a virtual environment without pip unless this package is there.
    python3 -m venv "$venv" || { install_packages python3-venv; python3 -m venv --clear "$venv"; }
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$wanted"
    cp "$wanted" "$venv/installed.txt"
}

# MQTT.js.
setup_node() {
    local wanted=tests/setup/package.json node=.tools/node
    if cmp --silent "$wanted" "$node/installed.json"; then return; fi
    rm -rf "$node"
    mkdir -p "$node"
    cp "$wanted" "$node/package.json"
    npm install --prefix "$node" --silent --no-audit --no-fund --no-package-lock
    cp "$wanted" "$node/installed.json"
}

mkdir -p .tools
setup_mosquitto
setup_python
setup_node
