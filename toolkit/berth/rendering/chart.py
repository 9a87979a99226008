"""A stack as a Helm chart, and the values with which it is other stacks of the same shape."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import RenderError
from .files import file_name
from .readme import readme
from .schema import schema_of
from .secrets import refer
from .shape import MISSING, Shape, Stack, overrides, shape_of, value_at, values_of
from .slots import camel, keys_of
from .template import literal, namespace_template, reference, template
from .yamltext import dump

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth.deployer.values import Path

    from .collect import Collected, Item
    from .secrets import Needed, Secrets
    from .slots import Slot

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?")
_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_SUM = "configChecksum"


@dataclass(frozen=True)
class Chart:
    """What a chart is called."""

    name: str
    version: str = "0.1.0"

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise RenderError(
                f"--chart-name {self.name}: lower-case letters, digits and hyphens, up to 53, as in my-chart",
                2,
            )
        if not _VERSION.fullmatch(self.version):
            raise RenderError(f"--chart-version {self.version}: a semantic version, such as 1.4.0", 2)


def helm(
    collected: Collected, secrets: Secrets, chart: Chart, others: Sequence[tuple[Collected, Secrets]] = ()
) -> dict[str, str]:
    """The chart's files by path, `values-<stack>.yaml` for each other stack among them.

    Of several clusters each has a chart in a folder of its own.

    Raises:
        RenderError: another stack has another shape.
    """
    files: dict[str, str] = {}
    needed = {}
    for cluster, items in collected.clusters.items():
        start = f"{file_name(cluster)}/" if len(collected.clusters) > 1 else ""
        kept, needed[cluster] = refer(items, secrets)
        first = Stack(collected.stack, kept)
        same = [Stack(other.stack, _counterpart(collected, cluster, other, how)) for other, how in others]
        made = _chart(chart, first, same, needed[cluster], collected)
        files |= {start + name: text for name, text in made.items()}
    files["README.md"] = readme(collected, needed, secrets, "helm", chart.name)
    return files


def _counterpart(collected: Collected, cluster: str, other: Collected, secrets: Secrets) -> tuple[Item, ...]:
    """The objects of another stack in the cluster that takes the place of this one."""
    alone = len(collected.clusters) == 1 and len(other.clusters) == 1
    items = next(iter(other.clusters.values())) if alone else other.clusters.get(cluster)
    if items is None or (len(collected.clusters) != len(other.clusters)):
        raise RenderError(
            f"one chart cannot serve both stacks: {collected.stack} is on the clusters "
            f"{', '.join(collected.clusters)}, {other.stack} on {', '.join(other.clusters)}"
        )
    return refer(items, secrets)[0]


def _chart(
    chart: Chart, first: Stack, others: list[Stack], needed: tuple[Needed, ...], collected: Collected
) -> dict[str, str]:
    shape = shape_of(first, others)
    values = _complete(shape, first)
    files = {
        "Chart.yaml": dump(
            {
                "apiVersion": "v2",
                "name": chart.name,
                "description": f"The stack {first.name} of project {collected.project}, rendered by Berth",
                "type": "application",
                "version": chart.version,
            }
        ),
        "values.yaml": _head(first.name, collected) + dump(values),
        "templates/NOTES.txt": _notes(needed),
    }
    everything = [values]
    for other in others:
        theirs = _complete(shape, other)
        everything.append(theirs)
        changed = overrides(values, theirs)
        head = f"# The stack {other.name} by this chart: helm upgrade … -f values-{other.name}.yaml\n"
        files[f"values-{other.name}.yaml"] = head + dump({} if changed is MISSING else changed)
    files["values.schema.json"] = (
        json.dumps(schema_of(shape, everything), indent=2, ensure_ascii=False) + "\n"
    )
    sums = _sums(shape)
    for item in shape.items:
        name = f"templates/{file_name(item.component, item.part)}.yaml"
        if name in files:
            name = f"templates/{file_name(item.component, item.part, item.kind)}.yaml"
        if item.kind == "Namespace":
            files[name] = namespace_template(item.manifest, camel(item.component))
        else:
            files[name] = template(
                shape.manifests[item.alias],
                shape.slots[item.alias],
                sums.get(item.alias, {}),
                shape.flags.get(item.alias, ()),
            )
    return files


def _head(stack: str, collected: Collected) -> str:
    lines = [f"# The stack {stack}. What the chart takes is in values.schema.json."]
    lines += [f"# open: {title} has the placeholder image {image}" for title, image in collected.images]
    return "".join(f"{line}\n" for line in lines)


def _notes(needed: tuple[Needed, ...]) -> str:
    if not needed:
        return "Deployed.\n"
    how = "by the External Secrets Operator" if needed[0].remote else "by you, before the pods can start"
    return literal(f"Secrets that have to be made {how}:\n" + "".join(f"  {one.title}\n" for one in needed))


def _complete(shape: Shape, stack: Stack) -> dict[str, Any]:
    """A stack's values, with the sums of configuration by which a change by hand is noticed."""
    values = values_of(shape, stack)
    for (component, part), maps in _config(shape).values():
        content = [value_at(values, slot.keys) for slot in maps]
        known = [None if one is MISSING else one or None for one in content]
        values.setdefault(component, {}).setdefault(part, {})[_SUM] = _sum(known)
    return values


