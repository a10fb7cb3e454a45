#!/usr/bin/env python3
"""Measures how long clients wait when the head or the tail of a chain is lost, and prints a Markdown table.

A cluster with two replicas and a spare serves `catena verify`, whose clients never move of their own. Again and again the head
(then the tail) is killed, or hangs for longer than the time-out; the longest time in which a publisher got no answer
counts. In between everything becomes whole again. No client may lose its connection and nothing may be lost, doubled
or out of order: the exit code says so.

Beside the longest pause stands how long the threads of one of our processes together were ready to run in it and had no
processor, of the process that waited longest: where that is a good part of the pause, the machine was measured and not the broker.

Run it by `make failover`, or: make failover ARGS="--kills 5 --hangs 0"
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from running import CATENA, CLUSTER, Cluster, RunQueue, Verify, needs

# Between failures, so that each pause stands alone.
CALM_SECONDS = 1.0
# Acknowledged after a failure, and it is over.
MORE = 1_000


def one_failure(cluster, verify, place, hang):
    """The pause in seconds, and how much of it a process waited for a processor."""
    cluster.do("wait")
    time.sleep(CALM_SECONDS)
    queue = RunQueue(cluster.pids.values())
    began = time.monotonic()
    if hang:
        name = cluster.do(f"pause {place}")["name"]
        time.sleep(hang)
        cluster.do(f"resume {name}")
    else:
        name = cluster.do(f"kill {place}")["name"]
    verify.wait_for_more(MORE)
    time.sleep(CALM_SECONDS)
    pause, until = verify.longest_gap(began)
    queue.end()
    if not hang:
        cluster.do(f"start {name}")
    return pause, queue.longest_seconds(until - pause, until)


def measure(options, place, count, hang):
    pauses = []
    with Cluster(workers=options.shards, failure_timeout_ms=options.failure_timeout_ms) as cluster:
        verify = Verify(cluster.brokers, "--churn", "0", "--rate", str(options.rate), "--publishers", "8")
        for number in range(count):
            pauses.append(one_failure(cluster, verify, place, hang))
            print(f"{place} {number + 1} of {count}: {pauses[-1][0] * 1e3:.0f} ms, "
                  f"{pauses[-1][1] * 1e3:.0f} ms without a processor", file=sys.stderr)
        cluster.do("wait")
        report = verify.end()
    return {"pauses_ms": [pause * 1e3 for pause, _ in pauses], "waits_ms": [wait * 1e3 for _, wait in pauses],
            "passed": report["passed"], "broken": report["connections"]["broken"],
            "violations": report["violations"], "acknowledged": report["acknowledged"]}


def line(name, result):
    pauses, waits = result["pauses_ms"], result["waits_ms"]
    slowest = pauses.index(max(pauses))
    cells = [name, len(pauses), f"{statistics.median(pauses):.0f}", f"{max(pauses):.0f}",
             f"{waits[slowest]:.0f}", result["broken"], "nothing" if result["passed"] else result["violations"]]
    return "| " + " | ".join(map(str, cells)) + " |"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=20, help="of the head, and as many of the tail")
    parser.add_argument("--hangs", type=int, default=5, help="of the head, and as many of the tail")
    parser.add_argument("--hang-seconds", type=float, default=8.0, help="longer than the time-out")
    parser.add_argument("--failure-timeout-ms", type=int, default=3_000, help="of the cluster")
    parser.add_argument("--shards", type=int, default=1, help="shards of the cluster")
    parser.add_argument("--rate", type=int, default=1_000, help="messages per second")
    parser.add_argument("--json", type=Path, help="write all results to this file")
    return parser.parse_args()


def main():
    options = arguments()
    needs(CATENA, CLUSTER)
    results = {}
    print("| failure | times | pause p50, ms | pause max, ms | without a processor in it, ms | connections broken | wrong |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | --- |")
    for what, count, hang in [("killed", options.kills, None), ("hangs", options.hangs, options.hang_seconds)]:
        for place in ["head", "tail"] if count else []:
            name = f"{place} {what}"
            results[name] = measure(options, place, count, hang)
            print(line(name, results[name]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    return 0 if all(result["passed"] and result["broken"] == 0 for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
