#!/usr/bin/env python3
"""Puts more on the broker than its subscribers take, and watches what it does about it: memory of every process against the figure of
its profile, what is acknowledged and not delivered (nothing may be), and how long it takes to recover.

Run it by `make soak`, or: make soak ARGS="--profiles tiny,low --seconds 60"
With `--queue`: one long queue of an offline session, on disk and in memory.
"""

import argparse
import array
import json
import multiprocessing
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from running import CATENA, Cluster, free_port, needs, resident_bytes, wait_until_open

MIB = 1024 * 1024
# Of a gateway, and of each shard of a node.
FIGURES = {"tiny": (99 * MIB, 102 * MIB), "low": (387 * MIB, 390 * MIB),
           "medium": (1.9 * 1024 * MIB, 1.5 * 1024 * MIB), "high": (4.9 * 1024 * MIB, 5.8 * 1024 * MIB)}
QUOTA_EXCEEDED = 0x97
DRAIN_SECONDS = 600
RETRY_SECONDS = 0.02


def length(number):
    out = b""
    while True:
        number, digit = number >> 7, number & 127
        out += bytes([digit | (128 if number else 0)])
        if not number:
            return out


class Client:
    """As little of MQTT 5 as a load needs. All messages of a run have one size, so that their places are known."""

    def __init__(self, port, name, expiry=0, clean=True, window=65535):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        properties = b"\x11" + struct.pack(">I", expiry) + b"\x21" + struct.pack(">H", window)
        body = (b"\0\4MQTT\5" + bytes([2 if clean else 0]) + b"\0\0" + length(len(properties)) + properties
                + struct.pack(">H", len(name)) + name.encode())
        self.socket.sendall(b"\x10" + length(len(body)) + body)
        self.rest = b""
        packet = self.packet()
        if packet[0] != 0x20 or packet[3] != 0:
            raise OSError(f"{name} is refused: {packet!r}")
        self.present = packet[2] == 1

    def packet(self):
        """The next packet, whatever it is: only before messages come."""
        while True:
            if len(self.rest) > 2:
                size, shift, at = 0, 0, 1
                while at < len(self.rest):
                    byte = self.rest[at]
                    size, shift, at = size | (byte & 127) << shift, shift + 7, at + 1
                    if byte < 128:
                        break
                if len(self.rest) >= at + size:
                    packet, self.rest = self.rest[:at + size], self.rest[at + size:]
                    return packet
            self.read()

    def read(self):
        data = self.socket.recv(MIB)
        if not data:
            raise OSError("the broker closed the connection")
        self.rest += data

    def subscribe(self, topic, qos=1):
        body = b"\0\1\0" + struct.pack(">H", len(topic)) + topic.encode() + bytes([qos])
        self.socket.sendall(b"\x82" + length(len(body)) + body)
        packet = self.packet()
        if packet[0] != 0x90 or packet[-1] > 2:
            raise OSError(f"SUBSCRIBE is refused: {packet!r}")

    def close(self):
        self.socket.sendall(b"\xe0\0")
        self.socket.close()


class Shape:
    """Where things stand in a PUBLISH of QoS 1: the number of a message is the first eight bytes of its payload."""

    def __init__(self, topic, size):
        topic = struct.pack(">H", len(topic)) + topic.encode()
        body = topic + b"\0\0\0" + bytes(size)
        self.packet = b"\x32" + length(len(body)) + body
        self.size = len(self.packet)
        self.id = self.size - size - 3
        self.number = self.size - size