def _sum(value: Any) -> str:
    """SHA-256 of a value as Helm's toJson writes it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(text.encode()).hexdigest()


def _config(shape: Shape) -> dict[str, tuple[tuple[str, str], list[Slot]]]:
    """Per workload: its keys, and the slots of the ConfigMaps that its pods read."""
    keys = keys_of(shape.items)
    maps = {
        (_space(shape, item), item.name): slot
        for item in shape.items
        if item.kind == "ConfigMap"
        for slot in shape.slots[item.alias]
        if slot.path == ("data",)
    }
    found = {}
    for item in shape.items:
        slots = shape.slots[item.alias]
        if not any(slot.keys[-1:] == ("podAnnotations",) for slot in slots):
            continue
        read = [
            maps[key] for name in sorted(_read_maps(item)) if (key := (_space(shape, item), name)) in maps
        ]
        if read:
            found[item.alias] = keys[item.alias], read
    return found


def _space(shape: Shape, item: Item) -> Any:
    """The object's namespace: by reference where the chart makes it, since stacks name it differently."""
    return shape.manifests[item.alias]["metadata"].get("namespace")


def _read_maps(item: Item) -> set[str]:
    """The names of the ConfigMaps that a workload's pods read."""
    found: set[str] = set()

    def look(value: Any, under: str) -> None:
        if isinstance(value, Mapping):
            if under in {"configMapRef", "configMapKeyRef", "configMap"} and isinstance(
                value.get("name"), str
            ):
                found.add(value["name"])
            for key, inner in value.items():
                look(inner, key)
        elif isinstance(value, list):
            for inner in value:
                look(inner, under)

    look(item.manifest, "")
    return found


def _sums(shape: Shape) -> dict[str, dict[Path, str]]:
    """Pods' annotations, with one more where somebody changed their configuration by hand.

    Without it the pods would go on with what they read when they started.
    """
    expressions: dict[str, dict[Path, str]] = {}
    for alias, (workload, maps) in _config(shape).items():
        slot = next(one for one in shape.slots[alias] if one.keys[-1:] == ("podAnnotations",))
        read = " ".join(f'(get {reference(one.keys[:-1])} "{one.keys[-1]}" | default nil)' for one in maps)
        notes = f'(get {reference(workload)} "podAnnotations" | default dict)'
        own = f"{reference(workload)}.{_SUM}"
        expressions[alias] = {
            slot.path: "{{ $sum := list "
            + read
            + f" | toJson | sha256sum }}}}{{{{ if eq $sum {own} }}}}{{{{ {notes} | toJson }}}}"
            + f'{{{{ else }}}}{{{{ merge (dict "checksum/values" $sum) {notes} | toJson }}}}{{{{ end }}}}'
        }
    return expressions
