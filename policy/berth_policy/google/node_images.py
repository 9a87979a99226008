"""Nodes of GKE run Google's own system, and kubelets tell nobody anything."""

from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.google._nodes import POOL, node_configs
from berth_policy.reading import off, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, at, survey

_PORT = "insecureKubeletReadonlyPortEnabled"


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the image and at the kubelet's port without authentication."""
    yield from survey(node_configs(resource), _config)


def _config(place: tuple[str, Mapping[str, Any]]) -> Iterator[Finding]:
    where, config = place
    image = config.get("imageType")
    if image is not None and not str(image).lower().startswith("cos"):
        yield Finding(f"{where}.imageType is {said(image)}", "'COS_CONTAINERD'")
    port = at(config, "kubeletConfig", _PORT)
    if not off(port):
        yield Finding(f"{where}.kubeletConfig.{_PORT} is {said(port)}", "'FALSE'")


RULE = Rule(
    name="gke-node-images",
    group="google",
    title="Nodes of GKE run Container-Optimized OS, with the kubelet's read-only port off.",
    why="That port shows every pod's specification to whoever reaches the node; other systems are not "
    "patched by Google.",
    fix="Set imageType to COS_CONTAINERD and kubeletConfig.insecureKubeletReadonlyPortEnabled to FALSE.",
    types=(POOL,),
    answers=("CIS GKE 5.5.1", "CKV_GCP_22"),
    check=check,
)
