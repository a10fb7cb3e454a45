#!/usr/bin/env python3
"""Compares a replicated cluster with mosquitto and NATS on this machine and prints a Markdown table.

catena runs as gateway, head, tail, control plane and etcd, each a process of its own, with two replicas of every
message; mosquitto as one process with no copy; NATS as three servers with JetStream, which keep three copies on disk,
synced at intervals. All processes of a broker count, etcd too. For each line the brokers take their turns within the same
minutes, each time as fresh processes, and the median counts.

The brokers run on core 0 and the generator, `catena bench`, on core 1. In the lines that say so all share all cores. NATS speaks MQTT 3.1.1 alone.

Run it by `make compare-cluster`, or: make compare-cluster ARGS="--rounds 1 --only 'QoS 1'"
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from compare import MOSQUITTO
from running import CATENA, CLUSTER, Cluster, bench, free_port, needs, passed, wait_until_open

BROKER_CORE, GENERATOR_CORE = "0", "1"
STOP_SECONDS = 15
NATS = """\
server_name: n{number}
listen: 127.0.0.1:{client}
jetstream {{ store_dir: "{directory}/n{number}" }}
cluster {{ name: c, listen: 127.0.0.1:{route}, routes: [{routes}] }}
mqtt {{ listen: 127.0.0.1:{mqtt}, stream_replicas: 3, max_ack_pending: 1000 }}
"""
NATS_SERVERS = 3


@dataclass
class Row:
    """A line of the table: a load, and the number that is taken from its result."""

    load: str
    measure: str
    arguments: str
    number: Callable[[dict], float]
    form: str = "{:.2f}"
    cores: bool = True


PAIRS = "pairs --pairs 10 --window 100 "
ROWS = [
    Row("10 pairs, 256 bytes, QoS 1", "CPU µs/message", PAIRS + "--size 256 --qos 1",
        lambda result: result["cpu_us_per_delivered"]),
    Row("10 pairs, 256 bytes, QoS 0", "CPU µs/message", PAIRS + "--size 256 --qos 0",
        lambda result: result["cpu_us_per_delivered"]),
    Row("10 pairs, 8 KiB, QoS 1, all on all cores", "messages/s", PAIRS + "--size 8192 --qos 1",
        lambda result: result["delivered_per_second"], "{:,.0f}", cores=False),
    Row("10 pairs, 256 bytes, QoS 1, 2,000 messages/s", "median latency, µs", PAIRS + "--size 256 --qos 1 --rate 2000",
        lambda result: result["latency_us"]["p50"], "{:.0f}"),
    Row("the same, all on all cores", "median latency, µs", PAIRS + "--size 256 --qos 1 --rate 2000",
        lambda result: result["latency_us"]["p50"], "{:.0f}", cores=False),
]


class Running:
    """A broker: where it listens, and all its processes, with names where they have some."""

    def __init__(self, port, pids, protocol=5, names=None):
        self.port, self.pids, self.protocol, self.names = port, pids, protocol, names or {}


@contextlib.contextmanager
def catena(options, directory, cores):
    with Cluster(control_planes=1, backends=2, gateways=1, workers=options.shards, cores=cores, threads=options.threads,
                 gateway_workers=options.gateway_workers) as cluster:
        names = {pid: name for name, pid in cluster.pids.items()}
        yield Running(cluster.port, cluster.pids_of(), names=names)


@contextlib.contextmanager
def processes(commands, cores, log):
    """Starts all commands; stopped at the end of the `with`."""
    pinned = ["taskset", "-c", cores] if cores else []
    started = [subprocess.Popen([*pinned, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
               for command in commands]
    try:
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.send_signal(signal.SIGTERM)
        for process in started:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def mosquitto(options, directory, cores):
    port = free_port()
    config = directory / "mosquitto.conf"
    config.write_text(MOSQUITTO.format(port=port))
    with open(directory / "mosquitto.log", "w+") as log:
        with processes([[options.mosquitto, "-c", str(config)]], cores, log) as pids:
            if not wait_until_open(port):
                sys.exit(f"mosquitto does not listen: {(directory / 'mosquitto.log').read_text()}")
            yield Running(port, pids)


@contextlib.contextmanager
def nats(options, directory, cores):
    home = directory / "nats"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    ports = [(free_port(), free_port(), free_port()) for _ in range(NATS_SERVERS)]
    routes = ", ".join(f'"nats-route://127.0.0.1:{route}"' for _, route, _ in ports)
    commands = []
    for number, (client, route, mqtt) in enumerate(ports, 1):
        config = home / f"n{number}.conf"
        config.write_text(NATS.format(number=number, client=client, route=route, mqtt=mqtt, routes=routes, directory=home))
        commands.append([options.nats, "-c", str(config)])
    with open(home / "log", "w+") as log:
        with processes(commands, cores, log) as pids:
            port = ports[0][2]
            if not wait_until_open(port) or not nats_is_ready(port):
                sys.exit(f"NATS does not come up: {(home / 'log').read_text()[-4000:]}")
            yield Running(port, pids, protocol=4)


def nats_is_ready(port):
    """Its servers listen before they have chosen a leader; until then no client with a session is served."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        probe = [CATENA, "bench", "pairs", "--pairs", "1", "--qos", "1", "--messages", "10", "--warmup", "0", "-V", "4",
                 "--port", str(port), "--quiet"]
        if subprocess.run(probe, capture_output=True).returncode == 0:
            return True
        time.sleep(0.5)
    return False


