"""What crosses the internet is encrypted."""

from collections.abc import Iterator

from berth_policy.kubernetes import Object, objects
from berth_policy.network.load_balancers import is_public
from berth_policy.rule import IN_CLOUDS, Finding, Rule
from berth_policy.subject import Resource, at, mapping, sequence

CERTIFICATES = (
    "service.beta.kubernetes.io/aws-load-balancer-ssl-cert",
    "networking.gke.io/managed-certificates",
    "ingress.gcp.kubernetes.io/pre-shared-cert",
    "networking.gke.io/pre-shared-certs",
    "alb.ingress.kubernetes.io/certificate-arn",
)
_ENCRYPTED = ("HTTPS", "TLS")
_WORDS = ("https", "tls", "grpcs", "wss")
_INTERNAL = {
    "alb.ingress.kubernetes.io/scheme": "internal",
    "kubernetes.io/ingress.class": "gce-internal",
}


def check(resource: Resource) -> Iterator[Finding]:
    """Look at each Service that the internet reaches, each Ingress and each Gateway."""
    for one in objects(resource):
        if one.kind == "Service" and is_public(one):
            yield from _service(one)
        elif one.kind == "Ingress":
            yield from _ingress(one)
        elif one.kind == "Gateway" and at(one.spec, "listeners") is not None:
            yield from _gateway(one)


def _certified(one: Object) -> bool:
    annotations = mapping(one.metadata.get("annotations"))
    return any(annotations.get(key) for key in CERTIFICATES)


def _service(one: Object) -> Iterator[Finding]:
    for number, port in enumerate(sequence(one.spec.get("ports"))):
        words = [str(mapping(port).get(key) or "").lower() for key in ("name", "appProtocol")]
        encrypted = any(word in text for word in _WORDS for text in words)
        if not encrypted and not _certified(one):
            yield Finding(f"{one.path}spec.ports[{number}] is public and plain", "a port that speaks TLS")


def _ingress(one: Object) -> Iterator[Finding]:
    annotations = mapping(one.metadata.get("annotations"))
    internal = any(annotations.get(key) == word for key, word in _INTERNAL.items())
    if not internal and not sequence(one.spec.get("tls")) and not _certified(one):
        yield Finding(f"{one.path}spec.tls is absent", "a Secret with a certificate for each host")


def _gateway(one: Object) -> Iterator[Finding]:
    for number, listener in enumerate(sequence(one.spec.get("listeners"))):
        protocol = mapping(listener).get("protocol")
        if protocol not in _ENCRYPTED:
            found = f"{one.path}spec.listeners[{number}].protocol is {protocol}"
            yield Finding(found, "HTTPS or TLS")


RULE = Rule(
    name="network-tls",
    group="network",
    title="What the internet reaches speaks TLS.",
    why="Prompts, completions and API keys would cross the internet in clear.",
    fix="Terminate TLS at the load balancer, the Ingress or the Gateway.",
    levels=IN_CLOUDS,
    types=("kubernetes:core/", "kubernetes:networking.k8s.io/", "kubernetes:gateway.networking.k8s.io/"),
    check=check,
)
