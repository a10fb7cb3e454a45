#!/usr/bin/env python3
"""Builds the image from a binary that is built, and runs it as Kubernetes and compose would: not as root, with a read-only root.
Then starts the cluster of docker/compose.yaml, puts `catena verify` on it, and kills one process of each role; and the same with the
pods of the chart.

    CATENA_BIN=target/debug/catena .tools/helm/bin/python tests/deploy/image.py

Nothing is pulled: etcd's image is made of this machine's etcd. Docker runs in a network namespace of its own, so that it changes no
rule of this machine's firewall. Needs root.
"""

import json
import os
import shutil
import subprocess
import tempfile
import time

import pods

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MIB = 1 << 20
# What a release build may have; builds for tests are larger.
SIZE_MAX = {"release": 40 * MIB}
SIZE_MAX_OTHERS = 56 * MIB
IMAGE = "localhost/catena:test"
ETCD = "localhost/etcd:test"
SAFE = ["--read-only", "--user", "65532:65532", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]


def run(*command, check=True, **options):
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **options)
    if check and done.returncode != 0:
        raise SystemExit(f"failed: {' '.join(command)}\n{done.stdout}{done.stderr}")
    return done


def wait(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.2)
    raise SystemExit(f"waited {seconds} s for {what}")


class Docker:
    """A Docker daemon of our own."""

    def __init__(self, scratch):
        self.network = f"catena-image-{os.getpid()}"
        socket = os.path.join(scratch, "docker.sock")
        self.environment = {**os.environ, "DOCKER_HOST": f"unix://{socket}"}
        self.log = os.path.join(scratch, "dockerd.log")
        run("ip", "netns", "add", self.network)
        run("ip", "-n", self.network, "link", "set", "lo", "up")
        command = ["nsenter", f"--net=/var/run/netns/{self.network}", "dockerd", "--storage-driver", "vfs"]
        command += ["--data-root", f"{scratch}/data", "--exec-root", f"{scratch}/exec", "--pidfile", f"{scratch}/pid"]
        with open(self.log, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([*command, "--host", f"unix://{socket}"], stdout=log, stderr=log)
        try:
            wait("dockerd", lambda: self("info", check=False).returncode == 0, 30)
        except SystemExit as problem:
            self.end()
            with open(self.log, encoding="utf-8") as log:
                raise SystemExit(f"{problem}\n{log.read()[-3000:]}") from problem

    def __call__(self, *command, check=True):
        return run("/usr/bin/docker", *command, check=check, env=self.environment)

    def compose(self, *command, check=True):
        environment = {**self.environment, "CATENA_IMAGE": IMAGE, "ETCD_IMAGE": ETCD}
        file = os.path.join(ROOT, "docker", "compose.yaml")
        return run("docker-compose", "-p", "catena", "-f", file, *command, check=check, env=environment)

    def container(self, service):
        return self.compose("ps", "-q", service).stdout.strip()

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        run("ip", "netns", "delete", self.network, check=False)


def build(binary, scratch):
    """The image twice, which must be the same, and etcd's, as files that Docker loads."""
    storage = f"--root {scratch}/images --runroot {scratch}/run --storage-driver vfs"
    environment = {**os.environ, "BUILDAH_FLAGS": storage}
    buildah = ["buildah", *storage.split()]
    started = time.monotonic()
    first = run(f"{ROOT}/docker/image.sh", binary, IMAGE, env=environment).stdout.split()[-1]
    print(f"built the image in {time.monotonic() - started:.1f} s", flush=True)
    again = run(f"{ROOT}/docker/image.sh", binary, "localhost/catena:again", env=environment).stdout.split()[-1]
    if first != again:
        raise SystemExit(f"the same binary made two images: {first} and {again}")
    etcd = os.path.join(scratch, "etcd")
    for directory in ("usr/bin", "tmp", "var/lib/etcd", "etc"):
        os.makedirs(f"{etcd}/{directory}")
    shutil.copy(shutil.which("etcd"), f"{etcd}/usr/bin/etcd")
    for word in run("ldd", f"{etcd}/usr/bin/etcd", check=False).stdout.split():
        if word.startswith("/"):
            os.makedirs(os.path.dirname(etcd + word), exist_ok=True)
            shutil.copy(word, etcd + word)
    with open(os.path.join(scratch, "Etcd"), "w", encoding="utf-8") as recipe:
        recipe.write("FROM scratch\nCOPY etcd/ /\nENV PATH=/usr/bin\n")
    run(*buildah, "build", "--quiet", "--tag", ETCD, "--file", f"{scratch}/Etcd", scratch)
    for number, name in enumerate((IMAGE, ETCD)):
        run(*buildah, "push", name, f"docker-archive:{scratch}/{number}.tar:{name}")
        yield f"{scratch}/{number}.tar"


def looks_right(docker, binary):
    """What the image says of itself, its size, and that it has nobody's shell."""
    (said,) = json.loads(docker("image", "inspect", IMAGE).stdout)
    size, kind = said["Size"], os.path.basename(os.path.dirname(binary))
    print(f"the image has {size / MIB:.1f} MiB, of a {kind} build", flush=True)
    if size > SIZE_MAX.get(kind, SIZE_MAX_OTHERS):
        raise SystemExit("that is too much")
    for label in ("title", "version", "revision", "created", "licenses"):
        if not said["Config"]["Labels"].get(f"org.opencontainers.image.{label}"):
            raise SystemExit(f"the label {label} is missing")
    if said["Config"]["User"] != "65532:65532":
        raise SystemExit(f"it runs as {said['Config']['User']}")
    if docker("run", "--rm", "--entrypoint", "/bin/sh", IMAGE, "-c", "true", check=False).returncode == 0:
        raise SystemExit("it has a shell")
    container = docker("create", IMAGE).stdout.strip()
    found = docker("cp", f"{container}:/usr/share/doc/catena/sbom.cdx.json", "-").stdout
    docker("rm", container)
    names = {part["name"] for part in json.loads(found[found.index("{") : found.rindex("}") + 1])["components"]}
    if not {"tokio", "rustls", "libc6"} <= names:
        raise SystemExit(f"the SBOM lacks parts of the binary: {sorted(names)}")


def runs_alone(docker):
    """A standalone broker that may write nowhere serves clients, and ends when it is asked to."""
    name = docker("run", "--detach", *SAFE, IMAGE, "standalone", "--in-memory", "--listen", "0.0.0.0:1883").stdout.strip()
    wait("the broker", lambda: "listening on" in docker("logs", name).stdout, 20)
    docker("exec", name, "catena", "pub", "-r", "-t", "smoke", "-m", "hello", "-q", "1")
    heard = docker("exec", name, "catena", "sub", "-t", "smoke", "-C", "1", "-W", "10").stdout
    if heard.strip() != "hello":
        raise SystemExit(f"published hello, and got {heard!r}")
    docker("stop", "--time", "20", name)
    code = docker("inspect", "--format", "{{.State.ExitCode}}", name).stdout.strip()
    if code != "0":
        raise SystemExit(f"it ended with {code}")
    docker("rm", name)


def cluster_survives(docker, scratch):
    """The cluster of compose, whose processes and clients speak TLS, loses one process of each role, and no acknowledged message."""
    docker.compose("up", "--detach")

    def is_whole():
        return docker.compose("exec", "-T", "control-plane-1", "catena", "status", check=False).returncode == 0

    def is_healthy(service):
        said = docker("inspect", "--format", "{{.State.Health.Status}}", docker.container(service))
        return said.stdout.strip() == "healthy"

    wait("the cluster", is_whole)
    wait("healthy gateways", lambda: is_healthy("gateway-1") and is_healthy("gateway-2"))
    trust = docker.compose("exec", "-T", "control-plane-1", "catena", "ca", "show", "--pem").stdout
    with open(f"{scratch}/compose-ca.pem", "w", encoding="utf-8") as file:
        file.write(trust)
    verify = ["verify", "--broker", "mqtts://gateway-1:8883,mqtts://gateway-2:8883", "--cafile", "/ca.pem", "--duration", "15", "--settle", "30"]
    mount = ["--volume", f"{scratch}/compose-ca.pem:/ca.pem:ro"]
    name = docker("run", "--detach", *SAFE, *mount, "--network", "catena_default", IMAGE, *verify).stdout.strip()
    for service in ("backend-1", "control-plane-2", "gateway-2"):
        # The load goes on meanwhile; verify itself judges.
        time.sleep(2)
        docker("kill", docker.container(service))
        print(f"killed {service}", flush=True)
        docker.compose("up", "--detach", "--no-recreate", service)
        wait("the cluster to be whole again", is_whole)
    code = docker("wait", name).stdout.strip()
    if code != "0":
        raise SystemExit(f"catena verify found something:\n{docker('logs', name).stdout}")
    for service in ("control-plane-1", "control-plane-2", "gateway-1", "gateway-2"):
        wait(f"{service} to be healthy", lambda service=service: is_healthy(service))


def chart_makes_a_cluster(docker, scratch):
    """The pods of the chart find each other and serve; one process of each role is killed under load."""
    cluster = pods.Pods(docker, scratch, {"catena": IMAGE, "etcd": ETCD})
    cluster.start()

    def is_whole():
        return docker("exec", "demo-catena-control-plane-0", "catena", "status", check=False).returncode == 0

    wait("the chart's pods", is_whole)
    code = ""
    for _ in range(30):
        code, said = cluster.test()
        if code == "0":
            break
        time.sleep(0.5)
    if code != "0":
        raise SystemExit(f"helm's test pod ended with {code}:\n{said}")
    trust = f"{scratch}/configMap-demo-catena-trust:/trust:ro"
    load = ["verify", "--broker", "mqtts://demo-catena:883", "--cafile", "/trust/ca.crt", "--duration", "12", "--settle", "30"]
    name = docker("run", "--detach", *SAFE, "--volume", trust, "--network", pods.NETWORK, IMAGE, *load).stdout.strip()
    for pod in ("demo-catena-backend-0", "demo-catena-gateway-1", "demo-catena-control-plane-1", "demo-catena-etcd-0"):
        # The load goes on meanwhile; verify itself judges.
        time.sleep(2)
        docker("kill", pod)
        docker("start", pod)
        print(f"killed {pod}", flush=True)
        wait("the cluster to be whole again", is_whole)
    if docker("wait", name).stdout.strip() != "0":
        raise SystemExit(f"catena verify found something:\n{docker('logs', name).stdout}")
    # What the probes of the chart ask.
    for pod in sorted(cluster.catena):
        wait(f"{pod} to be ready", lambda pod=pod: docker("exec", pod, "catena", "health", "--ready", check=False).returncode == 0)


def main():
    if os.geteuid() != 0:
        raise SystemExit("this needs root: it starts a Docker daemon of its own")
    os.environ["PATH"] += ":/usr/sbin:/sbin"
    binary = os.path.abspath(os.environ["CATENA_BIN"])
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="catena-image-", ignore_cleanup_errors=True) as scratch:
        archives = list(build(binary, scratch))
        docker = Docker(scratch)
        try:
            for archive in archives:
                docker("load", "--input", archive)
            looks_right(docker, binary)
            runs_alone(docker)
            cluster_survives(docker, scratch)
            docker.compose("down", "--volumes", "--timeout", "1", check=False)
            chart_makes_a_cluster(docker, scratch)
        except SystemExit:
            for container in docker("ps", "--all", "--format", "{{.Names}}").stdout.split():
                logs = docker("logs", "--tail", "5", container, check=False)
                print(f"--- {container}\n{logs.stdout}{logs.stderr}")
            raise
        finally:
            docker.compose("down", "--volumes", "--timeout", "1", check=False)
            for container in docker("ps", "--all", "--quiet", check=False).stdout.split():
                docker("rm", "--force", container, check=False)
            docker.end()
    print(f"the image works; this took {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