def publish(port, name, shape, window, until, most, order=None):
    """Publishes 0, 1, 2 ... until `until()` or `most` are acknowledged, and adds them to `order`. A refused one is sent again. Returns how
    many were acknowledged, how often one was refused, and which were refused at the end."""
    client = Client(port, name)
    acknowledged, refusals, again = 0, 0, []
    while acknowledged < most and not until():
        count = min(window, most - acknowledged)
        fresh = range(acknowledged + len(again), acknowledged + count)
        numbers = again + list(fresh)
        batch = bytearray(shape.packet * len(numbers))
        at = 0
        for identifier, number in enumerate(numbers, 1):
            struct.pack_into(">H", batch, at + shape.id, identifier)
            struct.pack_into(">Q", batch, at + shape.number, number)
            at += shape.size
        client.socket.sendall(batch)
        again, left = [], len(numbers)
        while left:
            client.read()
            data, at = client.rest, 0
            while len(data) >= at + 2 and len(data) >= at + 2 + data[at + 1]:
                size = data[at + 1]
                number = numbers[(data[at + 2] << 8 | data[at + 3]) - 1]
                if size > 2 and data[at + 4] >= 0x80:
                    if data[at + 4] != QUOTA_EXCEEDED:
                        raise OSError(f"refused with {data[at + 4]:#x}")
                    again.append(number)
                elif order is not None:
                    order.append(number)
                at, left = at + 2 + size, left - 1
            client.rest = data[at:]
        again.sort()
        acknowledged += len(numbers) - len(again)
        refusals += len(again)
        if again:
            time.sleep(RETRY_SECONDS)
    client.close()
    return acknowledged, refusals, again


def take(client, shape, seen, enough, per_second=None, until=lambda: False):
    """Takes and acknowledges messages; `seen(numbers)` notes them. Until `enough()`, or `until()`; with `per_second` not faster."""
    began, taken = time.monotonic(), 0
    client.socket.settimeout(0.5)
    while not enough() and not until():
        try:
            client.read()
        except TimeoutError:
            continue
        data, count = client.rest, len(client.rest) // shape.size
        if count == 0:
            continue
        numbers, acks = [], []
        for at in range(0, count * shape.size, shape.size):
            numbers.append(int.from_bytes(data[at + shape.number:at + shape.number + 8], "big"))
            acks.append(b"\x40\2" + data[at + shape.id:at + shape.id + 2])
        client.rest = data[count * shape.size:]
        seen(numbers)
        client.socket.sendall(b"".join(acks))
        taken += count
        if per_second and taken > per_second * (time.monotonic() - began):
            time.sleep(min(max(taken / per_second - (time.monotonic() - began), 0), 0.5))
    return taken


class Watch:
    """The most memory that processes had."""

    def __init__(self, pids):
        self.pids, self.peak, self.over = dict(pids), {name: 0 for name in pids}, False
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        while not self.over:
            for name, pid in self.pids.items():
                try:
                    self.peak[name] = max(self.peak[name], resident_bytes(pid))
                except OSError:
                    pass
            time.sleep(0.05)

    def end(self):
        self.over = True
        self.thread.join()
        return self.peak


class Standalone:
    def __init__(self, profile, shards=1, buffer=None):
        self.port, self.directory = free_port(), tempfile.mkdtemp(prefix="catena-soak-")
        manifests = Path(self.directory, "manifests")
        manifests.mkdir()
        manifests.joinpath("broker.yaml").write_text(manifest(profile, shards, buffer))
        command = [CATENA, "standalone", "--in-memory", "--listen", f"127.0.0.1:{self.port}", "--shards", str(shards), "--workers", str(shards),
                   "--log", "warn", "--admin", f"127.0.0.1:{free_port()}", "--resources", str(manifests),
                   "--buffer-dir", str(Path(self.directory, "buffer"))]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        self.shards = shards

    def __enter__(self):
        if not wait_until_open(self.port):
            sys.exit("the broker does not start")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def processes(self):
        return {"standalone": self.process.pid}

    def figure(self, profile, _):
        gateway, shard = FIGURES[profile]
        return gateway + shard * self.shards


class Replicated(Cluster):
    """One gateway, and two nodes with a replica of each shard."""

    def __init__(self, profile, shards=1, buffer=None):
        super().__init__(backends=2, gateways=1, control_planes=1, workers=shards, redundancy=2)
        self.shards = shards
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(manifest(profile, shards, buffer, redundancy=2))
            file.flush()
            admin = self.admin[0] if isinstance(self.admin, list) else self.admin
            subprocess.run([CATENA, "apply", "--admin", admin, "-f", file.name], check=True, stdout=subprocess.DEVNULL)

    def processes(self):
        return {name: pid for name, pid in self.pids.items() if name.startswith(("gateway", "backend"))}

    def figure(self, profile, name):
        gateway, shard = FIGURES[profile]
        return gateway if name.startswith("gateway") else shard * self.shards


