#!/usr/bin/env python3
"""Renders the chart with the real helm for each file in values/, and looks at what comes of it: Kubernetes' own schemas, that things
fit together, that the binary has every flag that it is given, and that it takes the resources.

    CATENA_BIN=target/debug/catena .tools/helm/bin/python tests/deploy/chart.py
"""

import base64
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

import kubernetes_validate
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
CHART = os.path.join(ROOT, "helm", "catena")
HELM = os.path.join(os.path.dirname(sys.executable), "helm")
BINARY = os.path.abspath(os.environ.get("CATENA_BIN", f"{ROOT}/target/debug/catena"))
KUBERNETES = ("1.27", "1.32")
# Secrets and config maps that the values name, and that the chart does not make.
BROUGHT = {
    "external-etcd": {"etcd-client", "etcd-user"},
    "cert-manager": {"secure-server", "users", "login-ca", "auth-ca", "broker-client", "auth-headers", "test-user"},
    "node-port": {"server"},
    "persistence": {"disk-key"},
    "persistence-plain": {"collector-headers"},
}
LONG = "0123456789-a-name-that-is-as-long-as-helm-allows-it-x"
# What is refused, and what the refusal has to speak of.
WRONG = [
    (["--set", "broker.memoryProfile=Huge"], "memoryProfile"),
    (["--set", "broker.cardinality.frontend.replicas=17"], "replicas"),
    (["--set", "brocker.memoryProfile=Low"], "brocker"),
    (["--set", "gateway.replicas=3"], "replicas"),
    (["--set", "etcd.enabled=false"], "etcd.external.endpoints"),
    (["--set", "etcd.replicas=2"], "replicas"),
    (["--set", "backend.zones={a}"], "backend.zones has 1 zones"),
    (["--set", "internalTraffic.mode=CsiDriver"], "internalTraffic.issuerRef.name"),
    (["--set", "internalTraffic.mode=Off,broker.advanced.encryptInternalTraffic=Enabled"], "internalTraffic.mode"),
    (["--set", "internalTraffic.mode=Plain"], "mode"),
    (["--set", "metrics.enabled=true"], "metrics"),
    (["--set", "priorityClass.value=2000000000"], "priorityClass"),
    (["--set", "listeners[0].name=x"], "listeners"),
    (["--set", "image.digest=latest"], "digest"),
]
problems = []


def problem(where, what):
    problems.append(f"{where}: {what}")


def helm(*arguments):
    return subprocess.run([HELM, *arguments], text=True, capture_output=True, check=False)


def render(name, kubernetes):
    release = LONG if name == "odd-names" else "demo"
    done = helm("template", release, CHART, "--namespace", "plant", "--kube-version", kubernetes,
                "--values", f"{HERE}/values/{name}.yaml")  # fmt: skip
    if done.returncode != 0:
        problem(name, done.stderr.strip())
        return []
    return [thing for thing in yaml.safe_load_all(done.stdout) if thing]


def pods(things):
    for thing in things:
        if thing["kind"] in ("Deployment", "StatefulSet"):
            yield thing, thing["spec"]["template"]["metadata"]["labels"], thing["spec"]["template"]["spec"]
        elif thing["kind"] == "Pod":
            yield thing, thing["metadata"]["labels"], thing["spec"]


def called(thing):
    return f"{thing['kind']}/{thing['metadata']['name']}"


def selects(selector, labels):
    return all(labels.get(key) == value for key, value in selector.items())


