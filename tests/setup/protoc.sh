#!/usr/bin/env bash
# Installs protoc, with which the client for etcd is built. Does nothing, quickly, when it is there.
set -euo pipefail

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Whether there is one that also brings the files that others import.
works() {
    local directory result
    directory=$(mktemp -d)
    echo 'syntax = "proto3"; import "google/protobuf/descriptor.proto";' >"$directory/empty.proto"
    "${PROTOC:-protoc}" --proto_path="$directory" --descriptor_set_out=/dev/null empty.proto 2>/dev/null
    result=$?
    rm -r "$directory"
    return $result
}

if works; then exit; fi
if ! command -v apt-get >/dev/null; then
    echo "error: please install protoc with this system's package manager" >&2
    exit 1
fi
install=(env DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends protobuf-compiler libprotobuf-dev)
# A fresh machine has no package lists or old ones.
if ! as_root "${install[@]}"; then
    as_root apt-get update -qq
    as_root "${install[@]}"
fi