def manifest(profile, shards, buffer, redundancy=1):
    spec = {"memoryProfile": profile.capitalize(),
            "cardinality": {"backendChain": {"partitions": 1, "workers": shards, "redundancyFactor": redundancy}}}
    if buffer:
        spec["diskBackedMessageBuffer"] = {"maxSize": buffer}
    return json.dumps({"apiVersion": "catena.dev/v1", "kind": "Broker", "metadata": {"name": "default"}, "spec": spec})


def publisher(port, index, size, ends_at, results):
    shape = Shape(f"soak/{index}", size)
    over = lambda: time.monotonic() >= ends_at
    acknowledged, refusals, again = publish(port, f"publisher-{index}", shape, 200, over, 1 << 60)
    # Of the last batch some may have been acknowledged that follow a refused one: `again` says which were not.
    results.put((index, acknowledged, refusals, again))


def subscriber(port, index, size, per_second, ends_at, expected, results):
    """Slow while the load lasts, then as fast as it can, until everything that was acknowledged is here."""
    shape = Shape(f"soak/{index}", size)
    seen = bytearray()
    twice = 0

    def note(numbers):
        nonlocal twice
        highest = max(numbers)
        if highest >= len(seen):
            seen.extend(bytes(highest + 1 - len(seen) + 65536))
        for number in numbers:
            twice += seen[number]
            seen[number] = 1

    client = Client(port, f"subscriber-{index}", expiry=3600, clean=False, window=100)
    if not client.present:
        client.subscribe(f"soak/{index}")
    results.put((index, "ready"))
    take(client, shape, note, lambda: False, per_second, lambda: time.monotonic() >= ends_at)
    acknowledged, again = expected.get()
    deadline = time.monotonic() + DRAIN_SECONDS

    def lacks():
        total = acknowledged + len(again)
        return total - sum(seen[:total]) - sum(1 for number in again if number >= len(seen) or not seen[number])

    last = [0.0, None]

    def enough():
        # Counting takes a while.
        if time.monotonic() - last[0] > 0.25:
            last[0], last[1] = time.monotonic(), lacks() <= 0
        return last[1]

    take(client, shape, note, enough, until=lambda: time.monotonic() > deadline)
    results.put((index, "done", lacks(), twice, time.monotonic()))
    client.close()


def unread(port, index):
    """Takes QoS 0 messages and never reads."""
    client = Client(port, f"unread-{index}")
    client.subscribe("soak/#", 0)
    return client


def soak(options, profile, kind):
    size, pairs = options.size, options.pairs
    with kind(profile, options.shards, options.buffer) as broker:
        watch = Watch(broker.processes())
        idle = [unread(broker.port, index) for index in range(options.unread)]
        results = multiprocessing.Queue()
        began = time.monotonic()
        ends_at = began + options.seconds
        expected = [multiprocessing.Queue() for _ in range(pairs)]
        readers = [multiprocessing.Process(target=subscriber, daemon=True, args=(
            broker.port, index, size, options.rate, ends_at, expected[index], results)) for index in range(pairs)]
        [reader.start() for reader in readers]
        [results.get(timeout=60) for _ in readers]
        done = multiprocessing.Queue()
        writers = [multiprocessing.Process(target=publisher, daemon=True, args=(
            broker.port, index, size, ends_at, done)) for index in range(pairs)]
        [writer.start() for writer in writers]
        told = sorted(done.get(timeout=options.seconds + 120) for _ in writers)
        ended = time.monotonic()
        for index, acknowledged, _, again in told:
            expected[index].put((acknowledged, again))
        # One that asks for no favours: when it is served at once, the pressure is over.
        shape = Shape("probe", 16)
        publish(broker.port, "probe", shape, 1, lambda: False, 1)
        accepts = time.monotonic() - ended
        gone = [results.get(timeout=DRAIN_SECONDS + 60) for _ in readers]
        peak = watch.end()
        del idle
        row = {
            "acknowledged": sum(one[1] for one in told), "refused": sum(one[2] for one in told),
            "lost": sum(max(one[2], 0) for one in gone), "twice": sum(one[3] for one in gone),
            "accepts_again_seconds": accepts, "drained_seconds": max(one[4] for one in gone) - ended,
            "peak": {name: {"bytes": most, "figure": broker.figure(profile, name)} for name, most in peak.items()},
        }
        row["passed"] = row["lost"] == 0 and all(one["bytes"] <= one["figure"] for one in row["peak"].values())
    memory = ", ".join(f"{name} {one['bytes'] / MIB:,.0f} of {one['figure'] / MIB:,.0f}" for name, one in row["peak"].items())
    print(f"| {profile} | {kind.__name__.lower()} | {row['acknowledged']:,} | {row['refused']:,} | {row['lost']} | {memory} | "
          f"{row['accepts_again_seconds']:.1f} | {row['drained_seconds']:.1f} | {'yes' if row['passed'] else 'NO'} |", flush=True)
    return row


