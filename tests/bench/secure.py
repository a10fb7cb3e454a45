#!/usr/bin/env python3
"""Measures what TLS, client certificates and WebSockets cost the broker, and prints a Markdown table.

Three numbers for each way in: the processor time of the broker's process, user and system, for a client that connects and
disconnects; the same for a message of ten publishers with a subscriber each; and the memory of a connection that does nothing.
Each is taken of a fresh broker on one core, the generator being on another. None depends much on what else the machine does; connects per second and core are a second divided by the
first. No session of TLS is resumed, and all keys are ECDSA P-256.

Run it by `make compare-tls`, or: CATENA_BIN=target/release/catena tests/bench/secure.py --rounds 1
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from compare import GENERATOR_CORE, Broker, free_port

MANIFEST = """\
apiVersion: catena.dev/v1
kind: BrokerListener
metadata: {{name: bench}}
spec:
  ports:
  - port: {port}
    address: 127.0.0.1
    protocol: {protocol}
{more}---
apiVersion: catena.dev/v1
kind: BrokerAuthentication
metadata: {{name: certificates}}
spec:
  authenticationMethods:
  - method: X509
"""
TLS = "    tls: {mode: Manual, manual: {secretRef: server}}\n"
X509 = TLS + "    authenticationRef: certificates\n"


@dataclass
class Way:
    """A way to the broker: what its port asks for, and what the client is told."""

    name: str
    scheme: str
    more: str = ""
    arguments: tuple = ()

    @property
    def protocol(self):
        return "WebSockets" if self.scheme.startswith("ws") else "Mqtt"


CA = ("--cafile", "ca.crt")
WAYS = [
    Way("TCP", "mqtt"),
    Way("TLS 1.3", "mqtts", TLS, CA),
    Way("TLS 1.3 with a client certificate", "mqtts", X509, (*CA, "--cert", "device.crt", "--key", "device.key")),
    Way("WebSocket", "ws"),
    Way("WebSocket over TLS 1.3", "wss", TLS, CA),
]


def openssl(directory, *words):
    run = subprocess.run(["openssl", *words], cwd=directory, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"openssl {' '.join(words)}: {run.stderr}")


def certificates(directory):
    """A CA, the broker's certificate and a client's, and the secrets that the broker is given."""
    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl(directory, "req", "-x509", *new_key, "-subj", "/CN=Bench CA", "-keyout", "ca.key", "-out", "ca.crt")
    for name, secret in [("localhost", "server"), ("device", None)]:
        openssl(directory, "req", *new_key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        (directory / "names").write_text(f"subjectAltName=DNS:{name}\n")
        openssl(directory, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key",
                "-CAcreateserial", "-extfile", "names", "-out", f"{name}.crt")
        if secret:
            put(directory, secret, "tls.crt", f"{name}.crt")
            put(directory, secret, "tls.key", f"{name}.key")
    put(directory, "client-ca", "ca.crt", "ca.crt")


def put(directory, secret, key, file):
    place = directory / "secrets" / secret
    place.mkdir(parents=True, exist_ok=True)
    (place / key).write_bytes((directory / file).read_bytes())


def start(options, directory, way):
    """A fresh broker with one port, not started yet."""
    port = free_port()
    manifests = directory / "manifests"
    manifests.mkdir(exist_ok=True)
    (manifests / "bench.yaml").write_text(MANIFEST.format(port=port, protocol=way.protocol, more=way.more))
    command = [options.catena, "standalone", "--in-memory", "--resources", str(manifests), "--admin", "127.0.0.1:0",
               "--secrets-dir", str(directory / "secrets")]
    return Broker("catena", command, port, open(directory / "catena.log", "w+"))


def bench(options, directory, way, scenario, *words):
    """What `catena bench` tells of one run."""
    with start(options, directory, way) as broker:
        command = ["taskset", "-c", GENERATOR_CORE, options.catena, "bench", scenario, *words,
                   "--host", f"{way.scheme}://localhost:{broker.port}", *way.arguments,
                   "--pids", str(broker.process.pid), "--json", "--quiet"]
        run = subprocess.run(command, cwd=directory, capture_output=True, text=True)
    if not run.stdout:
        sys.exit(f"{way.name}, {scenario}: {run.stderr.strip()}")
    return json.loads(run.stdout)


def measure(options, directory, way):
    rounds = range(options.rounds)
    connects = [bench(options, directory, way, "connect", "--duration", str(options.seconds)) for _ in rounds]
    idles = [bench(options, directory, way, "idle", "--connections", str(options.connections), "--hold", "2")
             for _ in rounds]
    pairs = ["pairs", "--pairs", "10", "--qos", "1", "--size", "256", "--duration", str(options.seconds)]
    messages = [] if way.protocol == "WebSockets" else [bench(options, directory, way, *pairs) for _ in rounds]
    if not all(result["checks"]["passed"] for result in messages):
        sys.exit(f"{way.name}: checks failed: {messages}")
    return {"message_us": statistics.median(result["cpu_us_per_delivered"] for result in messages) if messages else None,
            "connect_us": statistics.median(result["cpu_us_per_cycle"] for result in connects),
            "idle_bytes": statistics.median(result["memory"][0]["each_bytes"] for result in idles)}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--catena", default=os.environ.get("CATENA_BIN", "target/release/catena"),
                        help="the binary, also the generator (default: $CATENA_BIN)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--seconds", type=float, default=5, help="length of a run of connects")
    parser.add_argument("--connections", type=int, default=4_000, help="connections that do nothing")
    parser.add_argument("--only", default="", help="only the ways whose name has this")
    return parser.parse_args()


def main():
    options = arguments()
    options.catena = str(Path(options.catena).resolve())
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    print("| way | CPU µs per connect and disconnect | connects per second and core | bytes of an idle connection "
          "| CPU µs per message |")
    print("| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory() as directory:
        directory = Path(directory)
        certificates(directory)
        for way in WAYS:
            if options.only in way.name:
                result = measure(options, directory, way)
                micros = result["connect_us"]
                message = "" if result["message_us"] is None else f"{result['message_us']:.2f}"
                print(f"| {way.name} | {micros:,.0f} | {1e6 / micros:,.0f} | {result['idle_bytes']:,.0f} | {message} |",
                      flush=True)


if __name__ == "__main__":
    main()
