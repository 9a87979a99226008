"""Weights are checked before they are loaded."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from berth_policy.kubernetes import KUBERNETES, Pod
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, at, mapping, sequence, survey
from berth_policy.supply_chain._engines import Server, config_maps, containers
from berth_policy.units import number

SOURCE, DIGEST, MANIFEST = "BERTH_WEIGHTS_SOURCE", "BERTH_WEIGHTS_SHA256", "BERTH_WEIGHTS_MANIFEST"
MODULE = "berth_serving.weights"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SAFE = (
    ".safetensors",
    ".gguf",
    ".json",
    ".txt",
    ".model",
    ".md",
    ".jinja",
    ".tiktoken",
    "LICENSE",
    "NOTICE",
)
WANTED = "a SHA-256 of each file"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at every container that fetches weights."""
    maps = config_maps(stack)
    fetchers = [one for one in containers(stack) if SOURCE in one.variables or MODULE in one.words]
    yield from survey(fetchers, lambda one: _look(one, maps))


def _look(one: Server, maps: Mapping[tuple[str, str], Mapping[str, Any]]) -> Iterator[Finding]:
    path, resource = one.container.path, one.pod.object.resource
    if not one.variables.get(SOURCE):
        yield Finding(f"{path} fetches weights, and {SOURCE} is absent", "hub, or a package", resource)
    if MANIFEST not in one.variables:
        if not _SHA256.fullmatch(one.variables.get(DIGEST, "")):
            yield Finding(f"{path} has neither {MANIFEST} nor a SHA-256 in {DIGEST}", WANTED, resource)
        return
    place = one.variables[MANIFEST]
    text = _mounted(one, place, maps)
    if text is None:
        found = f"{path}: {MANIFEST} is {place}, where the pod mounts no ConfigMap of the stack"
        yield Finding(found, "a ConfigMap with the manifest", resource)
        return
    yield from (Finding(f"{path}: the manifest {said}", WANTED, resource) for said in _wrong(text))


def _wrong(text: str) -> Iterator[str]:
    try:
        manifest = json.loads(text)
        files, revision = sequence(manifest.get("files")), manifest.get("revision")
    except (ValueError, AttributeError):
        yield "is no JSON object"
        return
    if not files:
        yield "names no file"
    if not _COMMIT.fullmatch(str(revision)) or not manifest.get("repo"):
        yield "names no repository at a revision of 40 hexadecimal digits"
    for entry in map(mapping, files):
        name = str(entry.get("path"))
        if not _SHA256.fullmatch(str(entry.get("sha256"))):
            yield f"has no SHA-256 of {name}"
        if number(entry.get("size"), 0) <= 1:
            yield f"has no size of {name}"
        if not name.endswith(_SAFE):
            yield f"has {name}, which is neither safetensors nor GGUF nor text"


def _mounted(one: Server, place: str, maps: Mapping[tuple[str, str], Mapping[str, Any]]) -> str | None:
    """The text of a file that a ConfigMap puts at a path in the container."""
    folder, _, file = place.rpartition("/")
    for mount in map(mapping, sequence(one.container.body.get("volumeMounts"))):
        if str(mount.get("mountPath")).rstrip("/") == folder:
            name = _config_map(one.pod, str(mount.get("name")))
            data = maps.get((one.pod.namespace, name), {})
            if file in data:
                return str(data[file])
    return None


def _config_map(pod: Pod, volume: str) -> str:
    for one in map(mapping, sequence(pod.spec.get("volumes"))):
        if one.get("name") == volume:
            return str(at(one, "configMap", "name") or "")
    return ""


RULE = Rule(
    name="models-checked",
    group="supply_chain",
    title="Weights are checked against digests before anything loads them.",
    why="A mirror, a cache or a hub may hand out other files than those that were tested.",
    fix="Pin the weights (./berth weights pin): the manifest holds the digest of each file.",
    types=KUBERNETES,
    check_stack=check,
)
