"""The Kubernetes objects of a preview's report, as their judges read them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Json = dict[str, Any]
# What a report says where only an `up` knows, or nobody may.
UNKNOWN, SECRET = "[unknown]", "[secret]"
_LEVEL = "pod-security.kubernetes.io/enforce"
_NAME = 3
"""Which part of a URN is the name."""
_TEMPLATES: dict[str, tuple[str, ...]] = {
    "Pod": (),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    **dict.fromkeys(("Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job"), ("spec", "template")),
}


@dataclass(frozen=True)
class Manifest:
    """One object of one stack. What is unknown or secret has a value that fits instead."""

    stack: str
    body: Json
    cluster: str = ""
    """Which of the stack's clusters it is in; empty where the stack has one."""

    @property
    def place(self) -> str:
        """The stack, and its cluster where it has several: `STACK` or `STACK.CLUSTER`."""
        return f"{self.stack}.{self.cluster}" if self.cluster else self.stack

    @property
    def kind(self) -> str:
        """Such as `Deployment`."""
        return str(self.body["kind"])

    @property
    def namespace(self) -> str:
        """Empty where an object has none."""
        return str(self.body["metadata"].get("namespace", ""))

    @property
    def name(self) -> str:
        """The name within its namespace."""
        return str(self.body["metadata"]["name"])

    @property
    def object(self) -> str:
        """`Kind namespace/name`, or `Kind name`."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def manifests_of(report: Json) -> list[Manifest]:
    """The objects of a report (as `berth preview --json` has them), in the order of its steps."""
    states = [
        step["newState"]
        for step in report["steps"]
        if step["newState"]
        and step["newState"]["custom"]
        and step["newState"]["type"].startswith("kubernetes:")
    ]
    several = len({_cluster(state) for state in states}) > 1
    return [
        Manifest(report["stack"], known(state["inputs"]), _cluster(state) if several else "")
        for state in states
    ]


def _cluster(state: Json) -> str:
    """What an object's provider is called: a URN `urn:pulumi:STACK::PROJECT::TYPE::NAME`, and maybe an ID."""
    parts = str(state.get("provider") or "").split("::")
    return parts[_NAME].removesuffix("-provider") if len(parts) > _NAME else ""


def known(value: Any) -> Any:
    """The value, with what only an `up` can know or what is secret replaced by something that fits."""
    if isinstance(value, dict):
        return {
            key: {"planned": "bGF0ZXI="} if key in {"data", "stringData"} and item == SECRET else known(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [known(item) for item in value]
    return "planned-later" if value in (UNKNOWN, SECRET) else value


@dataclass(frozen=True)
class PodTemplate:
    """The pods that one object makes."""

    stack: str
    object: str
    namespace: str
    name: str
    """Of the object that makes them."""
    metadata: Json
    spec: Json
    level: str
    """What their namespace enforces: `restricted`, `baseline`, `privileged`; empty when it says nothing."""

    @property
    def labels(self) -> dict[str, str]:
        """The pods' labels."""
        return dict(self.metadata.get("labels") or {})

    def ports(self) -> dict[int, str]:
        """The numbers of the ports that its containers declare, with their names (or an empty text)."""
        return {
            port["containerPort"]: port.get("name", "")
            for kind in ("initContainers", "containers")
            for container in self.spec.get(kind) or []
            for port in container.get("ports") or []
        }


def pod_templates(manifests: Iterable[Manifest]) -> Iterator[PodTemplate]:
    """What makes pods, with the level that its namespace enforces in the same cluster."""
    manifests = list(manifests)
    levels = {
        (one.place, one.name): (one.body["metadata"].get("labels") or {}).get(_LEVEL, "")
        for one in manifests
        if one.kind == "Namespace"
    }
    for one in manifests:
        if one.kind not in _TEMPLATES:
            continue
        template = one.body
        for key in _TEMPLATES[one.kind]:
            template = template[key]
        yield PodTemplate(
            one.stack,
            one.object,
            one.namespace,
            one.name,
            template.get("metadata") or {},
            template["spec"],
            levels.get((one.place, one.namespace), ""),
        )
