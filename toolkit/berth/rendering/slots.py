"""Which properties of an object become values of a chart, and under which names.

What environments usually differ in is listed here; whatever else differs between the stacks that a chart is
to serve joins it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import RenderError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.deployer.values import Path

    from .collect import Item

_TEMPLATES: dict[str, Path] = {
    **dict.fromkeys(("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"), ("spec", "template")),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
    "Pod": (),
}
_POD = (
    "affinity",
    "imagePullSecrets",
    "nodeSelector",
    "priorityClassName",
    "runtimeClassName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "topologySpreadConstraints",
    "volumes",
)
_CONTAINER = (
    "args",
    "env",
    "image",
    "imagePullPolicy",
    "lifecycle",
    "livenessProbe",
    "readinessProbe",
    "resources",
    "startupProbe",
)
_OBJECT: dict[str, tuple[Path, ...]] = {
    "Deployment": (("spec", "replicas"), ("spec", "progressDeadlineSeconds")),
    "StatefulSet": (("spec", "replicas"), ("spec", "volumeClaimTemplates")),
    "HorizontalPodAutoscaler": (
        ("spec", "minReplicas"),
        ("spec", "maxReplicas"),
        ("spec", "metrics"),
        ("spec", "behavior"),
    ),
    "PodDisruptionBudget": (("spec", "minAvailable"), ("spec", "maxUnavailable")),
    "Service": (
        ("metadata", "annotations"),
        ("spec", "type"),
        ("spec", "ports"),
        ("spec", "externalTrafficPolicy"),
        ("spec", "loadBalancerSourceRanges"),
        ("spec", "loadBalancerClass"),
    ),
    "NetworkPolicy": (("spec", "ingress"), ("spec", "egress")),
    "ConfigMap": (("data",),),
    "ServiceAccount": (("metadata", "annotations"), ("imagePullSecrets",)),
    "StorageClass": (("parameters",),),
    "PersistentVolumeClaim": (("spec", "resources"), ("spec", "storageClassName")),
    "ExternalSecret": (
        ("spec", "refreshInterval"),
        ("spec", "secretStoreRef"),
        ("spec", "data"),
        ("spec", "dataFrom"),
    ),
}
_NAMESPACE_KEYS = ("namespace", "kubernetes.io/metadata.name")


@dataclass(frozen=True)
class NamespaceRef:
    """Stands in an object for the name of a namespace that the same stack makes."""

    key: str


@dataclass(frozen=True)
class Slot:
    """A property that is a value of the chart.

    Attributes:
        path: where it stands in the object.
        keys: its name below `.Values`.
        optional: whether a stack may leave it out.
    """

    path: Path
    keys: tuple[str, ...]
    optional: bool = True


def camel(text: str) -> str:
    """A name as a key of values: `metrics-adapter` becomes `metricsAdapter`."""
    first, *rest = [part for part in re.split(r"[^A-Za-z0-9]+", text) if part] or ["value"]
    joined = first[0].lower() + first[1:] + "".join(part[0].upper() + part[1:] for part in rest)
    joined = f"n{joined}" if joined[0].isdigit() else joined
    return f"{joined}Values" if joined in {"global", "namespaces"} else joined


def keys_of(items: tuple[Item, ...]) -> dict[str, tuple[str, str]]:
    """The two keys below which each object's values stand, by its alias.

    Raises:
        RenderError: two objects would share them.
    """
    found: dict[tuple[str, str], str] = {}
    for item in items:
        keys = camel(item.component), camel(item.part)
        if keys in found:
            keys = keys[0], f"{keys[1]}{item.kind}"
        if keys in found:
            raise RenderError(
                f"{item.alias} and {found[keys]} would have the same values: rename one of the two resources"
            )
        found[keys] = item.alias
    return {alias: keys for keys, alias in found.items()}


def namespaces(items: tuple[Item, ...]) -> dict[str, str]:
    """The namespaces that a stack makes: the key of each by its name."""
    return {item.name: camel(item.component) for item in items if item.kind == "Namespace"}


def referred(value: Any, spaces: Mapping[str, str], under: str = "") -> Any:
    """The value with a `NamespaceRef` wherever a name of these namespaces stands."""
    if isinstance(value, Mapping):
        return {key: referred(item, spaces, str(key)) for key, item in value.items()}
    if isinstance(value, list):
        return [referred(item, spaces, under) for item in value]
    if under in _NAMESPACE_KEYS and isinstance(value, str) and value in spaces:
        return NamespaceRef(spaces[value])
    return value


def usual(item: Item, prefix: tuple[str, ...]) -> list[Slot]:
    """The slots that an object of its kind has in every chart, whether it sets the property or not."""
    slots = [Slot(path, (*prefix, *_names(path))) for path in _OBJECT.get(item.kind, ())]
    if item.kind in _TEMPLATES:
        base = _TEMPLATES[item.kind]
        slots.append(Slot((*base, "metadata", "annotations"), (*prefix, "podAnnotations")))
        pod = (*base, "spec")
        slots += [Slot((*pod, name), (*prefix, name)) for name in _POD]
        for path, name in _containers(item.manifest, pod):
            slots += [
                Slot((*path, field), (*prefix, "containers", camel(name), field), optional=field != "image")
                for field in _CONTAINER
            ]
    return slots


def _containers(manifest: Mapping[str, Any], pod: Path) -> Iterator[tuple[Path, str]]:
    spec: Any = manifest
    for part in pod:
        spec = spec.get(part) or {}
    for field in ("containers", "initContainers"):
        for index, container in enumerate(spec.get(field) or []):
            yield (*pod, field, index), str(container["name"])


def _names(path: Path) -> tuple[str, ...]:
    return tuple(str(part) for part in path if part not in {"spec", "metadata"})


def joined(path: Path, prefix: tuple[str, ...]) -> Slot:
    """The slot of a property that two stacks differ in; a list is one value as a whole."""
    indices = [index for index, part in enumerate(path) if isinstance(part, int)]
    whole = path[: indices[0]] if indices else path
    return Slot(whole, (*prefix, "more", *(camel(str(part)) for part in whole)))


def without(manifest: Any, slots: list[Slot]) -> Any:
    """The object without what the slots hold."""
    result = manifest
    for slot in slots:
        result = _dropped(result, slot.path)
    return result


def _dropped(value: Any, path: Path) -> Any:
    head, rest = path[0], path[1:]
    if isinstance(value, list) and isinstance(head, int) and head < len(value):
        return [_dropped(item, rest) if index == head else item for index, item in enumerate(value)]
    if not isinstance(value, Mapping) or head not in value:
        return value
    if not rest:
        return {key: item for key, item in value.items() if key != head}
    return {key: _dropped(item, rest) if key == head else item for key, item in value.items()}


def differing(one: Any, other: Any, path: Path = ()) -> Iterator[Path]:
    """The paths at which two objects differ."""
    if one == other:
        return
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted({**one, **other}, key=str):
            if key in one and key in other:
                yield from differing(one[key], other[key], (*path, key))
            else:
                yield (*path, key)
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, pair in enumerate(zip(one, other, strict=True)):
            yield from differing(*pair, (*path, index))
    else:
        yield path