BROKERS = {"catena": catena, "mosquitto": mosquitto, "nats": nats}


def measure(options, row, directory):
    """The results of all rounds by broker, the brokers taking turns."""
    results = {name: [] for name in options.brokers}
    for _ in range(options.rounds):
        for name in options.brokers:
            with BROKERS[name](options, directory, BROKER_CORE if row.cores else None) as broker:
                core = GENERATOR_CORE if row.cores else None
                result = bench(row.arguments, broker.port, broker.pids, core, broker.protocol, options.seconds)
                for process in result["cpu"] if result else []:
                    process["name"] = broker.names.get(process["pid"], process["name"])
                results[name].append(result)
    return results


def cell(row, results):
    numbers = [row.number(result) for result in results if result]
    if not numbers:
        return "failed"
    text = row.form.format(statistics.median(numbers))
    if "CPU" in row.measure:
        text += f" ({statistics.median(result['delivered_per_second'] for result in results if result):,.0f}/s)"
    if not all(map(passed, results)):
        text += " **checks failed**"
    return text


def by_process(results):
    """The cost of each process of the cluster in the median run."""
    results = sorted((result for result in results if result), key=lambda result: result["cpu_us_per_delivered"])
    if not results:
        return ""
    cpu = results[len(results) // 2]["cpu"]
    return ", ".join(f"{one['name']} {one['us_each']:.2f}" for one in cpu)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--mosquitto", default=shutil.which("mosquitto") or "/usr/sbin/mosquitto", help="the binary")
    parser.add_argument("--nats", default=shutil.which("nats-server") or "/usr/sbin/nats-server", help="the binary")
    parser.add_argument("--brokers", default="catena,mosquitto,nats", type=lambda text: text.split(","))
    parser.add_argument("--shards", type=int, default=1, help="shards of the cluster")
    parser.add_argument("--threads", type=int, default=1, help="threads of each backend")
    parser.add_argument("--gateway-workers", type=int, default=1, help="threads of the gateway")
    parser.add_argument("--rounds", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--seconds", type=float, default=5, help="length of a run")
    parser.add_argument("--only", default="", help="only the loads whose description has this")
    parser.add_argument("--json", type=Path, help="write all results to this file")
    return parser.parse_args()


def main():
    options = arguments()
    needs(CATENA, *([CLUSTER] if "catena" in options.brokers else []))
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the broker, one for the generator")
    everything = {}
    print("| load | measure |", " | ".join(options.brokers), "|")
    print("| --- | --- |", "---: | " * len(options.brokers))
    with tempfile.TemporaryDirectory() as directory:
        for row in ROWS:
            if options.only in row.load:
                results = everything[row.load] = measure(options, row, Path(directory))
                cells = [cell(row, results[name]) for name in options.brokers]
                print("| " + " | ".join([row.load, row.measure, *cells]) + " |", flush=True)
    print(f"\nMedians of {options.rounds}; in parentheses, deliveries per second on one core.")
    for load, results in everything.items():
        if results.get("catena") and "all cores" not in load:
            print(f"catena by process, CPU µs/message, {load}: {by_process(results['catena'])}")
    if options.json:
        options.json.write_text(json.dumps(everything, indent=2))
    # Only our own broker must not fail; the others are there to compare with.
    ours = [result for row in everything.values() for result in row.get("catena", [])]
    return 0 if all(map(passed, ours)) else 1


if __name__ == "__main__":
    sys.exit(main())
