"""The objects that a cluster has before anybody uses it."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

import yaml

from berth.localcluster.pki import CLUSTER, Leaf, Pki

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.localcluster.addresses import Plan

METRICS_SERVER = "metrics-server"
OPTIONAL = (METRICS_SERVER,)


def _manifests(name: str, **values: str) -> Iterator[dict[str, Any]]:
    text = (resources.files(__package__) / f"{name}.yaml").read_text()
    yield from yaml.safe_load_all(Template(text).substitute(values))


def base() -> list[dict[str, Any]]:
    """Roles of the cluster's own parts, and the storage class `standard`."""
    return list(_manifests("base"))


def coredns(plan: Plan, node: str, image: str, *, egress: bool) -> list[dict[str, Any]]:
    """Cluster DNS.

    Without a way out it answers for the cluster's names, and says of all others that there are none.
    """
    others = "forward . /etc/resolv.conf" if egress else "file /etc/coredns/no-names ."
    values = {
        "others": others,
        "digest": hashlib.sha256(others.encode()).hexdigest()[:16],
        "node": node,
        "image": image,
    }
    return list(_manifests("coredns", address=str(plan.dns_service), **values))


def metrics_server_leaf() -> Leaf:
    """The certificate that metrics-server serves with."""
    return Leaf(METRICS_SERVER, CLUSTER, METRICS_SERVER, serves=[f"{METRICS_SERVER}.kube-system.svc"])


def metrics_server(pki: Pki, image: str) -> list[dict[str, Any]]:
    """metrics-server, with both its own certificate and the kubelets' verified."""
    certificate = pki.certificate(METRICS_SERVER).read_bytes()

    def encoded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    return list(
        _manifests(
            METRICS_SERVER,
            image=image,
            certificate=encoded(certificate),
            certificate_digest=hashlib.sha256(certificate).hexdigest()[:16],
            key=encoded(pki.key(METRICS_SERVER).read_bytes()),
            authority=encoded(pki.certificate(CLUSTER).read_bytes()),
        )
    )
