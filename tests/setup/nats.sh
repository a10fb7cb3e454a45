#!/usr/bin/env bash
# Installs nats-server, which the comparison of replicated brokers starts on free ports. Does nothing, quickly, when it is there.
set -euo pipefail

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

PATH="$PATH:/usr/sbin"
if command -v nats-server >/dev/null; then exit; fi
if ! command -v apt-get >/dev/null; then
    echo "error: please install nats-server with this system's package manager" >&2
    exit 1
fi
install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends nats-server)
# A fresh machine has no package lists or old ones.
if ! as_root "${install[@]}"; then
    as_root apt-get update -qq
    as_root "${install[@]}"
fi
# The package starts a server of its own.
if [ -d /run/systemd/system ]; then as_root systemctl disable --now nats-server; fi