def check_schema(name, things, kubernetes):
    """Each object is one that Kubernetes takes; those of others have what their schemas ask for."""
    needed = {
        "Certificate": ("secretName", "issuerRef", "dnsNames"),
        "ServiceMonitor": ("selector", "endpoints"),
    }
    seen = set()
    for thing in things:
        where = f"{name}: {called(thing)}"
        if called(thing) in seen:
            problem(where, "is there twice")
        seen.add(called(thing))
        most = 253 if thing["kind"] in ("ClusterRole", "ClusterRoleBinding", "ConfigMap", "Secret") else 52
        if len(thing["metadata"]["name"]) > most or not re.fullmatch("[a-z0-9]([a-z0-9-]*[a-z0-9])?", thing["metadata"]["name"]):
            problem(where, "has a name that is too long or odd")
        if thing["kind"] == "Service" and not thing["metadata"]["name"][0].isalpha():
            problem(where, "has a name that does not begin with a letter")
        if thing["kind"] in needed:
            for field in needed[thing["kind"]]:
                if not thing["spec"].get(field):
                    problem(where, f"lacks spec.{field}")
            continue
        try:
            kubernetes_validate.validate(thing, kubernetes, strict=True)
        except kubernetes_validate.ValidationError as error:
            # Later than the schemas of the oldest version.
            problem(where, error.message)


def check_pods(name, things):
    """Pods are of the restricted profile, find what they mount, and are spread."""
    have = {thing["metadata"]["name"] for thing in things if thing["kind"] in ("Secret", "ConfigMap")} | BROUGHT.get(name, set())
    accounts = {thing["metadata"]["name"] for thing in things if thing["kind"] == "ServiceAccount"}
    for thing, labels, spec in pods(things):
        where = f"{name}: {called(thing)}"
        if spec["enableServiceLinks"] is not False:
            problem(where, "a Service named catena would set CATENA_ variables")
        if spec.get("serviceAccountName", "default") not in accounts | {"default"}:
            problem(where, "its service account is missing")
        if not spec["securityContext"]["runAsNonRoot"]:
            problem(where, "may run as root")
        volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
        claims = {claim["metadata"]["name"] for claim in thing["spec"].get("volumeClaimTemplates", [])}
        for volume in volumes.values():
            for kind, key in (("secret", "secretName"), ("configMap", "name")):
                if kind in volume and volume[kind][key] not in have:
                    problem(where, f"mounts {volume[kind][key]}, which nobody makes")
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            security = container["securityContext"]
            if not security["readOnlyRootFilesystem"] or security["allowPrivilegeEscalation"] or security["capabilities"] != {"drop": ["ALL"]}:
                problem(where, "is not of the restricted profile")
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes and mount["name"] not in claims:
                    problem(where, f"mounts {mount['name']}, which is no volume")
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {}).get("secretKeyRef")
                if source and source["name"] not in have:
                    problem(where, f"takes {variable['name']} from {source['name']}, which nobody makes")
            numbers = [port["containerPort"] for port in container.get("ports", [])]
            names = {port["name"] for port in container.get("ports", [])}
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                for action in container.get(probe, {}).values():
                    if isinstance(action, dict) and action.get("port") not in [*numbers, *names]:
                        problem(where, f"{probe} asks port {action.get('port')}, which is not there")
        if thing["kind"] != "Pod":
            template = thing["spec"]["selector"]["matchLabels"]
            if not selects(template, labels):
                problem(where, "does not select its own pods")
            spread = {constraint["topologyKey"] for constraint in spec["topologySpreadConstraints"]}
            if spread != {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}:
                problem(where, "is not spread over hosts and zones")
            if spec["terminationGracePeriodSeconds"] < 15:
                problem(where, "has less time to end than the process takes")


