#!/usr/bin/env python3
"""Measures what metrics and traces cost on the way of a QoS 1 message, and prints a Markdown table.

One broker with one worker on one core, the generator on another: `catena bench pairs --qos 1`. Of each kind of run there are several,
in turn, so that what else the machine does meets all kinds alike; the median of the processor time for a message counts. A collector
takes what is sent to it and throws it away, on the generator's core.

Run it by `make overhead`, or: CATENA_BIN=target/release/catena tests/bench/observe.py --rounds 3
"""

import argparse
import json
import os
import socketserver
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from compare import BROKER_CORE, GENERATOR_CORE, Broker, free_port

SCRAPE_SECONDS = 1
TARGET_PERCENT = 3


class Collector(socketserver.ThreadingTCPServer):
    """OTLP over HTTP: takes everything, and counts requests."""

    allow_reuse_address, daemon_threads = True, True

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path.endswith("/traces"):
                self.server.traces += 1
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    def handle_error(self, *_):
        """The broker ends with its connections open."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Collector.Handler)
        self.traces = 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


def scrape(port, ends):
    while not ends.wait(SCRAPE_SECONDS):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            answer.read()


def diagnostics(kind, collector):
    wanted = {"selfCheck": {"mode": "Disabled"}, "traces": {"sampleRatio": 0}}
    if kind in TRACED:
        wanted["opentelemetry"] = {"endpoint": f"http://127.0.0.1:{collector.server_address[1]}", "protocol": "Http"}
        wanted["traces"] = {"sampleRatio": 0.01, "spanChannelCapacity": TRACED[kind]}
    return wanted


def run(kind, options, directory):
    """Microseconds of the broker's processor for a message."""
    collector, port, metrics = Collector(), free_port(), free_port()
    manifests = directory / "manifests"
    manifests.mkdir(exist_ok=True)
    manifest = {"apiVersion": "catena.dev/v1", "kind": "Broker", "metadata": {"name": "default"},
                "spec": {"diagnostics": diagnostics(kind, collector)}}
    (manifests / "broker.json").write_text(json.dumps(manifest))
    address = "off" if kind == "nothing" else f"127.0.0.1:{metrics}"
    command = [options.catena, "standalone", "--in-memory", "--listen", f"127.0.0.1:{port}", "--admin", "127.0.0.1:0", "--workers", "1",
               "--shards", "1", "--resources", str(manifests), "--metrics-address", address]
    ends = threading.Event()
    with Broker("catena", command, port, open(directory / "catena.log", "w+")) as broker:
        scraper = None
        if kind != "nothing":
            scraper = threading.Thread(target=scrape, args=(metrics, ends))
            scraper.start()
        time.sleep(1)
        bench = ["taskset", "-c", GENERATOR_CORE, options.catena, "bench", "pairs", "--pairs", "10", "--qos", "1", "--size", "256",
                 "--duration", str(options.seconds), "--host", "127.0.0.1", "--port", str(port),
                 "--pids", str(broker.process.pid), "--json", "--quiet"]
        done = subprocess.run(bench, capture_output=True, text=True)
        ends.set()
        if scraper:
            scraper.join()
    collector.shutdown()
    if not done.stdout:
        sys.exit(f"{kind}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    if not result["checks"]["passed"]:
        sys.exit(f"{kind}: checks failed: {result}")
    if kind in TRACED and not collector.traces:
        sys.exit("no spans came: nothing was traced")
    return result["cpu_us_per_delivered"]


# With how much room for spans: the Broker's default, beyond which none begin, and so much that none is left out.
TRACED = {"1 % traced": 1_000, "1 % traced, with room for all spans": 100_000}
KINDS = ["nothing", "scraped", *TRACED]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--catena", default=os.environ.get("CATENA_BIN", "target/release/catena"),
                        help="the binary, also the generator (default: $CATENA_BIN)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each kind, in turn")
    parser.add_argument("--seconds", type=float, default=5, help="length of a run")
    options = parser.parse_args()
    options.catena = str(Path(options.catena).resolve())
    others = os.sched_getaffinity(0) - {int(BROKER_CORE)}
    if not others:
        sys.exit("this needs two cores: one for the broker, one for the load and the collector")
    # The collector, which is a thread of ours, would take the broker's core from it and what its cache has.
    os.sched_setaffinity(0, others)
    times = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(options.rounds):
            # Each round begins with another kind.
            for kind in KINDS[number % len(KINDS):] + KINDS[:number % len(KINDS)]:
                times[kind].append(run(kind, options, Path(directory)))
    base = statistics.median(times["nothing"])
    print("| metrics and traces | CPU µs per message | runs | more than without |")
    print("| --- | ---: | ---: | ---: |")
    worst = 0
    for kind in KINDS:
        median = statistics.median(times[kind])
        more = (median / base - 1) * 100
        worst = max(worst, more) if kind != KINDS[-1] else worst
        print(f"| {kind} | {median:.3f} | {min(times[kind]):.3f} to {max(times[kind]):.3f} | {more:+.1f} % |")
    print(f"\ntarget: {TARGET_PERCENT} % at most, as the Broker is by default; {'reached' if worst <= TARGET_PERCENT else 'missed'}")


if __name__ == "__main__":
    main()
