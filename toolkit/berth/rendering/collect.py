"""From a plan to the Kubernetes objects to write, and to what cannot be written, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from berth.deployer import UNKNOWN, Secret
from berth.deployer.values import Path, dotted, leaves

from .errors import RenderError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from berth.deployer import Report, Step

_STACK = "pulumi:pulumi:Stack"
_PULUMI = "pulumi.com/"  # annotations for Pulumi's engine, which says how it waits
PLACEHOLDERS = ("unpinned.invalid/", ":not-built-yet")  # of images, in plans
_NAMED = 12  # objects that a message names; it counts the others
# When each kind is applied. What the program says comes after an object moves it further back.
_WAVES = {
    0: ("CustomResourceDefinition",),
    10: ("Namespace",),
    15: ("StorageClass", "PriorityClass", "RuntimeClass", "IngressClass", "CSIDriver", "DeviceClass"),
    20: ("ServiceAccount", "ClusterRole", "Role", "ResourceQuota", "LimitRange"),
    25: ("ClusterRoleBinding", "RoleBinding", "NetworkPolicy"),
    30: ("ConfigMap", "Secret", "ExternalSecret", "PersistentVolume", "PersistentVolumeClaim"),
    40: ("Service", "PodDisruptionBudget"),
    50: ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"),
    60: ("APIService", "Ingress"),
    70: (
        "HorizontalPodAutoscaler",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
        "ValidatingAdmissionPolicyBinding",
    ),
}
_OTHER_KINDS = 45
_WAVE = {kind: wave for wave, kinds in _WAVES.items() for kind in kinds}


@dataclass(frozen=True)
class Item:
    """One object to write.

    Attributes:
        component: what it is part of, without the cluster's name: `smollm2`, `metrics-adapter`.
        part: what it is of that: `deployment`, `api-keys`.
        manifest: the object; of a Secret's data only the keys count.
        wave: when it is applied: whatever has a lower number comes first.
        urn: of the resource.
    """

    component: str
    part: str
    manifest: dict[str, Any] = field(hash=False)
    wave: int
    urn: str

    @property
    def kind(self) -> str:
        """Its kind."""
        return str(self.manifest["kind"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.manifest["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Its namespace, or nothing."""
        return str(self.manifest["metadata"].get("namespace") or "")

    @property
    def title(self) -> str:
        """The object as messages name it."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def alias(self) -> str:
        """What makes it the same object of the same shape, in whichever stack."""
        return f"{self.kind} {self.component}/{self.part}"


@dataclass(frozen=True)
class LeftOut:
    """A resource that is not written, and why."""

    type: str
    name: str
    reason: str


@dataclass(frozen=True)
class Collected:
    """What a stack has to write.

    Attributes:
        clusters: the objects by cluster, in the order in which they are applied.
        left_out: what is not written, by name.
        findings: what is still open, as texts.
        images: images that are placeholders, by the object that has them.
    """

    project: str
    stack: str
    clusters: Mapping[str, tuple[Item, ...]]
    left_out: tuple[LeftOut, ...] = ()
    findings: tuple[str, ...] = ()
    images: tuple[tuple[str, str], ...] = ()


def collect(report: Report, *, leave_out_unknown: bool = False) -> Collected:
    """The objects of a stack's plan.

    Args:
        report: of a preview, by the deployer.
        leave_out_unknown: leave out, by name, what has values that only a deployment knows.

    Raises:
        RenderError: the plan is not whole, an object carries a secret outside of a Secret, or has unknown
            values; every object is named.
    """
    if not report.ok:
        reasons = "\n".join(f"  {message.message}" for message in report.errors) or "  it planned nothing"
        raise RenderError(f"stack '{report.stack}' cannot be planned, so nothing was written:\n{reasons}")
    steps = {step.urn: step for step in report.steps}
    left: list[LeftOut] = []
    bad: list[str] = []
    found: dict[str, list[tuple[Step, str]]] = {}
    for step in report.steps:
        if not step.custom or step.op.value == "read":
            continue
        if step.manifest is None:
            left.append(LeftOut(step.type, step.name, "not Kubernetes': the Pulumi CLI makes it"))
            continue
        secret, unknown = _odd_leaves(step.manifest)
        title = step.object or f"{step.type} {step.name}"
        if secret:
            where = ", ".join(dotted(path) for path in secret)
            bad.append(f"{title}: secret at {where}. Put it into a Secret, and refer to that")
        elif unknown and not leave_out_unknown:
            where = ", ".join(dotted(path) for path in unknown)
            bad.append(f"{title}: known only to a deployment: {where}")
        elif unknown:
            where = ", ".join(dotted(path) for path in unknown)
            left.append(LeftOut(step.type, step.name, f"known only to a deployment: {where}"))
        else:
            found.setdefault(_cluster(step), []).append((step, title))
    if bad:
        more = [f"and {len(bad) - _NAMED} more"] if len(bad) > _NAMED else []
        hint = "" if leave_out_unknown else "\n--leave-out-unknown leaves out what only a deployment knows"
        raise RenderError(
            f"stack '{report.stack}' has objects that cannot be written, so nothing was:\n"
            + "\n".join(f"  {text}" for text in [*bad[:_NAMED], *more])
            + hint
        )
    if not found:
        raise RenderError(f"stack '{report.stack}' has no Kubernetes objects to write")
    clusters = {
        name: _arranged(report.stack, [step for step, _ in here], steps, name)
        for name, here in sorted(found.items())
    }
    findings = report.outputs.get("findings")
    return Collected(
        report.project,
        report.stack,
        clusters,
        tuple(sorted(left, key=lambda one: (one.type, one.name))),
        tuple(map(str, findings)) if isinstance(findings, list) else (),
        tuple(sorted({pair for items in clusters.values() for item in items for pair in _open(item)})),
    )


def _odd_leaves(manifest: Mapping[str, Any]) -> tuple[list[Path], list[Path]]:
    """Where a secret stands that no reference can take the place of, and where something is unknown."""
    secret: list[Path] = []
    unknown: list[Path] = []
    for path, leaf in leaves(manifest):
        if manifest["kind"] == "Secret" and path[0] in {"data", "stringData"}:
            continue
        if isinstance(leaf, Secret):
            secret.append(path)
        elif leaf is UNKNOWN:
            unknown.append(path)
    return secret, unknown


def _cluster(step: Step) -> str:
    """The name of the cluster that the object's provider leads to."""
    name = step.provider.rpartition("::")[2]
    return name.removesuffix("-provider") or "default"


