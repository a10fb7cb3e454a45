"""Compares catena with mosquitto on this machine and prints a Markdown table.

The broker runs on core 0 and the generator, `catena bench`, on core 1. For each line of the table
both brokers take their turns within the same minutes, each time as a fresh process, and the median
counts: machines that others use too are noisy, and the noise must hit both alike. Processor time for
each message is the number to trust; messages per second depend on how busy the machine is.

mosquitto runs with its defaults, except that it may queue without limit, so that it drops nothing,
and that it does not wait to fill packets, which is better for its latency. Its default of 20 messages in
flight stays: it is not slower with more.

Run it by `make compare`, or: CATENA_BIN=target/release/catena tests/bench/compare.sh --rounds 1
"""

import argparse
import json
import os
import resource
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

BROKER_CORE, GENERATOR_CORE = "0", "1"
START_SECONDS, STOP_SECONDS = 20, 15
MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
max_queued_messages 0
set_tcp_nodelay true
log_type error
"""


@dataclass
class Row:
    """A line of the table: a load, and the number that is taken from its result."""

    load: str
    measure: str
    arguments: str
    number: Callable[[dict], float]
    form: str = "{:.2f}"


def cpu(result):
    return result["cpu_us_per_delivered"]


PAIRS = "pairs --pairs 10 --size 256 --window 100 --qos "
ROWS = [
    Row("10 pairs, 256 bytes, QoS 0", "CPU µs/message", PAIRS + "0", cpu),
    Row("10 pairs, 256 bytes, QoS 1", "CPU µs/message", PAIRS + "1", cpu),
    Row("10 pairs, 256 bytes, QoS 2", "CPU µs/message", PAIRS + "2", cpu),
    Row("fan-out 1:100, QoS 0", "CPU µs/delivery", "fan-out --subscribers 100 --qos 0", cpu),
    Row("fan-in 50:1, QoS 1", "CPU µs/message", "fan-in --publishers 50 --qos 1", cpu),
    Row("10 pairs, QoS 1, 2,000 messages/s", "median latency, µs", PAIRS + "1 --rate 2000",
        lambda result: result["latency_us"]["p50"], "{:.0f}"),
    Row("connect and disconnect", "CPU µs", "connect --clients 10",
        lambda result: result["cpu_us_per_cycle"], "{:.0f}"),
    Row("10,000 idle connections", "memory, MiB", "idle --connections 10000",
        lambda result: result["memory"][0]["with_bytes"] / 2**20, "{:.1f}"),
]


class Broker:
    """A broker process on its core; stopped at the end of the `with`."""

    def __init__(self, name, command, port, log):
        self.name, self.port, self.log = name, port, log
        self.command = ["taskset", "-c", BROKER_CORE, *command]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while not self.is_open():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                self.log.seek(0)
                sys.exit(f"{self.name} does not listen on port {self.port}:\n{self.log.read()}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def is_open(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(name, options, directory):
    """A fresh broker of that name, not started yet."""
    port = free_port()
    log = open(directory / f"{name}.log", "w+")
    if name == "mosquitto":
        config = directory / "mosquitto.conf"
        config.write_text(MOSQUITTO.format(port=port))
        return Broker(name, [options.mosquitto, "-c", str(config)], port, log)
    command = [options.catena, "standalone", "--in-memory", "--listen", f"127.0.0.1:{port}"]
    return Broker(name, command + shlex.split(options.catena_arguments), port, log)


def bench(options, broker, row):
    """The result of one run as `catena bench --json` tells it; `None` if there was none."""
    command = ["taskset", "-c", GENERATOR_CORE, options.catena, "bench", *row.arguments.split(),
               "--port", str(broker.port), "--pids", str(broker.process.pid), "--json", "--quiet"]
    if not row.arguments.startswith("idle"):
        command += ["--duration", str(options.seconds)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.stderr:
        print(f"{broker.name}, {row.load}: {run.stderr.strip()}", file=sys.stderr)
    return json.loads(run.stdout) if run.stdout else None


def measure(options, row, directory):
    """The results of all rounds by broker, the brokers taking turns."""
    results = {name: [] for name in options.brokers}
    for _ in range(options.rounds):
        for name in options.brokers:
            with start(name, options, directory) as broker:
                results[name].append(bench(options, broker, row))
    return results


def passed(result):
    return result is not None and result.get("checks", {}).get("passed", True)


def cell(row, results):
    """The median as a number and as text."""
    numbers = [row.number(result) for result in results if result]
    if not numbers:
        return None, "failed"
    median = statistics.median(numbers)
    text = row.form.format(median)
    rates = [result["delivered_per_second"] for result in results if result and "checks" in result]
    if rates and "--rate" not in row.arguments:
        text += f" ({statistics.median(rates):,.0f}/s)"
    if not all(map(passed, results)):
        text += " **checks failed**"
    return median, text


def line(row, results):
    medians, texts = zip(*(cell(row, results[name]) for name in results))
    times = f"{medians[1] / medians[0]:.1f}" if len(medians) == 2 and all(medians) else ""
    return "| " + " | ".join([row.load, row.measure, *texts, times]) + " |"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--catena", default=os.environ.get("CATENA_BIN", "target/release/catena"),
                        help="the binary, also the generator (default: $CATENA_BIN)")
    parser.add_argument("--catena-arguments", default="", help="more arguments for `catena standalone`")
    parser.add_argument("--mosquitto", default="mosquitto", help="the binary")
    parser.add_argument("--brokers", default="catena,mosquitto", type=lambda text: text.split(","))
    parser.add_argument("--rounds", type=int, default=3, help="runs of which the median counts")
    parser.add_argument("--seconds", type=float, default=5, help="length of a run")
    parser.add_argument("--only", default="", help="only the loads whose description has this")
    parser.add_argument("--json", type=Path, help="write all results to this file")
    return parser.parse_args()


def main():
    options = arguments()
    if len(os.sched_getaffinity(0)) < 2:
        sys.exit("two cores are needed: one for the broker, one for the generator")
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    everything = {}
    print("| load | measure |", " | ".join(options.brokers), "| times |")
    print("| --- | --- |", "---: | " * (len(options.brokers) + 1))
    with tempfile.TemporaryDirectory() as directory:
        for row in ROWS:
            if options.only in row.load:
                everything[row.load] = measure(options, row, Path(directory))
                print(line(row, everything[row.load]), flush=True)
    print(f"\nMedians of {options.rounds}; in parentheses, deliveries per second on one core.")
    if options.json:
        options.json.write_text(json.dumps(everything, indent=2))
    # Only our own broker must not fail; the other is there to compare with.
    ours = [result for row in everything.values() for result in row.get("catena", [])]
    return 0 if all(map(passed, ours)) else 1


if __name__ == "__main__":
    sys.exit(main())
