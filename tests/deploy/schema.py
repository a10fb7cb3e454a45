#!/usr/bin/env python3
"""Makes helm/catena/values.schema.json: the values of the chart, with the fields of resources as the broker's own schemas have them.

    tests/deploy/schema.py            prints it
    tests/deploy/schema.py --write    writes it
"""

import json
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILE = os.path.join(ROOT, "helm", "catena", "values.schema.json")
RESOURCES = os.path.join(ROOT, "services", "core", "resources", "schema")

TEXT = {"type": "string"}
SWITCH = {"type": "boolean"}
ANYTHING = {"type": "object"}
NAME = {"type": "string", "pattern": "^[a-z0-9][a-z0-9-]*[a-z0-9]$", "minLength": 3, "maxLength": 63}


def number(least, most=None):
    return {"type": "integer", "minimum": least, **({"maximum": most} if most is not None else {})}


def one_of(*words):
    return {"enum": list(words)}


def fields(**properties):
    return {"type": "object", "additionalProperties": False, "properties": properties}


def entries(of):
    return {"type": "array", "items": of}


def pods(**more):
    spread = one_of("ScheduleAnyway", "DoNotSchedule")
    return fields(
        resources=ANYTHING,
        podAnnotations=ANYTHING,
        podLabels=ANYTHING,
        nodeSelector=ANYTHING,
        tolerations=entries(ANYTHING),
        affinity=ANYTHING,
        priorityClassName=TEXT,
        spread=fields(host=spread, zone=spread),
        # Processes take 10 s at most to leave.
        terminationGracePeriodSeconds=number(15),
        podDisruptionBudget=fields(enabled=SWITCH, maxUnavailable={"type": ["integer", "string"]}),
        **more,
    )


def image():
    digest = {"type": "string", "pattern": "^$|^sha256:[0-9a-f]{64}$"}
    return fields(repository=TEXT, tag=TEXT, digest=digest, pullPolicy=one_of("Always", "IfNotPresent", "Never"))


def spec(kind, definitions):
    """The spec of a kind, whose definitions join the others under names of their own."""
    with open(os.path.join(RESOURCES, f"{kind}.json"), encoding="utf-8") as file:
        text = file.read()
    schema = json.loads(text.replace('"#/$defs/', f'"#/$defs/{kind}.'))
    definitions.update({f"{kind}.{name}": what for name, what in schema["$defs"].items()})
    return schema["properties"]["spec"]


def schema():
    definitions = {}

    def resources(kind, **more):
        one = {**fields(name=NAME, spec=spec(kind, definitions), **more), "required": ["name", "spec"]}
        return entries(one)

    storage = fields(size={"type": "string", "pattern": "^[0-9]+([KMGTPE]i?)?$"}, storageClassName=TEXT)
    root = fields(
        **{"global": ANYTHING},
        nameOverride=TEXT,
        fullnameOverride=TEXT,
        imageRegistry=TEXT,
        image=image(),
        imagePullSecrets=entries(TEXT),
        clusterDomain=TEXT,
        clusterName={"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"},
        listenAddress=TEXT,
        log=fields(level=TEXT, format=one_of("text", "json")),
        broker=spec("Broker", definitions),
        listeners={**resources("BrokerListener", service=ANYTHING), "minItems": 1, "maxItems": 3},
        authentications=resources("BrokerAuthentication"),
        authorizations=resources("BrokerAuthorization"),
        secrets=entries(TEXT),
        configMaps=entries(TEXT),
        internalTraffic=fields(mode=one_of("OwnCa", "CsiDriver", "Off"), caSecret=TEXT, issuerRef=fields(name=TEXT, kind=TEXT, group=TEXT)),
        gateway=pods(),
        backend=pods(spares=number(0, 16), zones=entries(TEXT), minReadySeconds=number(0)),
        controlPlane=pods(replicas=number(1, 7), store=one_of("Etcd", "Embedded"), storage=storage),
        etcd=pods(
            enabled=SWITCH,
            tls=SWITCH,
            image=image(),
            replicas=one_of(1, 3, 5),
            storage=storage,
            external=fields(
                endpoints=entries({"type": "string", "pattern": "^https?://"}),
                tlsSecret=TEXT,
                clientCertificate=SWITCH,
                serverName=TEXT,
                credentialsSecret=TEXT,
                username=TEXT,
            ),
        ),
        networkPolicy=fields(enabled=SWITCH, clients=entries(ANYTHING), prometheus=entries(ANYTHING)),
        rbac=fields(tokenReview=one_of("Auto", "Enabled", "Disabled")),
        metrics=fields(serviceMonitor=fields(enabled=SWITCH, interval=TEXT, labels=ANYTHING)),
        priorityClass=fields(create=SWITCH, value=number(-2147483648, 1000000000), preemptionPolicy=one_of("PreemptLowerPriority", "Never")),
        tests=fields(credentialsSecret=TEXT),
    )
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **root, "$defs": definitions}, indent=1) + "\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        with open(FILE, "w", encoding="utf-8") as file:
            file.write(schema())
    else:
        print(schema(), end="")