def _arranged(stack: str, here: list[Step], steps: Mapping[str, Step], cluster: str) -> tuple[Item, ...]:
    """A cluster's objects in the order in which they are applied."""
    waves = _waves(stack, here)
    items = [_item(step, steps, cluster, waves[step.urn]) for step in here]
    aliases: dict[str, str] = {}
    for item in items:
        other = aliases.setdefault(item.alias, item.urn)
        if other != item.urn:
            raise RenderError(
                f"stack '{stack}' has two resources called {item.alias}: {other} and {item.urn}"
            )
    return tuple(sorted(items, key=lambda item: (item.wave, item.kind, item.namespace, item.name)))


def _waves(stack: str, here: list[Step]) -> dict[str, int]:
    """The wave of each object: its kind's, or one after the last of those that it comes after."""
    by_urn = {step.urn: step for step in here}
    waves: dict[str, int] = {}

    def wave(urn: str, above: tuple[str, ...]) -> int:
        if urn in above:
            names = " and ".join(sorted({by_urn[one].name for one in above}))
            raise RenderError(f"stack '{stack}': {names} come after one another, in a circle")
        if urn not in waves:
            step = by_urn[urn]
            own = _WAVE.get(str((step.manifest or {}).get("kind")), _OTHER_KINDS)
            before = [wave(other, (*above, urn)) for other in step.dependencies if other in by_urn]
            waves[urn] = max([own, *(one + 1 for one in before if one >= own)])
        return waves[urn]

    for step in here:
        wave(step.urn, ())
    return waves


def _open(item: Item) -> list[tuple[str, str]]:
    """The images of an object that stand for one that nobody knows yet."""
    return [
        (item.title, leaf)
        for path, leaf in leaves(item.manifest)
        if path[-1:] == ("image",) and isinstance(leaf, str) and any(one in leaf for one in PLACEHOLDERS)
    ]


def _item(step: Step, steps: Mapping[str, Step], cluster: str, wave: int) -> Item:
    assert step.manifest is not None  # noqa: S101 - for the type checker; collect() has checked it
    parent = steps.get(step.parent)
    above = parent.name if parent is not None and parent.type != _STACK else ""
    kind = str(step.manifest["kind"])
    if above:
        own = step.name.removeprefix(above).lstrip("-") if step.name.startswith(above) else step.name
        component, part = above, own or kind
    else:
        component, part = step.name, kind
    start = f"{cluster}-"
    return Item(
        component.removeprefix(start), part.removeprefix(start), _cleaned(step.manifest), wave, step.urn
    )


def _cleaned(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest without annotations for Pulumi's engine."""
    metadata = dict(manifest["metadata"])
    notes = {k: v for k, v in (metadata.get("annotations") or {}).items() if not k.startswith(_PULUMI)}
    metadata.pop("annotations", None)
    if notes:
        metadata["annotations"] = notes
    return {**manifest, "metadata": metadata}
