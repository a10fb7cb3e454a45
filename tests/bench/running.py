"""What the benchmarks of a cluster share: a cluster of real processes, a load that watches it, and what processes cost.

The cluster is the one of `make cluster` (tests/src/bin/cluster.rs), driven by commands; the load is `catena verify`.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

START_SECONDS, HEAL_SECONDS = 60, 120
SAMPLE_SECONDS = 0.01
ROOT = Path(__file__).resolve().parents[2]
CATENA = os.environ.get("CATENA_BIN", str(ROOT / "target/release/catena"))
CLUSTER = os.environ.get("CATENA_CLUSTER_BIN", str(ROOT / "target/debug/cluster"))


def needs(*binaries):
    """Ends the program with advice when one of the binaries was not built."""
    for binary in binaries:
        if not Path(binary).exists():
            sys.exit(f"{binary} is missing: run this by `make failover`, `make scale` or `make compare-cluster`")


class Cluster:
    """A running cluster; stopped at the end of the `with`."""

    def __init__(self, **options):
        options = {"ports": 0, **options}
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
        self.process = subprocess.Popen([CLUSTER, "--json", *words], text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env={**os.environ, "CATENA_BIN": CATENA})
        line = self.process.stdout.readline()
        if not line:
            sys.exit("the cluster does not start: see above")
        told = json.loads(line)
        self.brokers, self.admin = told["brokers"], told["admin"]
        self.pids = {name: pid for name, pid in told["processes"].items() if pid}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # The end of its input ends it, and what it started.
        self.process.stdin.close()
        try:
            self.process.wait(HEAL_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()

    @property
    def port(self):
        return int(self.brokers[0].rsplit(":", 1)[1])

    def do(self, command):
        """Does what the words say; see `help` in `make cluster`."""
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if not answer["ok"]:
            sys.exit(f"{command}: {answer['error']}")
        done = answer["done"]
        if command.startswith("kill"):
            self.pids.pop(done["name"], None)
        elif "pid" in done:
            self.pids[done["name"]] = done["pid"]
        return done

    def pids_of(self, *roles):
        """The processes whose names begin with one of `roles`; of all when there are none."""
        return [pid for name, pid in self.pids.items() if not roles or name.startswith(roles)]


class Verify:
    """`catena verify` beside whatever happens; `end` tells what it saw."""

    def __init__(self, brokers, *words):
        command = [CATENA, "verify", "--json", "--progress-json", "--broker", ",".join(brokers),
                   "--duration", "100000", "--settle", "90", *words]
        self.process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines, self.complaints = [], []
        # What it calls 0 seconds, on our clock.
        self.origin = float("inf")
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()
        self.wait(lambda line: line["acknowledged"] > 0)

    def read(self):
        for text in self.process.stderr:
            try:
                line = json.loads(text)
            except ValueError:
                self.complaints.append(text)
                continue
            self.origin = min(self.origin, time.monotonic() - line["seconds"])
            self.lines.append(line)

    def wait(self, condition):
        """Waits until the last line fits."""
        deadline = time.monotonic() + HEAL_SECONDS
        while not (self.lines and condition(self.lines[-1])):
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"verify stands still or has ended: {''.join(self.complaints)} {self.lines[-1:]}")
            time.sleep(0.02)

    def wait_for_more(self, count):
        """Waits until so many messages more are acknowledged and delivered."""
        last = self.lines[-1]
        self.wait(lambda line: line["acknowledged"] >= last["acknowledged"] + count
                  and line["delivered"] >= last["delivered"] + count)

    def longest_gap(self, since, kind="publisher"):
        """The longest gap that ended after the time `since`, as (seconds, when it ended on our clock)."""
        gaps = [line["gaps"][kind] for line in list(self.lines) if kind in line["gaps"]]
        gaps = [(gap["milliseconds"] / 1e3, self.origin + gap["at_seconds"]) for gap in gaps]
        return max((gap for gap in gaps if gap[1] >= since), default=(0.0, since))

    def end(self):
        self.process.send_signal(signal.SIGINT)
        report = self.process.stdout.read()
        self.process.wait()
        if not report:
            sys.exit(f"verify said nothing: {''.join(self.complaints)}")
        return json.loads(report)


class RunQueue:
    """How long our processes were ready to run and did not get a processor."""

    def __init__(self, pids):
        self.pids, self.samples, self.over = list(pids), [], False
        self.thread = threading.Thread(target=self.sample, daemon=True)
        self.thread.start()

    def sample(self):
        while not self.over:
            self.samples.append((time.monotonic(), {pid: waited_ns(pid) for pid in self.pids}))
            time.sleep(SAMPLE_SECONDS)

    def end(self):
        self.over = True
        self.thread.join()

    def longest_seconds(self, since, until):
        """Of the process that waited longest between the two times, all its threads together."""
        before = [sample for at, sample in self.samples if at <= since] or [self.samples[0][1]]
        after = [sample for at, sample in self.samples if at >= until] or [self.samples[-1][1]]
        first, last = before[-1], after[0]
        # A process that was killed meanwhile has no second number.
        waits = [last[pid] - first[pid] for pid in self.pids if last[pid] and first[pid]]
        return max(waits, default=0) / 1e9


def waited_ns(pid):
    """Nanoseconds that the threads of a process waited for a processor; 0 when it is gone."""
    total = 0
    try:
        for task in os.scandir(f"/proc/{pid}/task"):
            with open(f"{task.path}/schedstat") as file:
                total += int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return total


def resident_bytes(pid):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return 0


def loopback_bytes():
    """Bytes that went over the loopback interface so far, headers included, each counted once."""
    with open("/sys/class/net/lo/statistics/tx_bytes") as file:
        return int(file.read())


def bench(words, port, pids, cores=None, protocol=5, seconds=5.0):
    """The result of one run as `catena bench --json` tells it; `None` if there was none."""
    command = [CATENA, "bench", *words.split(), "--port", str(port), "--pids", ",".join(map(str, pids)),
               "-V", str(protocol), "--json", "--quiet"]
    if not words.startswith("sessions"):
        command += ["--duration", str(seconds)]
    if cores:
        command = ["taskset", "-c", cores, *command]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.stderr:
        print(f"{words}: {run.stderr.strip()}", file=sys.stderr)
    return json.loads(run.stdout) if run.stdout else None


def passed(result):
    return result is not None and result.get("checks", {}).get("passed", True)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_open(port, seconds=START_SECONDS):
    """Whether somebody listens there within that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.05)
    return False
