#!/usr/bin/env python3
"""Measures what keeping everything on disk costs: throughput, latency and syncs, by `persistence.sync`.

For each row a fresh standalone broker (one shard, one worker) with an empty data directory, and `catena bench` against it: 10 pairs at QoS 1
with 256 bytes, each publisher with up to 100 messages unacknowledged, as fast as it goes; then the same at a fixed rate, for latencies that are not
those of a queue. Syncs are those that the broker counts itself. The rows take their turns, and the median of the rounds counts.

`--cluster` measures two backends with redundancy 2 instead, a control plane and a gateway, all on this machine.

Run it by `make bench-persistence`, or: CATENA_BIN=target/release/catena tests/bench/persistence.py --rounds 3
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import running

MODES = ["off", "Interval", "Always"]
LOAD = "pairs --pairs 10 --size 256 --qos 1 --window "
BROKER = """\
apiVersion: catena.dev/v1
kind: Broker
metadata: {{name: default}}
spec:
  cardinality: {{backendChain: {{partitions: 1, redundancyFactor: {redundancy}, workers: 1}}}}
  advanced: {{encryptInternalTraffic: Disabled}}
{persistence}"""
PERSISTENCE = """\
  persistence: {{maxSize: 20Gi, sync: {mode}}}
"""


class Broker:
    """The processes of one row, with a directory of their own; stopped at the end of the `with`."""

    def __init__(self, mode, is_cluster, place):
        self.mode, self.is_cluster = mode, is_cluster
        self.directory = Path(tempfile.mkdtemp(prefix="catena-bench-", dir=place))
        self.processes, self.metrics = [], []

    def run(self, *words):
        log = open(self.directory / f"{len(self.processes)}.log", "w")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CATENA_")}
        command = [running.CATENA, *map(str, words)]
        self.processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment))

    def metrics_address(self):
        port = running.free_port()
        self.metrics.append(port)
        return f"127.0.0.1:{port}"

    def __enter__(self):
        resources = self.directory / "resources"
        resources.mkdir()
        persistence = "" if self.mode == "off" else PERSISTENCE.format(mode=self.mode)
        redundancy = 2 if self.is_cluster else 1
        (resources / "broker.yaml").write_text(BROKER.format(persistence=persistence, redundancy=redundancy))
        self.port = running.free_port()
        if self.is_cluster:
            self.start_cluster(resources)
        else:
            keeps = ["--in-memory"] if self.mode == "off" else ["--data-dir", self.directory / "data"]
            self.run("standalone", "--listen", f"127.0.0.1:{self.port}", "--workers", 1, "--shards", 1, "--resources", resources,
                     "--admin", "127.0.0.1:0", "--metrics-address", self.metrics_address(), *keeps)
        if not running.wait_until_open(self.port):
            sys.exit(f"the broker does not start: see {self.directory}")
        time.sleep(3 if self.is_cluster else 1)
        return self

    def start_cluster(self, resources):
        inner = running.free_port()
        self.run("control-plane", "--listen", f"127.0.0.1:{inner}", "--admin", "127.0.0.1:0", "--resources", resources,
                 "--data-dir", self.directory / "cp", "--store", "embedded", "--internal-tls", "off", "--metrics-address", "off")
        for name in ["node-1", "node-2"]:
            self.run("backend", "--name", name, "--control-plane", f"127.0.0.1:{inner}", "--listen", "127.0.0.1:0", "--internal-tls", "off",
                     "--threads", 1, "--data-dir", self.directory / name, "--metrics-address", self.metrics_address())
        self.run("gateway", "--name", "gw", "--control-plane", f"127.0.0.1:{inner}", "--listen", f"127.0.0.1:{self.port}", "--internal-tls", "off",
                 "--workers", 1, "--metrics-address", "off")

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.send_signal(signal.SIGKILL)
            process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def pids(self):
        return [process.pid for process in self.processes]

    def syncs(self):
        """Syncs of logs so far, and how long they took together, of all processes."""
        count = seconds = 0
        for port in self.metrics:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                for line in answer.read().decode().splitlines():
                    if line.startswith("catena_disk_sync_seconds_count"):
                        count += float(line.split()[-1])
                    if line.startswith("catena_disk_sync_seconds_sum"):
                        seconds += float(line.split()[-1])
        return count, seconds


def measure(mode, options):
    """One round of one row."""
    with Broker(mode, options.cluster, options.directory) as broker:
        before, began = broker.syncs(), time.monotonic()
        fast = running.bench(LOAD + "100", broker.port, broker.pids, seconds=options.seconds)
        after, took = broker.syncs(), time.monotonic() - began
        slow = running.bench(LOAD + f"100 --rate {options.rate}", broker.port, broker.pids, seconds=options.seconds)
        for result in (fast, slow):
            if not running.passed(result):
                sys.exit(f"{mode}: the load did not go through: {result}")
        syncs = after[0] - before[0]
        return {
            "rate": fast["delivered_per_second"] if "delivered_per_second" in fast else fast["delivered"] / options.seconds,
            "fast50": fast["latency_us"]["p50"] / 1e3, "fast99": fast["latency_us"]["p99"] / 1e3,
            "slow50": slow["latency_us"]["p50"] / 1e3, "slow99": slow["latency_us"]["p99"] / 1e3,
            "syncs": syncs / took, "sync_ms": (after[1] - before[1]) / syncs * 1e3 if syncs else 0.0,
        }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rate", type=int, default=2000, help="messages a second of all publishers, for the second latency")
    parser.add_argument("--cluster", action="store_true", help="two backends with redundancy 2")
    parser.add_argument("--directory", help="where data directories are made: on the disk that is measured [default: the system's]")
    options = parser.parse_args()
    running.needs(running.CATENA)
    rounds = {mode: [] for mode in MODES}
    for _ in range(options.rounds):
        for mode in MODES:
            rounds[mode].append(measure(mode, options))
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n")
    print("| sync | messages/s | p50 ms | p99 ms | p50 ms at %d/s | p99 ms at %d/s | log syncs/s | ms per sync |" % ((options.rate,) * 2))
    print("| --- |" + " ---: |" * 7)
    for mode in MODES:
        median = lambda key: statistics.median(result[key] for result in rounds[mode])
        print(f"| {mode} | {median('rate'):,.0f} | {median('fast50'):.2f} | {median('fast99'):.2f} | {median('slow50'):.2f} "
              f"| {median('slow99'):.2f} | {median('syncs'):,.0f} | {median('sync_ms'):.2f} |")


if __name__ == "__main__":
    main()
