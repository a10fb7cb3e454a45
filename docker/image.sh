#!/usr/bin/env bash
# Builds the image of a binary that is already built, with buildah and without pulling anything.
#
#   docker/image.sh BINARY [NAME]        the name is catena:VERSION unless it is given
#
# BUILDAH_FLAGS goes to buildah, as in BUILDAH_FLAGS="--root DIR --runroot DIR --storage-driver vfs". The same commit and the same
# binary make the same image.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=$1
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
name=${2:-catena:$version}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
read -ra flags <<<"${BUILDAH_FLAGS:-}"

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
docker/root.sh "$binary" "$scratch/root"

# The files alone, as the image that the last stage copies from.
printf 'FROM scratch\nCOPY root/ /image/\n' >"$scratch/Dockerfile"
files="localhost/catena-root:$$"
buildah "${flags[@]}" build --quiet --layers --force-rm --timestamp "$SOURCE_DATE_EPOCH" --tag "$files" --file "$scratch/Dockerfile" "$scratch" >/dev/null
buildah "${flags[@]}" build --quiet --layers --force-rm --timestamp "$SOURCE_DATE_EPOCH" --tag "$name" --file docker/Dockerfile \
    --build-arg ROOT="$files" --build-arg VERSION="$version" --build-arg REVISION="$revision" \
    --build-arg CREATED="$(date --utc --date "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)" "$scratch"
# In storage of its own, a container that copied from it may still hold it.
buildah "${flags[@]}" rmi --force "$files" >/dev/null 2>&1 || true
