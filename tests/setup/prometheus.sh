#!/usr/bin/env bash
# Installs Prometheus and its promtool, which the tests ask what they think of metrics, rules and ports. Does nothing, quickly,
# when both are there.
set -euo pipefail

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

PATH="$PATH:/usr/sbin"
if command -v prometheus && command -v promtool; then exit; fi >/dev/null
if ! command -v apt-get >/dev/null; then
    echo "error: please install prometheus with this system's package manager" >&2
    exit 1
fi
install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends prometheus)
# A fresh machine has no package lists or old ones.
if ! as_root "${install[@]}"; then
    as_root apt-get update -qq
    as_root "${install[@]}"
fi
# The package starts a server of its own.
if [ -d /run/systemd/system ]; then as_root systemctl disable --now prometheus; fi