def check_disks(name, things):
    """Backends keep what they are to keep on volumes of their own, find the key for it, and wait for their chains before they end."""
    broker = next(resource for resource in resources(things) if resource["kind"] == "Broker")["spec"]
    disk, buffer = broker.get("persistence") or {}, broker.get("diskBackedMessageBuffer") or {}
    for thing, labels, spec in pods(things):
        if labels.get("app.kubernetes.io/component") != "backend" or thing["kind"] == "Pod":
            continue
        where = f"{name}: {called(thing)}"
        container = spec["containers"][0]
        given = dict(word.split("=", 1) for word in container["args"] if "=" in word)
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        claims = {claim["metadata"]["name"]: claim["spec"] for claim in thing["spec"].get("volumeClaimTemplates", [])}
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        data = mounts.get(given.get("--data-dir"), {}).get("name")
        if not data:
            problem(where, "has no volume for --data-dir")
        elif ("maxSize" in disk) != (data in claims):
            problem(where, f"keeps its state in {claims.get(data) or volumes.get(data)} with persistence {disk}")
        elif data in claims:
            asked = {**(disk.get("persistentVolumeClaimSpec") or {})}
            if any(claims[data].get(field) != value for field, value in asked.items()) or not claims[data]["resources"]["requests"]["storage"]:
                problem(where, f"claims {claims[data]} for {disk}")
        place = mounts.get(given.get("--buffer-dir"), {}).get("name")
        if ("maxSize" in buffer) != (place is not None):
            problem(where, f"has {place} for --buffer-dir with {buffer}")
        if place and buffer.get("ephemeralVolumeClaimSpec") and "ephemeral" not in volumes[place]:
            problem(where, f"keeps long queues in {volumes[place]}")
        key = (disk.get("encryption") or {}).get("keySecretRef")
        if key:
            mount = mounts.get(f"{given.get('--secrets-dir')}/{key}", {}).get("name")
            if not mount or volumes[mount].get("secret", {}).get("secretName") != key:
                problem(where, f"does not find the key {key}")
        command = container["lifecycle"]["preStop"]["exec"]["command"]
        wait = int(next(word for word in command if word.startswith("--wait=")).split("=")[1])
        if command[:3] != ["catena", "health", "--may-leave"] or not {word.split("=")[0] for word in command[2:]} <= flags("health"):
            problem(where, f"catena has no {' '.join(command)}")
        if wait + 12 > spec["terminationGracePeriodSeconds"]:
            problem(where, f"waits {wait} s of {spec['terminationGracePeriodSeconds']} for its chains, and needs 10 to leave them")


def check_collector(name, things):
    """All pods of the broker find the headers for the collector."""
    broker = next(resource for resource in resources(things) if resource["kind"] == "Broker")["spec"]
    secret = ((broker.get("diagnostics") or {}).get("opentelemetry") or {}).get("headersSecretRef")
    for thing, labels, spec in pods(things):
        container = spec["containers"][0]
        if not secret or thing["kind"] == "Pod" or container["args"][0] not in ("gateway", "backend", "control-plane"):
            continue
        mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
        directories = [word.split("=")[1] for word in container["args"] if word.startswith("--secrets-dir=")]
        if len(directories) != 1 or f"{directories[0]}/{secret}" not in mounts:
            problem(f"{name}: {called(thing)}", f"does not find {secret} in {directories}")


def check_network(name, things):
    """Services and policies lead to ports that pods have."""
    for thing in things:
        where = f"{name}: {called(thing)}"
        if thing["kind"] in ("Service", "NetworkPolicy", "PodDisruptionBudget"):
            if thing["kind"] == "Service":
                selector = thing["spec"]["selector"]
                ports = [port.get("targetPort") for port in thing["spec"]["ports"]]
            else:
                selector = thing["spec"].get("podSelector", thing["spec"].get("selector"))["matchLabels"]
                ports = [port["port"] for rule in thing["spec"].get("ingress", []) for port in rule["ports"]]
            chosen = [spec for kind, labels, spec in pods(things) if kind["kind"] != "Pod" and selects(selector, labels)]
            if not chosen:
                problem(where, "selects no pod")
            for spec in chosen:
                container = spec["containers"][0]["ports"]
                known = {port["containerPort"] for port in container} | {port["name"] for port in container}
                for port in ports:
                    if port not in known:
                        problem(where, f"names port {port}, which its pods do not have")
                if thing["kind"] == "NetworkPolicy":
                    missing = {port["containerPort"] for port in container} - set(ports)
                    if missing:
                        problem(where, f"lets nobody reach {sorted(missing)}")


