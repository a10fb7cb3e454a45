#!/usr/bin/env python3
"""Measures how long a shard takes to serve again after kill -9: one million retained messages and 100,000 sessions on its disk.

Run it by `make restart`, or: make restart ARGS="--retained 100000 --sessions 10000"
"""

import argparse
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from running import CATENA, bench, needs, resident_bytes

START_SECONDS = 300
WINDOW = 1_000
# Logs of fewer bytes are not cut (services/backend/src/host/keeping.rs).
LOG_BYTES_MIN = 64 * 1024 * 1024
FULL = 0.9


class Broker:
    """A standalone broker with one shard, killed at the end of the `with`."""

    def __init__(self, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.data = Path(directory) / "data"
        self.log = Path(directory) / "log"
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        """Starts it, and waits until a client is answered; the seconds that took."""
        began = time.monotonic()
        words = ["standalone", "--listen", f"127.0.0.1:{self.port}", "--shards", "1", "--workers", "1", "--admin", "127.0.0.1:0",
                 "--metrics-address", "off", "--memory-profile", "high", "--data-dir", str(self.data)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen([CATENA, *words], stdout=log, stderr=log,
                                            env={**os.environ, "CATENA_LOG": "info"})
        while True:
            if self.process.poll() is not None or time.monotonic() > began + START_SECONDS:
                sys.exit(f"the broker does not start: {self.log.read_text()}")
            try:
                Client(self.port, "first").close()
                return time.monotonic() - began
            except OSError:
                time.sleep(0.01)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def bytes(self, prefix):
        """What the files take together whose names begin so."""
        return sum(file.stat().st_size for file in self.data.rglob(prefix + "*") if file.is_file())


def length(count):
    """The remaining length of a packet."""
    encoded = bytearray()
    while True:
        count, digit = divmod(count, 128)
        encoded.append(digit | (0x80 if count else 0))
        if not count:
            return bytes(encoded)


def text(words):
    encoded = words.encode()
    return struct.pack(">H", len(encoded)) + encoded


class Client:
    """As much of MQTT 3.1.1 as it takes to publish at QoS 1 and to get what is retained."""

    def __init__(self, port, name, clean=True):
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.reader = self.socket.makefile("rb", 1 << 20)
        body = text("MQTT") + bytes([4, 2 if clean else 0]) + struct.pack(">H", 0) + text(name)
        self.socket.sendall(b"\x10" + length(len(body)) + body)
        kind, answer = self.packet()
        if kind != 0x20 or answer[1] != 0:
            sys.exit(f"refused: {answer}")
        self.is_resumed = answer[0] == 1

    def packet(self):
        head = self.reader.read(1)
        if not head:
            raise OSError("the broker closed the connection")
        count, shift = 0, 0
        while True:
            digit = self.reader.read(1)[0]
            count |= (digit & 127) << shift
            shift += 7
            if digit < 128:
                return head[0], self.reader.read(count)

    def publish_all(self, topics, payload):
        """Publishes to each of the topics, retained, and waits until all are acknowledged."""
        room = threading.Semaphore(WINDOW)
        answered = threading.Thread(target=self.take_answers, args=(len(topics), room))
        answered.start()
        waiting = bytearray()
        for number, topic in enumerate(topics):
            if not room.acquire(blocking=False):
                self.socket.sendall(waiting)
                waiting.clear()
                room.acquire()
            body = text(topic) + struct.pack(">H", number % 60_000 + 1) + payload
            waiting += b"\x33" + length(len(body)) + body
        self.socket.sendall(waiting)
        answered.join()

    def take_answers(self, count, room):
        for _ in range(count):
            kind, _ = self.packet()
            if kind != 0x40:
                sys.exit(f"{kind:#x} is no PUBACK")
            room.release()

    def retained(self, topic):
        """What the topic retains."""
        body = struct.pack(">H", 1) + text(topic) + b"\x00"
        self.socket.sendall(b"\x82" + length(len(body)) + body)
        while True:
            kind, body = self.packet()
            if kind & 0xF0 == 0x30:
                return body[2 + len(topic):]

    def close(self):
        self.socket.sendall(b"\xe0\x00")
        self.socket.close()


def topic(number):
    return f"plant/{number // 1_000}/sensor/{number % 1_000}/temperature"


def processor_seconds(pid):
    """What all threads of a process have had of processors: how long it takes when nothing else runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def restart(broker, what, options):
    """Kills the broker, starts it, and looks whether everything is there."""
    before = resident_bytes(broker.process.pid)
    log, snapshot = broker.bytes("log-"), broker.bytes("snapshot-")
    broker.kill()
    seconds = broker.start()
    processor = processor_seconds(broker.process.pid)
    client = Client(broker.port, "looks")
    for number in [0, options.retained // 2, options.retained - 1]:
        payload = client.retained(topic(number))
        if len(payload) != options.size:
            sys.exit(f"{topic(number)} retains {payload}")
    if not Client(broker.port, "stays", clean=False).is_resumed:
        sys.exit("a session is gone")
    after = resident_bytes(broker.process.pid)
    print(f"- {what}: snapshot of {snapshot / 2**20:.0f} MiB, log of {log / 2**20:.0f} MiB: {seconds:.1f} s, "
          f"{processor:.1f} s of a processor; "
          f"{before / 2**20:.0f} MiB of memory before, {after / 2**20:.0f} MiB after", flush=True)
    return {"seconds": seconds, "processor_seconds": processor, "snapshot_bytes": snapshot, "log_bytes": log, "before_bytes": before, "after_bytes": after}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--retained", type=int, default=1_000_000, help="retained messages")
    parser.add_argument("--sessions", type=int, default=100_000, help="sessions")
    parser.add_argument("--filters", type=int, default=1, help="subscriptions of each session")
    parser.add_argument("--size", type=int, default=64, help="bytes of a payload")
    parser.add_argument("--directory", help="where to put the data, instead of the temporary directory")
    parser.add_argument("--json", help="a file for the figures")
    options = parser.parse_args()
    needs(CATENA)
    with tempfile.TemporaryDirectory(prefix="catena-restart-", dir=options.directory) as directory, Broker(directory) as broker:
        rows = {}
        began = time.monotonic()
        Client(broker.port, "stays", clean=False).close()
        if bench(f"sessions --sessions {options.sessions} --filters {options.filters} --keep", broker.port,
                 [broker.process.pid]) is None:
            sys.exit("no sessions")
        publisher = Client(broker.port, "publishes")
        publisher.publish_all([topic(number) for number in range(options.retained)], b"x" * options.size)
        print(f"- {options.sessions:,} sessions and {options.retained:,} retained messages of {options.size} bytes made in "
              f"{time.monotonic() - began:.0f} s; load of the machine {os.getloadavg()[0]:.1f}", flush=True)
        rows["as made"] = restart(broker, "as made", options)
        # The log is cut when it is as long as the last snapshot: just before that a start takes longest.
        publisher, again = Client(broker.port, "publishes"), 0
        while broker.bytes("log-") < FULL * max(LOG_BYTES_MIN, broker.bytes("snapshot-")):
            topics = [topic((again + number) % options.retained) for number in range(20_000)]
            publisher.publish_all(topics, b"y" * options.size)
            again += 20_000
        rows["longest log"] = restart(broker, "with the longest log", options)
        broker.kill()
        seconds = broker.start()
        print(f"- once more: {seconds:.1f} s", flush=True)
        rows["again"] = {"seconds": seconds}
        for line in broker.log.read_text().splitlines():
            if "read a shard from disk" in line:
                print(f"  {line}")
    if options.json:
        Path(options.json).write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
