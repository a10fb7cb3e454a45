#!/usr/bin/env bash
# Packs what a release is made of: the binary with its units, schemas and documents; the chart; what is in it; checksums.
#
#   packaging/dist.sh BINARY [DIRECTORY]        DIRECTORY is dist/ unless it is given, and is emptied first
#
# HELM is the helm that packs the chart; without one the chart is left out, and said to be. The same commit and the same binary
# give the same files.
set -euo pipefail
cd "$(dirname "$0")/.."

binary=$1
out=${2:-dist}
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
case $(uname -m) in
x86_64) arch=amd64 ;;
aarch64) arch=arm64 ;;
*) echo "error: releases are made for amd64 and arm64, not for $(uname -m)" >&2 && exit 1 ;;
esac
if ! grep -q "^## $version" CHANGELOG.md; then
    echo "error: CHANGELOG.md says nothing of $version" >&2
    exit 1
fi

name=catena-$version-linux-$arch
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
root=$scratch/$name
mkdir -p "$root"/{docs,systemd,schema}
strip --strip-debug -o "$root/catena" "$binary"
chmod 755 "$root/catena"
cp LICENSE README.md CHANGELOG.md SECURITY.md "$root/"
cp docs/*.md "$root/docs/"
cp docs/systemd/* "$root/systemd/"
cp services/core/resources/schema/*.json "$root/schema/"
docker/sbom.py >"$root/sbom.cdx.json"
find "$root" -type f ! -name catena -exec chmod 644 {} +

rm -rf "$out"
mkdir -p "$out"
cp "$root/sbom.cdx.json" "$out/$name.cdx.json"
tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --directory "$scratch" "$name" |
    gzip --no-name -9 >"$out/$name.tar.gz"
if [ -n "${HELM:-}" ]; then
    # helm stamps the time into its archive: packed by hand it is the same each time, and helm takes it.
    "$HELM" lint --quiet helm/catena
    mkdir "$scratch/chart" && cp -r helm/catena "$scratch/chart/catena"
    find "$scratch/chart" -type f -exec chmod 644 {} +
    tar --create --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
        --directory "$scratch/chart" catena | gzip --no-name -9 >"$out/catena-chart-$version.tgz"
    "$HELM" show chart "$out/catena-chart-$version.tgz" >/dev/null
else
    echo "left out: the chart, since there is no HELM"
fi
(cd "$out" && sha256sum -- * >SHA256SUMS)
cat "$out/SHA256SUMS"