def check_size(name, things, values):
    """There are as many backends as chains need, apart from each other, and the pods have room for their profile."""
    broker = next(resource for resource in resources(things) if resource["kind"] == "Broker")["spec"]
    chain = broker["cardinality"]["backendChain"]
    sets = [thing for thing in things if thing["kind"] == "StatefulSet" and "backend" in thing["metadata"]["name"]]
    backends = values.get("backend", {})
    count = sum(thing["spec"]["replicas"] for thing in sets)
    if count != chain["partitions"] * chain["redundancyFactor"] + backends.get("spares", 0):
        problem(name, f"has {count} backends for {chain}")
    zones = set()
    for thing in sets:
        container = thing["spec"]["template"]["spec"]["containers"][0]
        zone = next(word for word in container["args"] if word.startswith("--zone="))
        zones.add(zone)
        if f"--threads={chain['workers']}" not in container["args"]:
            problem(name, "has a thread for more or fewer than one shard")
        shard = {"Tiny": 102, "Low": 390, "Medium": 1536, "High": 5940}[broker.get("memoryProfile", "Medium")]
        asked = int(container["resources"]["requests"]["memory"].removesuffix("Mi"))
        limit = int(container["resources"]["limits"]["memory"].removesuffix("Mi"))
        if asked != shard * chain["workers"] or limit != asked * 5 // 4:
            problem(name, f"backends ask for {asked} MiB and may have {limit}")
        if ("cpu" in container["resources"]["limits"]) == (broker.get("generateResourceLimits") == {"cpu": "Disabled"}):
            problem(name, "limits processors against generateResourceLimits")
    wanted = {f"--zone={zone}" for zone in backends.get("zones", [])} or {"--zone=$(NODE_NAME)"}
    if zones != wanted:
        problem(name, f"chain members are kept apart by {zones}")


def resources(things):
    (text,) = [thing["data"]["resources.yaml"] for thing in things if "resources.yaml" in thing.get("data", {})]
    return list(yaml.safe_load_all(text))


def flags(role, known={}):
    """The flags and variables that a command has."""
    if role not in known:
        text = subprocess.run([BINARY, *role.split(), "--help"], text=True, capture_output=True, check=True).stdout
        known[role] = set(re.findall(r"--[a-z][a-z-]*", text)) | set(re.findall(r"CATENA_[A-Z_]+", text))
    return known[role]


def check_flags(name, things):
    """The binary has each flag and variable that it is given."""
    for thing, _, spec in pods(things):
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            if container.get("command"):
                continue
            role, *words = container["args"]
            if role == "ca":
                role, words = f"ca {words[0]}", words[1:]
            given = {word.split("=")[0] for word in words} | {variable["name"] for variable in container.get("env", [])}
            if role in ("gateway", "backend", "control-plane") and "--internal-tls" not in given:
                problem(f"{name}: {called(thing)}", "does not say whether internal traffic is encrypted, and the binary asks for it")
            for word in given:
                if word.startswith(("--", "CATENA_")) and word not in flags(role):
                    problem(f"{name}: {called(thing)}", f"catena {role} has no {word}")


def check_compose():
    with open(f"{ROOT}/docker/compose.yaml", encoding="utf-8") as file:
        compose = yaml.safe_load(file)
    for name, service in compose["services"].items():
        if "catena" in service["image"]:
            role, *words = service["command"]
            if role == "ca":
                role, words = f"ca {words[0]}", words[1:]
            elif "off" in words or "--internal-tls" not in words:
                problem(f"compose: {name}", "speaks plain text")
            for word in words:
                if word.startswith("--") and word not in flags(role):
                    problem(f"compose: {name}", f"catena {role} has no {word}")


