#!/usr/bin/env bash
# Puts the files of the image into a directory: the binary, what it is linked with, CAs, and what it is made of (SBOM).
#
#   docker/root.sh BINARY DIRECTORY
#
# Runs where the binary was built or would run: its libraries are taken from there. With SOURCE_DATE_EPOCH set, the same binary
# gives the same files.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

binary=$1 root=$2
user=65532

if [ -e "$root" ] && [ -n "$(ls -A "$root")" ]; then
    echo "error: $root is not empty" >&2
    exit 1
fi
umask 022
mkdir -p "$root"/{etc/ssl/certs,etc/catena,usr/bin,usr/share/doc/catena,tmp}

# The names of functions stay, for what a crash prints; what a debugger wants goes.
strip --strip-debug -o "$root/usr/bin/catena" "$binary"
chmod 755 "$root/usr/bin/catena"

# The loader looks for libraries where this machine has them.
libraries=$(ldd "$root/usr/bin/catena" | grep --only-matching '/[^ ]*' || true)
for library in $libraries; do
    install -D --mode 755 "$library" "$root$library"
done

# Servers that Custom and Jwt authentication ask are believed by these, unless a resource names others.
if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"
fi
echo "hosts: files dns" >"$root/etc/nsswitch.conf"
echo "catena:x:$user:$user::/var/lib/catena:/usr/bin/catena" >"$root/etc/passwd"
echo "catena:x:$user:" >"$root/etc/group"
chmod 1777 "$root/tmp"

cp "$here/../LICENSE" "$root/usr/share/doc/catena/LICENSE"
# shellcheck disable=SC2086 # one argument for each
"$here/sbom.py" $libraries >"$root/usr/share/doc/catena/sbom.cdx.json"

find "$root" -exec touch --no-dereference --date "@${SOURCE_DATE_EPOCH:-0}" {} +
