"""Runs the pods of the chart as containers, without Kubernetes: their arguments, variables, volumes, users, and names in DNS are those that
helm renders. It shows that a cluster comes about of them; how Kubernetes schedules, probes and restarts them is not seen here.
"""

import base64
import os
import re
import subprocess
import sys

import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
NAMESPACE = "plant"
NETWORK = "pods"
USER = "65532:65532"
# Small, with everything that the default has, and a listener that `helm test` can use without a token.
VALUES = """
broker:
  memoryProfile: Tiny
  cardinality: {frontend: {replicas: 2, workers: 1}, backendChain: {partitions: 1, redundancyFactor: 2, workers: 2}}
listeners: [{name: default, spec: {ports: [{port: 883, tls: {mode: Automatic}}]}}]
backend: {spares: 1}
etcd: {replicas: 1}
"""


def render(scratch):
    with open(f"{scratch}/values.yaml", "w", encoding="utf-8") as file:
        file.write(VALUES)
    helm = os.path.join(os.path.dirname(sys.executable), "helm")
    command = [helm, "template", "demo", f"{ROOT}/helm/catena", "--namespace", NAMESPACE, "--values", f"{scratch}/values.yaml"]
    done = subprocess.run(command, text=True, capture_output=True, check=True)
    return [thing for thing in yaml.safe_load_all(done.stdout) if thing]


class Pods:
    """The pods of a release, on a network of their own; `images` has what stands for each image."""

    def __init__(self, docker, scratch, images):
        self.docker, self.scratch, self.images = docker, scratch, images
        self.things = render(scratch)
        self.next_address = 10
        # Pods of the broker that run.
        self.catena = set()
        docker("network", "create", "--subnet", "10.99.0.0/24", NETWORK)

    def start(self):
        """All pods, in any order, as Kubernetes does; each waits for what it needs."""
        for thing in self.things:
            if thing["kind"] in ("Deployment", "StatefulSet"):
                for index in range(thing["spec"]["replicas"]):
                    name = f"{thing['metadata']['name']}-{index}"
                    self.run(name, thing["spec"]["template"]["spec"], thing["spec"])
                    if "etcd" not in name:
                        self.catena.add(name)

    def test(self):
        """The pod of `helm test`, until it ends; its exit code."""
        (pod,) = [thing for thing in self.things if thing["kind"] == "Pod"]
        name = pod["metadata"]["name"]
        self.run(name, pod["spec"], {}, restart="no")
        code = self.docker("wait", name).stdout.strip()
        logs = self.docker("logs", name)
        self.docker("rm", name)
        return code, logs.stdout + logs.stderr

    def run(self, name, spec, owner, restart="always", pod=None):
        (container,) = spec["containers"]
        # What comes first in a pod ends before the rest begins, and leaves files in volumes that they share.
        for first in spec.get("initContainers", []):
            before = {**spec, "initContainers": [], "containers": [first]}
            self.run(f"{name}-{first['name']}", before, {}, restart="no", pod=name)
            code = self.docker("wait", f"{name}-{first['name']}").stdout.strip()
            if code != "0":
                logs = self.docker("logs", f"{name}-{first['name']}")
                raise SystemExit(f"{first['name']} of {name} ended with {code}:\n{logs.stdout}{logs.stderr}")
            self.docker("rm", f"{name}-{first['name']}")
        pod = pod or name
        address, self.next_address = f"10.99.0.{self.next_address}", self.next_address + 1
        known = {"metadata.name": pod, "status.podIP": address, "spec.nodeName": f"node-{pod}"}
        variables = {one["name"]: known[one["valueFrom"]["fieldRef"]["fieldPath"]] for one in container.get("env", [])}
        arguments = [re.sub(r"\$\((\w+)\)", lambda found: variables[found[1]], word) for word in container["args"]]
        command = ["run", "--detach", "--name", name, "--network", NETWORK, "--ip", address, "--restart", restart]
        command += ["--read-only", "--user", USER, "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
        command += ["--env", "KUBERNETES_SERVICE_HOST=10.96.0.1"]
        for variable, value in variables.items():
            command += ["--env", f"{variable}={value}"]
        for setting in spec["securityContext"].get("sysctls", []):
            command += ["--sysctl", f"{setting['name']}={setting['value']}"]
        for alias in self.names(name, owner):
            command += ["--network-alias", alias]
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        for mount in container.get("volumeMounts", []):
            command += self.mount(pod, mount, volumes[mount["name"]]) if mount["name"] in volumes else self.claim(name, mount)
        image = self.images["etcd" if "etcd" in container["image"] else "catena"]
        if container.get("command"):
            command += ["--entrypoint", container["command"][0]]
        self.docker(*command, image, *arguments)

    def names(self, name, owner):
        """What DNS says: a pod by its Service, and a Service by any of its pods."""
        suffixes = ("", f".{NAMESPACE}", f".{NAMESPACE}.svc", f".{NAMESPACE}.svc.cluster.local")
        labels = owner.get("template", {}).get("metadata", {}).get("labels", {})
        for thing in self.things:
            if thing["kind"] == "Service" and all(labels.get(key) == value for key, value in thing["spec"]["selector"].items()):
                yield from (thing["metadata"]["name"] + suffix for suffix in suffixes)
        if "serviceName" in owner:
            yield f"{name}.{owner['serviceName']}.{NAMESPACE}.svc.cluster.local"

    def claim(self, name, mount):
        """A volume that outlives the process."""
        directory = f"{self.scratch}/claim-{name}-{mount['name']}"
        os.makedirs(directory)
        os.chown(directory, 65532, 65532)
        return ["--volume", f"{directory}:{mount['mountPath']}"]

    def mount(self, pod, mount, volume):
        path = mount["mountPath"]
        if "emptyDir" in volume:
            # It lives as long as the pod: a process that is started again finds what it has left.
            directory = f"{self.scratch}/empty-{pod}-{mount['name']}"
            os.makedirs(directory, exist_ok=True)
            os.chown(directory, 65532, 65532)
            return ["--volume", f"{directory}:{path}{':ro' if mount.get('readOnly') else ''}"]
        ((kind, source),) = [(kind, what) for kind, what in volume.items() if kind in ("secret", "configMap")]
        name = source.get("secretName", source.get("name"))
        (thing,) = [thing for thing in self.things if thing["kind"].lower() == kind.lower() and thing["metadata"]["name"] == name]
        directory = f"{self.scratch}/{kind}-{name}"
        os.makedirs(directory, exist_ok=True)
        for key, value in thing["data"].items():
            content = base64.b64decode(value) if kind == "secret" else value.encode()
            with open(f"{directory}/{key}", "wb") as file:
                file.write(content)
            os.chown(f"{directory}/{key}", 0, 65532)
            os.chmod(f"{directory}/{key}", source.get("defaultMode", 0o644))
        return ["--volume", f"{directory}:{path}:ro"]
