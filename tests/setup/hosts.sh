#!/usr/bin/env bash
# Installs what tests need to put processes on hosts of their own and to cut those off: ip and iptables. Does nothing, quickly,
# when both are there, and nothing without root: the tests say then that they are skipped.
set -euo pipefail

PATH="$PATH:/usr/sbin:/sbin"
if command -v ip && command -v iptables; then exit; fi >/dev/null
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then exit; fi
install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends iproute2 iptables)
# A fresh machine has no package lists or old ones.
if ! "${install[@]}"; then
    apt-get update -qq
    "${install[@]}"
fi
