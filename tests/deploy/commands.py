#!/usr/bin/env python3
"""Holds the commands in the documents for users against what there is: each `catena` command has the subcommands and options that it is
given, each `make` has its recipe, each file that is named is there. And runs the blocks that a reader can run as they stand.

    CATENA_BIN=target/debug/catena tests/deploy/commands.py
"""

import glob
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(os.environ.get("CATENA_BIN", f"{ROOT}/target/debug/catena"))
PAGES = [f"{ROOT}/README.md", f"{ROOT}/CHANGELOG.md", *sorted(glob.glob(f"{ROOT}/docs/*.md"))]
# Run as they stand, in an empty directory: the page, and words of the block.
RUN = [("docs/migration.md", "correct horse")]
# Run command by command beside a broker that has what they speak of.
BESIDE = [
    ("docs/admin-api.md", "catena edit listener"),
    ("docs/backup.md", "catena restore --replace"),
    ("docs/clusters.md", "catena status --watch"),
    ("docs/inspection.md", "catena sessions disconnect"),
    ("docs/inspection.md", "catena retained show"),
    ("docs/inspection.md", "catena explain-access"),
    ("docs/internal-traffic.md", "catena ca create"),
    ("docs/internal-traffic.md", "catena ca rotate"),
    ("docs/migration.md", "aio.yaml --dry-run"),
    ("docs/troubleshooting.md", "catena sessions list"),
]
# What says no by its exit code.
MAY_SAY_NO = ("catena diff", "catena explain-access", "catena restore today.catena")
MANIFESTS = """
apiVersion: catena.dev/v1
kind: BrokerListener
metadata: {name: default}
spec: {ports: [{port: PORT, address: 127.0.0.1}]}
---
apiVersion: catena.dev/v1
kind: BrokerAuthentication
metadata: {name: old}
spec: {authenticationMethods: [{method: X509}]}
---
apiVersion: catena.dev/v1
kind: BrokerAuthorization
metadata: {name: people}
spec: {authorizationPolicies: {rules: [{principals: {usernames: [bob]}, brokerResources: [{method: Connect}, {method: Publish}, {method: Subscribe}]}]}}
"""
problems = []


def blocks(page):
    """The code of a page that is for a shell, and the line where each begins."""
    with open(page, encoding="utf-8") as file:
        text = file.read()
    for found in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S):
        if found[1] in ("sh", "console", "bash"):
            yield text.count("\n", 0, found.start()) + 1, found[2].rstrip("\n").split("\n")
    # What is set in by four spaces is code too; of that, what is a command of ours.
    text = re.sub(r"^```.*?^```$", lambda found: "\n" * found[0].count("\n"), text, flags=re.M | re.S)
    for found in re.finditer(r"(?<=\n\n)((?:    .*\n)+)", text):
        lines = [line[4:] for line in found[1].rstrip("\n").split("\n")]
        if lines[0].startswith("catena "):
            yield text.count("\n", 0, found.start()) + 1, lines


def commands(block, is_console):
    """The commands of a block, without what they print and without here documents."""
    until, held = None, ""
    for line in block:
        if until:
            until = None if line.strip() == until else until
            continue
        if is_console and not held:
            if not line.startswith("$ "):
                continue
            line = line[2:]
        held += line
        if held.endswith("\\"):
            held = held[:-1]
            continue
        here = re.search(r"<<-?'?(\w+)'?", held)
        until = here[1] if here else None
        yield held
        held = ""


