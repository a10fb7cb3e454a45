#!/usr/bin/env python3
"""Measures what grows: memory with sessions, processor time and bytes on the wire with redundancy and payload, and how long a
replica takes to join. Prints the constants that docs/scale.md has formulas for.

Run it by `make scale`, or: make scale ARGS="--sessions 10000 --only memory"
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

from running import CATENA, CLUSTER, Cluster, Verify, bench, loopback_bytes, needs, passed, resident_bytes

CALM_SECONDS = 2.0
SIZES = [64, 1024, 8192]


def memory(options):
    """Bytes per session and per subscription on each replica, and what joining takes with them."""
    rows = {}
    for filters in [0, options.filters]:
        with Cluster(backends=2, gateways=1, control_planes=1, workers=options.shards) as cluster:
            words = f"sessions --sessions {options.sessions} --filters {filters} --keep"
            result = bench(words, cluster.port, cluster.pids_of("backend", "gateway"))
            if result is None:
                return {"failed": True}
            each = [one["each_bytes"] for one in result["memory"]]
            rows[f"{filters} subscriptions"] = {"made_in_seconds": result["made_in_seconds"], "each_bytes": each}
            print(f"- {options.sessions:,} sessions with {filters} subscriptions, made in "
                  f"{result['made_in_seconds']:.0f} s: bytes per session and process (backends, gateway): "
                  + ", ".join(f"{one:,.0f}" for one in each), flush=True)
            if filters:
                rows["join"] = join(cluster, options)
    with_none, with_some = (statistics.mean(row["each_bytes"][:2]) for row in list(rows.values())[:2])
    print(f"- per session and replica: {with_none:,.0f} bytes; "
          f"per subscription: {(with_some - with_none) / options.filters:,.0f} bytes", flush=True)
    return rows


def join(cluster, options):
    """The tail is lost and comes back: how long it takes to join, and how long publishers wait meanwhile."""
    verify = Verify(cluster.brokers, "--churn", "0", "--rate", str(options.rate), "--publishers", "8")
    name = cluster.do("kill tail")["name"]
    verify.wait_for_more(1_000)
    time.sleep(CALM_SECONDS)
    began = time.monotonic()
    cluster.do(f"start {name}")
    cluster.do("wait")
    seconds = time.monotonic() - began
    time.sleep(CALM_SECONDS)
    pause, _ = verify.longest_gap(began)
    report = verify.end()
    pid = cluster.pids[name]
    print(f"- a replica of them joins under {options.rate} messages/s: {seconds:.1f} s from its start to full strength, "
          f"longest pause of a publisher {pause * 1e3:.0f} ms, {resident_bytes(pid) / 2**20:.0f} MiB then; "
          f"wrong: {report['violations'] or 'nothing'}", flush=True)
    return {"seconds": seconds, "pause_ms": pause * 1e3, "passed": report["passed"],
            "violations": report["violations"]}


def cost(options):
    """Processor time and bytes on the wire per message by redundancy and payload."""
    rows = {}
    print("\n| replicas | payload, bytes | CPU µs/message | bytes on the wire/message |\n| ---: | ---: | ---: | ---: |")
    for redundancy in options.redundancies:
        with Cluster(backends=redundancy, gateways=1, control_planes=1, workers=1, redundancy=redundancy, threads=1,
                     gateway_workers=1) as cluster:
            for size in SIZES:
                before = loopback_bytes()
                result = bench(f"pairs --pairs 10 --window 100 --qos 1 --warmup 0 --size {size}", cluster.port,
                               cluster.pids_of(), seconds=options.seconds)
                wire = loopback_bytes() - before
                if not passed(result):
                    print(f"| {redundancy} | {size} | failed: {result and result['checks']} | |", flush=True)
                    continue
                row = rows[f"{redundancy} {size}"] = {
                    "cpu_us": result["cpu_us_per_delivered"], "wire_bytes": wire / max(result["delivered"], 1)}
                print(f"| {redundancy} | {size} | {row['cpu_us']:.2f} | {row['wire_bytes']:,.0f} |", flush=True)
    print("\nBytes on the wire are those of the loopback interface, TCP and IP headers included: from the publisher to the "
          "gateway, along the chain, and from the gateway to the subscriber, with all acknowledgements.")
    return rows


def idle(options):
    """Processor time of a cluster that nobody uses, in percent of one core."""
    rows = {}
    with Cluster() as cluster:
        time.sleep(CALM_SECONDS)
        before = {name: cpu_seconds(pid) for name, pid in cluster.pids.items()}
        time.sleep(options.idle_seconds)
        for name, pid in cluster.pids.items():
            rows[name] = {"percent": (cpu_seconds(pid) - before[name]) * 100 / options.idle_seconds,
                          "mib": resident_bytes(pid) / 2**20}
    print("- idle, percent of a core and MiB: "
          + ", ".join(f"{name} {row['percent']:.1f} % {row['mib']:.0f} MiB" for name, row in rows.items()), flush=True)
    return rows


def cpu_seconds(pid):
    """User and system time."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


PARTS = {"idle": idle, "cost": cost, "memory": memory}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sessions", type=int, default=100_000)
    parser.add_argument("--filters", type=int, default=3, help="subscriptions of each session")
    parser.add_argument("--shards", type=int, default=1, help="shards of the cluster with the sessions")
    parser.add_argument("--redundancies", default="1,2,3", type=lambda text: [int(word) for word in text.split(",")])
    parser.add_argument("--rate", type=int, default=1_000, help="messages per second while a replica joins")
    parser.add_argument("--seconds", type=float, default=5, help="length of a load")
    parser.add_argument("--idle-seconds", type=float, default=20)
    parser.add_argument("--only", default="", help="of idle, cost, memory")
    parser.add_argument("--json", type=Path, help="write all results to this file")
    return parser.parse_args()


def main():
    options = arguments()
    needs(CATENA, CLUSTER)
    results = {name: part(options) for name, part in PARTS.items() if options.only in name}
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))
    joined = results.get("memory", {}).get("join", {"passed": "memory" not in results})
    return 0 if joined["passed"] else 1


if __name__ == "__main__":
    sys.exit(main())