def queue(options, count, profile, buffer):
    """A session that is away, with `count` messages; how fast they come when it is back, and whether in order."""
    shape = Shape("queue/1", options.size)
    with Standalone(profile, 1, buffer) as broker:
        watch = Watch(broker.processes())
        away = Client(broker.port, "away", expiry=36000, clean=False)
        away.subscribe("queue/1")
        away.close()
        began = time.monotonic()
        # Some at once: the window is what the broker tells a client.
        order = array.array("Q")
        acknowledged, refusals, _ = publish(broker.port, "filler", shape, 500, lambda: False, count, order)
        filled = time.monotonic() - began
        came, wrong = 0, 0

        def note(numbers):
            nonlocal came, wrong
            # The order that they were acknowledged in.
            wrong += order[came:came + len(numbers)] != array.array("Q", numbers)
            came += len(numbers)

        began = time.monotonic()
        back = Client(broker.port, "away", expiry=36000, clean=False)
        deadline = began + DRAIN_SECONDS * 3
        taken = take(back, shape, note, lambda: came >= count, until=lambda: time.monotonic() > deadline)
        drained = time.monotonic() - began
        peak, figure = watch.end()["standalone"], broker.figure(profile, None)
        row = {"messages": count, "profile": profile, "buffer": buffer, "refused": refusals, "fill_per_second": acknowledged / filled,
               "drain_per_second": taken / drained, "out_of_order": wrong, "lost": count - taken, "peak": peak, "figure": figure}
    where = f"disk ({buffer})" if buffer else "memory"
    print(f"| {count:,} | {profile} | {where} | {row['fill_per_second']:,.0f} | {row['drain_per_second']:,.0f} | {wrong} | "
          f"{row['lost']} | {refusals:,} | {peak / MIB:,.0f} of {figure / MIB:,.0f} |", flush=True)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profiles", default="tiny,low,medium,high")
    parser.add_argument("--kinds", default="standalone,replicated")
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--pairs", type=int, default=4, help="publishers, each with a slow subscriber")
    parser.add_argument("--rate", type=int, default=500, help="messages per second that a slow subscriber takes")
    parser.add_argument("--unread", type=int, default=20, help="subscribers at QoS 0 that read nothing")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--buffer", help="disk-backed message buffer, as in 2Gi")
    parser.add_argument("--queue", action="store_true", help="one long queue instead")
    parser.add_argument("--messages", type=int, default=5_000_000)
    parser.add_argument("--reference", type=int, default=200_000)
    parser.add_argument("--json")
    options = parser.parse_args()
    needs(CATENA)
    rows, passed = [], True
    if options.queue:
        print("| messages | profile | where | in per second | out per second | out of order | lost | refused | peak MiB |\n"
              "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        memory = queue(options, options.reference, "medium", None)
        disk = queue(options, options.messages, "low", options.buffer or "20Gi")
        rows = [memory, disk]
        passed = disk["drain_per_second"] >= memory["drain_per_second"] / 2 and all(
            row["lost"] == 0 and row["out_of_order"] == 0 and row["peak"] <= row["figure"] for row in rows)
    else:
        print("| profile | what | acknowledged | refused | lost | peak MiB of its figure | accepts again after, s | drained after, s | "
              "passed |\n| --- | --- | ---: | ---: | ---: | --- | ---: | ---: | --- |")
        kinds = {"standalone": Standalone, "replicated": Replicated}
        for profile in options.profiles.split(","):
            for kind in options.kinds.split(","):
                rows.append(soak(options, profile, kinds[kind]))
        passed = all(row["passed"] for row in rows)
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=1))
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