def words_of(command):
    """The words of each part of a pipe or list."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars="|;&()<>")
    lexer.whitespace_split, lexer.commenters = True, "#"
    part = []
    for word in lexer:
        if set(word) <= set("|;&()"):
            yield part
            part = []
        else:
            part.append(word)
    yield part


def help_of(path, known={}):
    if path not in known:
        done = subprocess.run([BINARY, *path, "--help"], text=True, capture_output=True, check=False)
        known[path] = done.stdout if done.returncode == 0 else None
    return known[path]


def check_catena(where, words):
    path, options = (), []
    for word in words:
        if word.startswith("-") and word != "-":
            options.append(word.split("=")[0])
        elif not options and re.fullmatch("[a-z-]+", word) and re.search(rf"^  {word}( |$)", help_of(path) or "", re.M):
            path += (word,)
    text = help_of(path)
    if text is None:
        problems.append(f"{where}: catena {' '.join(path)} is not there")
        return
    if not path and words and re.fullmatch("[a-z][a-z-]+", words[0]) and words[0] != "help":
        problems.append(f"{where}: catena has no command {words[0]}")
    for option in options:
        # Letters may stand together.
        named = [option] if option.startswith("--") else [f"-{letter}" for letter in option[1:2]]
        for name in named:
            if name not in ("--help", "--version", "-h") and not re.search(rf"(^|[\s,]){re.escape(name)}([\s,=]|$)", text, re.M):
                problems.append(f"{where}: catena {' '.join(path)} has no {name}")


def check_line(where, command, recipes):
    try:
        parts = list(words_of(command))
    except ValueError:
        problems.append(f"{where}: no shell understands this: {command}")
        return 0
    count = 0
    for words in parts:
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if not words:
            continue
        if os.path.basename(words[0]) == "catena" and words[0] in ("catena", "target/release/catena", "/usr/bin/catena"):
            check_catena(where, [word for word in words[1:] if word != "..."])
            count += 1
        if words[0] in ("kubectl", "docker") and "catena" in words:
            # What it runs in a pod or a container; other words are names.
            rest = words[words.index("--") + 1 :] if "--" in words else words[len(words) - words[::-1].index("catena") - 1 :]
            if rest[0] == "catena" and ("exec" in words or "--" in words):
                check_catena(where, rest[1:])
                count += 1
        if words[0] == "make":
            for word in words[1:]:
                if "=" not in word and not word.startswith("-") and word not in recipes:
                    problems.append(f"{where}: there is no recipe {word}")
            count += 1
        for word in words:
            if re.match(r"(docs|docker|helm|tests|packaging|services)/", word) and "*" not in word and not os.path.exists(f"{ROOT}/{word}"):
                problems.append(f"{where}: there is no {word}")
    return count


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(where, block, is_console):
    """Runs a block, as a reader would. A broker that it starts in the end has to come up, and ends when it is told."""
    script = "\n".join(commands(block, True)) if is_console else "\n".join(block)
    script = re.sub(r"(- port: )1883", rf"\g<1>{free_port()}", script)
    script = re.sub(r"^catena standalone", f"exec catena standalone --admin 127.0.0.1:{free_port()}", script, flags=re.M)
    with tempfile.TemporaryDirectory(prefix="catena-docs-") as scratch:
        os.mkdir(f"{scratch}/bin")
        os.symlink(BINARY, f"{scratch}/bin/catena")
        environment = {**os.environ, "CATENA_DATA_DIR": f"{scratch}/default", "PATH": f"{scratch}/bin:{os.environ['PATH']}"}
        with open(f"{scratch}/said", "w+", encoding="utf-8") as said:
            process = subprocess.Popen(["bash", "-euo", "pipefail", "-c", script], cwd=scratch, env=environment,
                                       stdin=subprocess.DEVNULL, stdout=said, stderr=said)  # fmt: skip
            deadline, is_up = time.monotonic() + 60, False
            while process.poll() is None and time.monotonic() < deadline and not is_up:
                time.sleep(0.1)
                with open(f"{scratch}/said", encoding="utf-8") as text:
                    is_up = "listening on" in text.read()
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
            if code != 0 or ("catena standalone" in script and not is_up):
                said.seek(0)
                problems.append(f"{where}: ends with {code}:\n{said.read()[-2000:]}")


class Beside:
    """A broker with resources, a session and retained messages, and the commands of documents beside it."""

    def __init__(self, scratch):
        self.scratch = scratch
        self.port, admin = free_port(), free_port()
        manifests = MANIFESTS.replace("PORT", str(self.port))
        policy = manifests.split("---")[-1]
        aio = manifests.replace("catena.dev/v1", "mqttbroker.iotoperations.azure.com/v1")
        for name, text in (("config/all", manifests), ("policy", policy), ("aio", aio), ("mine", policy.replace("people", "my-policy"))):
            os.makedirs(os.path.dirname(f"{scratch}/{name}") or scratch, exist_ok=True)
            with open(f"{scratch}/{name}.yaml", "w", encoding="utf-8") as file:
                file.write(text)
        os.makedirs(f"{scratch}/bin")
        os.symlink(BINARY, f"{scratch}/bin/catena")
        self.environment = {**os.environ, "PATH": f"{scratch}/bin:{os.environ['PATH']}", "CATENA_ADMIN": f"http://127.0.0.1:{admin}", "EDITOR": "true"}
        self.log = open(f"{scratch}/log", "w", encoding="utf-8")
        command = [BINARY, "standalone", "--in-memory", "--admin", f"127.0.0.1:{admin}", "--resources", "config", "--listen", "127.0.0.1:0"]
        self.broker = subprocess.Popen(command, cwd=scratch, env=self.environment, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.broker.stdout.readline()
        self.client = None
        self.setup()

    def setup(self):
        for _ in range(100):
            if self.say(f"catena pub -p {self.port} -t site/1/status -m up -r -q 1").returncode == 0:
                break
            time.sleep(0.1)
        self.say("catena apply -f mine.yaml")
        if self.client is None or self.client.poll() is not None:
            words = ["sub", "-p", str(self.port), "-i", "sensor-1", "-c", "-x", "600", "-t", "site/#"]
            self.client = subprocess.Popen([BINARY, *words], stdout=subprocess.PIPE, stderr=self.log)
            # The retained message: it is connected, and has subscribed.
            self.client.stdout.read(2)

    def say(self, command):
        return subprocess.run(["timeout", "20", "bash", "-c", command], cwd=self.scratch, env=self.environment, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)  # fmt: skip

    def run(self, where, block):
        self.setup()
        for command in commands(block, False):
            command = command.replace("verify ", f"verify --broker 127.0.0.1:{self.port} ")
            # A document's names of processes are a cluster's.
            command = command.replace(" --gateway gateway-1", "").replace("--watch", "").replace("/etc/catena/secrets", "secrets")
            if not command.startswith("catena"):
                continue
            done = self.say(command)
            allowed = (0, 1) if command.startswith(MAY_SAY_NO) else (0,)
            if done.returncode not in allowed:
                problems.append(f"{where}: {command} ends with {done.returncode}: {done.stdout[-500:]}{done.stderr[-500:]}")

    def end(self):
        self.client.kill()
        self.client.wait()
        self.broker.send_signal(signal.SIGTERM)
        if self.broker.wait(30) != 0:
            problems.append("the broker beside the commands did not end well")
        self.log.close()


def main():
    with open(f"{ROOT}/Makefile", encoding="utf-8") as file:
        recipes = set(re.findall(r"^([a-z-]+):", file.read(), re.M))
    count, ran = 0, set()
    with tempfile.TemporaryDirectory(prefix="catena-docs-") as scratch:
        beside = Beside(scratch)
        for page in PAGES:
            name = os.path.relpath(page, ROOT)
            for line, block in blocks(page):
                for of, words in BESIDE:
                    if of == name and words in "\n".join(block):
                        ran.add((of, words))
                        beside.run(f"{name}:{line}", block)
        beside.end()
    for page in PAGES:
        name = os.path.relpath(page, ROOT)
        for line, block in blocks(page):
            is_console = any(text.startswith("$ ") for text in block)
            for command in commands(block, is_console):
                count += check_line(f"{name}:{line}", command, recipes)
            for of, words in RUN:
                if of == name and words in "\n".join(block) and (of, words) not in ran:
                    ran.add((of, words))
                    run(f"{name}:{line}", block, is_console)
    for of, words in {*RUN, *BESIDE} - ran:
        problems.append(f"{of}: has no block with {words!r} any more")
    if count < 60:
        problems.append(f"only {count} commands were found: are the documents still read?")
    for problem in problems:
        print(problem)
    print(f"{count} commands, {len(ran)} blocks run: {'not ' if problems else ''}all as it should be")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
