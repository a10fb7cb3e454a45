#!/usr/bin/env python3
"""Packs a release twice, which must be the same, and looks at what comes of it: the binary runs, and what the documents name is there.

    CATENA_BIN=target/debug/catena .tools/helm/bin/python tests/deploy/dist.py
"""

import os
import subprocess
import sys
import tarfile
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
HELM = os.path.join(os.path.dirname(sys.executable), "helm")
BINARY = os.path.abspath(os.environ.get("CATENA_BIN", f"{ROOT}/target/debug/catena"))
INSIDE = {"catena", "LICENSE", "README.md", "CHANGELOG.md", "sbom.cdx.json", "docs/hosts.md", "systemd/catena-gateway.service",
          "systemd/gateway.env", "schema/BrokerListener.json"}  # fmt: skip


def pack(into):
    subprocess.run([f"{ROOT}/packaging/dist.sh", BINARY, into], check=True, stdout=subprocess.DEVNULL, env={**os.environ, "HELM": HELM})
    with open(f"{into}/SHA256SUMS", encoding="utf-8") as sums:
        return sums.read()


def main():
    with tempfile.TemporaryDirectory(prefix="catena-dist-") as scratch:
        first, again = pack(f"{scratch}/first"), pack(f"{scratch}/again")
        if first != again:
            raise SystemExit(f"the same binary made two releases:\n{first}{again}")
        subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=f"{scratch}/first", check=True)
        (name,) = [file for file in os.listdir(f"{scratch}/first") if file.endswith(".tar.gz")]
        with tarfile.open(f"{scratch}/first/{name}") as archive:
            archive.extractall(f"{scratch}/unpacked", filter="data")
        inside = f"{scratch}/unpacked/{name.removesuffix('.tar.gz')}"
        missing = [file for file in sorted(INSIDE) if not os.path.exists(f"{inside}/{file}")]
        if missing:
            raise SystemExit(f"the release lacks {missing}")
        said = subprocess.run([f"{inside}/catena", "--version"], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()
        if said.split()[-1] not in name:
            raise SystemExit(f"{name} has a binary that calls itself {said}")
        print(first + "a release: as it should be")


if __name__ == "__main__":
    main()
