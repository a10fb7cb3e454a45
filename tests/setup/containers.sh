#!/usr/bin/env bash
# Installs what builds and runs the image: buildah, docker with compose, and the tools for a network of their own. Does nothing,
# quickly, when they are there.
set -euo pipefail

PATH="$PATH:/usr/sbin:/sbin"
if command -v buildah && command -v dockerd && command -v docker-compose && command -v ip && command -v iptables; then exit; fi >/dev/null
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "error: please install buildah, docker and docker-compose with this system's package manager" >&2
    exit 1
fi
# The odd quotes keep the name of a package from being read as that of a host.
install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends buildah crun docker."io" docker-compose iproute2 iptables)
# A fresh machine has no package lists or old ones.
if ! "${install[@]}"; then
    apt-get update -qq
    "${install[@]}"
fi
