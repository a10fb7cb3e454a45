#!/usr/bin/env bash
# Installs etcd, which the tests of the control plane's store start on free ports. Does nothing, quickly, when it is there.
set -euo pipefail

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

if command -v etcd >/dev/null; then exit; fi
if ! command -v apt-get >/dev/null; then
    echo "error: please install etcd with this system's package manager" >&2
    exit 1
fi
install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends etcd-server)
# A fresh machine has no package lists or old ones.
if ! as_root "${install[@]}"; then
    as_root apt-get update -qq
    as_root "${install[@]}"
fi
# The package starts a server of its own, on the port that a cluster's etcd would want.
if [ -d /run/systemd/system ]; then as_root systemctl disable --now etcd; fi
