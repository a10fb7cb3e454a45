#!/usr/bin/env python3
"""Prints what the broker is made of, as CycloneDX: the crates that are compiled into it, and the packages of the libraries that
are named on the command line. The same lock file and the same libraries give the same text.

    docker/sbom.py [LIBRARY ...]
"""

import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def output(*command):
    return subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout


def checksums():
    """The hash of each crate's file, as Cargo.lock has it."""
    found, entry = {}, {}
    with open(os.path.join(ROOT, "Cargo.lock"), encoding="utf-8") as lock:
        for line in lock:
            key, _, value = line.strip().partition(" = ")
            if line.startswith("[["):
                entry = {}
            elif key in ("name", "version", "checksum"):
                entry[key] = value.strip('"')
                if key == "checksum":
                    found[entry["name"], entry["version"]] = entry[key]
    return found


def crates(target):
    """Packages that end up in the binary: what only builds or tests it does not."""
    metadata = json.loads(
        output("cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target)
    )
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    makes_code = {
        package_id
        for package_id, package in packages.items()
        if any(kind == "proc-macro" for part in package["targets"] for kind in part["kind"])
    }
    (start,) = [package["id"] for package in metadata["packages"] if package["name"] == "catena"]
    reached, waiting = set(), [start]
    while waiting:
        package_id = waiting.pop()
        if package_id in reached or package_id in makes_code:
            continue
        reached.add(package_id)
        for dependency in nodes[package_id]["deps"]:
            if any(kind["kind"] is None for kind in dependency["dep_kinds"]):
                waiting.append(dependency["pkg"])
    return packages[start], [packages[package_id] for package_id in reached - {start}]


def crate(package, hashes):
    component = {
        "type": "library",
        "bom-ref": f"pkg:cargo/{package['name']}@{package['version']}",
        "name": package["name"],
        "version": package["version"],
        "purl": f"pkg:cargo/{package['name']}@{package['version']}",
    }
    if package.get("license"):
        # The old way to write OR.
        expression = package["license"].replace("/", " OR ")
        component["licenses"] = [{"expression": expression}]
    checksum = hashes.get((package["name"], package["version"]))
    if checksum:
        component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    return component


def library(path):
    """The package that a library of this machine is of."""
    for name in (path, os.path.realpath(path), path.removeprefix("/usr"), "/usr" + path):
        found = subprocess.run(
            ["dpkg-query", "--search", name], text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False
        )
        if found.returncode == 0:
            package = found.stdout.split(":")[0].split(",")[0]
            version = output("dpkg-query", "--show", "--showformat", "${Version}", package)
            purl = f"pkg:deb/debian/{package}@{version}"
            return {"type": "library", "bom-ref": purl, "name": package, "version": version, "purl": purl}
    digest = output("sha256sum", path).split()[0]
    name = os.path.basename(path)
    return {"type": "file", "bom-ref": name, "name": name, "hashes": [{"alg": "SHA-256", "content": digest}]}


def main():
    target = next(line.split()[1] for line in output("rustc", "-vV").splitlines() if line.startswith("host:"))
    broker, used = crates(target)
    hashes = checksums()
    parts = [crate(package, hashes) for package in used]
    parts += [library(path) for path in sys.argv[1:]]
    unique = {part["bom-ref"]: part for part in parts}
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "catena",
                "name": "catena",
                "version": broker["version"],
                "licenses": [{"expression": broker["license"]}],
            },
            "properties": [{"name": "target", "value": target}],
        },
        "components": [unique[key] for key in sorted(unique)],
    }
    json.dump(bom, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