def check_units():
    """The units of docs/systemd start a role with variables that it has."""
    directory = f"{ROOT}/docs/systemd"
    for file in sorted(os.listdir(directory)):
        with open(f"{directory}/{file}", encoding="utf-8") as opened:
            text = opened.read()
        if file.endswith(".env"):
            role = file.removesuffix(".env")
            for word in re.findall(r"CATENA_[A-Z_]+", text):
                if word not in flags(role):
                    problem(f"docs/systemd/{file}", f"catena {role} has no {word}")
        else:
            (role,) = re.findall(r"^ExecStart=/usr/bin/catena (\S+)(?: .*)?$", text, re.M)
            if f"/etc/catena/{role}.env" not in text or not flags(role):
                problem(f"docs/systemd/{file}", "does not read the variables of its role")


def check_taken(name, things):
    """A control plane takes the resources, by the rules that hold in Kubernetes."""
    with tempfile.TemporaryDirectory(prefix="catena-chart-") as scratch:
        os.makedirs(f"{scratch}/resources")
        with open(f"{scratch}/resources/resources.yaml", "w", encoding="utf-8") as file:
            file.write("---\n".join(yaml.safe_dump(resource) for resource in resources(things)))
        command = [BINARY, "control-plane", "--store", "embedded", "--data-dir", f"{scratch}/data", "--listen", "127.0.0.1:0"]
        command += ["--admin", "127.0.0.1:0", "--resources", f"{scratch}/resources", "--internal-tls", "off"]
        environment = {**os.environ, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
        process = subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said = process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        _, wrong = process.communicate(timeout=30)
        if not said.startswith("listening on"):
            problem(name, f"the control plane does not take its resources:\n{wrong[-2000:]}")


def check_authority(name, things):
    """The CA of the pods is one that the broker takes, and only the control plane and those who make tokens have its key."""
    mode = "Off" if name in ("no-tls", "persistence-plain") else "CsiDriver" if name == "csi" else "OwnCa"
    (ca,) = [thing for thing in things if thing["kind"] == "Secret" and thing["metadata"]["name"].endswith("-internal-ca")] or (None,)
    if (ca is not None) != (mode == "OwnCa"):
        return problem(name, f"has {'a' if ca else 'no'} CA of the pods with {mode}")
    if ca is None:
        return None
    for thing, _, spec in pods(things):
        for container in spec["containers"]:
            has_key = any(mount["name"] == "internal-ca" for mount in container.get("volumeMounts", []))
            if has_key != (container["name"] == "control-plane"):
                problem(f"{name}: {called(thing)}", f"{container['name']} {'has' if has_key else 'lacks'} the key of the CA")
    with tempfile.TemporaryDirectory(prefix="catena-chart-") as scratch:
        os.makedirs(f"{scratch}/catena-ca")
        for key, value in ca["data"].items():
            with open(f"{scratch}/catena-ca/{key}", "wb") as file:
                file.write(base64.b64decode(value))
        words = ["--secrets-dir", scratch, "--role", "backend", "--name", "b", "--out", f"{scratch}/token"]
        done = subprocess.run([BINARY, "ca", "token", *words], text=True, capture_output=True, check=False)
        if done.returncode != 0:
            problem(name, f"the broker does not take the CA of the pods: {done.stderr}")
    return None


def check_etcd(name, things):
    """etcd and its client show each other certificates of one CA, for the names by which members are reached."""
    secrets = {thing["metadata"]["name"].rsplit("-", 1)[-1]: thing["data"] for thing in things
               if thing["kind"] == "Secret" and re.search("-etcd-(server|client)$", thing["metadata"]["name"])}  # fmt: skip
    sets = [thing for thing in things if thing["kind"] == "StatefulSet" and thing["metadata"]["name"].endswith("-etcd")]
    if not secrets or not sets:
        if sets:
            problem(name, "etcd speaks plain text")
        return
    (etcd,) = sets
    words = " ".join(etcd["spec"]["template"]["spec"]["containers"][0]["args"])
    with tempfile.TemporaryDirectory(prefix="catena-chart-") as scratch:
        for who, data in secrets.items():
            for key, value in data.items():
                with open(f"{scratch}/{who}.{key}", "wb") as file:
                    file.write(base64.b64decode(value))
        for host in re.findall(r"=https://([^:,]+):2380", re.search("--initial-cluster=(\\S+)", words)[1]):
            done = subprocess.run(["openssl", "verify", "-CAfile", f"{scratch}/client.ca.crt", "-purpose", "sslserver", "-verify_hostname", host,
                                   f"{scratch}/server.tls.crt"], capture_output=True, check=False)  # fmt: skip
            if done.returncode != 0:
                problem(name, f"etcd's certificate is not for {host}")
        done = subprocess.run(["openssl", "verify", "-CAfile", f"{scratch}/server.ca.crt", "-purpose", "sslclient", f"{scratch}/client.tls.crt"],
                              capture_output=True, check=False)  # fmt: skip
        if done.returncode != 0:
            problem(name, "etcd does not believe the control plane")


def check_certificate(name, things):
    """A certificate that the chart makes is for its Service, and of the CA that clients are told to trust."""
    made = {
        thing["metadata"]["name"]: thing
        for thing in things
        if thing["kind"] == "Secret" and thing["type"] == "kubernetes.io/tls" and "-etcd-" not in thing["metadata"]["name"]
    }
    trust = next((thing for thing in things if called(thing).startswith("ConfigMap/") and thing["metadata"]["name"].endswith("-trust")), None)
    for secret, thing in made.items():
        if secret.endswith("-ca"):
            continue
        with tempfile.TemporaryDirectory(prefix="catena-chart-") as scratch:
            for file, text in (("ca", trust["data"]["ca.crt"]), ("crt", base64.b64decode(thing["data"]["tls.crt"]).decode())):
                with open(f"{scratch}/{file}", "w", encoding="utf-8") as out:
                    out.write(text)
            services = [other["metadata"]["name"] for other in things if other["kind"] == "Service"]
            checks = [
                subprocess.run(
                    ["openssl", "verify", "-CAfile", f"{scratch}/ca", "-verify_hostname", f"{service}.plant.svc", f"{scratch}/crt"],
                    capture_output=True, check=False,
                ).returncode
                for service in services
            ]  # fmt: skip
            if 0 not in checks:
                problem(name, f"{secret} is for no Service of the chart")


def main():
    started = time.monotonic()
    names = sorted(file.removesuffix(".yaml") for file in os.listdir(f"{HERE}/values"))
    for name in names:
        with open(f"{HERE}/values/{name}.yaml", encoding="utf-8") as file:
            values = yaml.safe_load(file)
        lint = helm("lint", CHART, "--strict", "--values", f"{HERE}/values/{name}.yaml")
        if lint.returncode != 0:
            problem(name, f"helm lint: {lint.stdout}{lint.stderr}")
        for kubernetes in KUBERNETES:
            things = render(name, kubernetes)
            if things:
                check_schema(name, things, kubernetes)
        if not things:
            continue
        check_pods(name, things)
        check_disks(name, things)
        check_collector(name, things)
        check_network(name, things)
        check_size(name, things, values)
        check_flags(name, things)
        check_certificate(name, things)
        check_authority(name, things)
        check_etcd(name, things)
        check_taken(name, things)
    check_compose()
    check_units()
    for arguments, word in WRONG:
        done = helm("template", "demo", CHART, *arguments)
        if done.returncode == 0 or word not in done.stderr:
            problem(" ".join(arguments), f"is to be refused with a word of {word!r}: {done.stderr.strip() or 'it was taken'}")
    made = subprocess.run([sys.executable, f"{HERE}/schema.py"], text=True, capture_output=True, check=True).stdout
    with open(f"{CHART}/values.schema.json", encoding="utf-8") as file:
        if file.read() != made:
            problem("helm/catena/values.schema.json", "is not what tests/deploy/schema.py makes: run it with --write")
    for line in problems:
        print(line)
    print(f"{len(names)} files of values and {len(WRONG)} mistakes in {time.monotonic() - started:.0f} s")
    print(f"{'not ' if problems else ''}all as it should be")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
