"""The JSON Schema of a chart's values: every key, and of which type the stacks' values are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .shape import MISSING, value_at
from .slots import Slot

if TYPE_CHECKING:
    from berth.deployer.values import Path

    from .shape import Shape

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_QUANTITY = {"type": ["string", "number"]}
_QUANTITIES = {"type": "object", "additionalProperties": _QUANTITY}
_OBJECTS = {"type": "array", "items": {"type": "object"}}
_COUNT = {"type": "integer", "minimum": 0}
# By the last part of a property's path: its type in Kubernetes, also where no stack sets it.
_KNOWN: dict[str, dict[str, Any]] = {
    "affinity": {"type": "object"},
    "annotations": _TEXTS,
    "args": {"type": "array", "items": {"type": "string"}},
    "behavior": {"type": "object"},
    "data": _TEXTS,
    "egress": _OBJECTS,
    "env": _OBJECTS,
    "externalTrafficPolicy": {"enum": ["Cluster", "Local"]},
    "image": {"type": "string", "minLength": 1},
    "imagePullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "imagePullSecrets": _OBJECTS,
    "ingress": _OBJECTS,
    "lifecycle": {"type": "object"},
    "livenessProbe": {"type": "object"},
    "loadBalancerClass": {"type": "string"},
    "loadBalancerSourceRanges": {"type": "array", "items": {"type": "string"}},
    "maxReplicas": {"type": "integer", "minimum": 1},
    "maxUnavailable": {"type": ["integer", "string"]},
    "metrics": _OBJECTS,
    "minAvailable": {"type": ["integer", "string"]},
    "minReplicas": _COUNT,
    "nodeSelector": _TEXTS,
    "parameters": _TEXTS,
    "ports": {**_OBJECTS, "minItems": 1},
    "priorityClassName": {"type": "string"},
    "progressDeadlineSeconds": _COUNT,
    "readinessProbe": {"type": "object"},
    "replicas": _COUNT,
    "resources": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "claims": _OBJECTS,
            "limits": _QUANTITIES,
            "requests": _QUANTITIES,
        },
    },
    "runtimeClassName": {"type": "string"},
    "startupProbe": {"type": "object"},
    "storageClassName": {"type": "string"},
    "terminationGracePeriodSeconds": _COUNT,
    "tolerations": _OBJECTS,
    "topologySpreadConstraints": _OBJECTS,
    "type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]},
    "volumes": _OBJECTS,
}


def schema_of(shape: Shape, everything: list[dict[str, Any]]) -> dict[str, Any]:
    """The schema of the values, given those of every stack that the chart serves."""
    root: dict[str, Any] = _map({"global": {"type": "object"}})
    if shape.spaces:
        space = _map(
            {
                "create": {"type": "boolean", "description": "whether the chart makes it"},
                "name": {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"},
            },
            ["create", "name"],
        )
        spaces = _map(dict.fromkeys(shape.spaces, space), list(shape.spaces))
        root["properties"]["namespaces"] = spaces
        root["required"].append("namespaces")
    for flag in sorted(set(shape.flags.values())):
        said = {"type": "boolean", "description": "whether it is there"}
        _put(root, Slot((), flag, optional=False), said)
    for alias, slots in shape.slots.items():
        for slot in slots:
            _put(root, slot, {**_type(slot.path, slot, everything), "description": _said(alias, slot.path)})
    for values in everything:
        _complete(root, values)
    return {"$schema": "http://json-schema.org/draft-07/schema#", **root}


def _said(alias: str, path: Path) -> str:
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return f"{alias}: {text.lstrip('.')}"


def _map(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(required or []),
        "properties": properties,
    }


def _put(root: dict[str, Any], slot: Slot, leaf: dict[str, Any]) -> None:
    level = root
    for key in slot.keys[:-1]:
        if key not in level["required"]:
            level["required"].append(key)  # templates look into it
        level = level["properties"].setdefault(key, _map({}))
    level["properties"][slot.keys[-1]] = leaf
    if not slot.optional:
        level["required"].append(slot.keys[-1])


def _complete(level: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Add what is no slot: the sums of configuration."""
    for key, value in values.items():
        known = level["properties"].get(key)
        if known is None:
            level["properties"][key] = {"type": "string", "description": "of the configuration as rendered"}
            level["required"].append(key)
        elif "properties" in known and isinstance(value, Mapping) and known.get("required") is not None:
            _complete(known, value)


def _type(path: Path, slot: Slot, everything: list[dict[str, Any]]) -> dict[str, Any]:
    own = "more" in slot.keys or (path[-1] == "data" and path != ("data",))  # only a ConfigMap's are texts
    known = None if own else _KNOWN.get(str(path[-1]))
    if known is not None:
        return dict(known)
    types = {
        _json_type(found) for values in everything if (found := value_at(values, slot.keys)) is not MISSING
    }
    if not types:
        return {}
    return {"type": min(types) if len(types) == 1 else sorted(types)}


def _json_type(value: Any) -> str:
    for sort, name in (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
    ):
        if isinstance(value, sort):
            return name
    return "object" if isinstance(value, Mapping) else "null"
