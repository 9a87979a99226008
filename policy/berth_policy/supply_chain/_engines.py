"""Model servers as their containers show them, whoever wrote the manifest."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from berth_catalogue.engines import engines

from berth_policy.checks import all_pods, declared
from berth_policy.kubernetes import Container, Pod
from berth_policy.subject import Stack, at, mapping, sequence
from berth_policy.supply_chain._images import parse

_KNOWN = ("vllm", "sglang", "text-generation-inference", "text-generation-launcher", "tensorrt", "lmdeploy")
_REPO = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
"""A name of a hub's repository: owner/model; a path begins with a slash or a dot."""
_MODEL_WORDS = ("--model", "--model-id", "--model-path", "--tokenizer", "--served-model")
_MODEL_VARIABLES = ("MODEL_ID", "HF_MODEL_ID", "MODEL_NAME", "VLLM_MODEL", "HF_MODEL")
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")


class Variables(Mapping[str, str]):
    """A container's environment; a value that a preview does not know is an error only where it is read."""

    def __init__(self, holders: Mapping[str, tuple[Mapping[str, Any], str]]) -> None:
        self._holders = holders

    def __getitem__(self, name: str) -> str:
        holder, key = self._holders[name]
        return str(holder[key])

    def __iter__(self) -> Iterator[str]:
        return iter(self._holders)

    def __len__(self) -> int:
        return len(self._holders)

    def __contains__(self, name: object) -> bool:
        return name in self._holders


@dataclass(frozen=True)
class Server:
    """A container, and what it is told.

    Attributes:
        pod: its pod.
        container: the container.
        variables: its environment, from `env` and from ConfigMaps of the stack.
    """

    pod: Pod
    container: Container
    variables: Variables

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Its command and arguments, one word each; --key=value is split."""
        return tuple(_words(self.container))

    def after(self, *words: str) -> str:
        """What follows the first of the given arguments; "" where there is none."""
        for number, word in enumerate(self.words[:-1]):
            if word in words:
                return self.words[number + 1]
        return ""

    @property
    def repository(self) -> str:
        """The hub's repository that it loads from by itself; "" where it loads a path."""
        given = [self.after(*_MODEL_WORDS), self._served]
        given += [self.variables.get(name, "") for name in _MODEL_VARIABLES]
        for word in given:
            if _REPO.fullmatch(word):
                return word
        return ""

    @property
    def _served(self) -> str:
        """The model in `vllm serve MODEL`."""
        follows = self.after("serve")
        return follows if not follows.startswith("-") else ""


def servers(stack: Stack) -> list[Server]:
    """Every container of the stack that runs an engine."""
    return [one for one in containers(stack) if is_engine(one)]


def containers(stack: Stack) -> list[Server]:
    """Every container of the stack, with its words and variables."""
    every = all_pods(stack)
    if "words" not in stack.memory:
        maps = config_maps(stack)
        stack.memory["words"] = [
            Server(pod, one, Variables(dict(_variables(pod, one, maps))))
            for pod in every
            for one in pod.containers()
        ]
    found: list[Server] = stack.memory["words"]
    return found


def config_maps(stack: Stack) -> Mapping[tuple[str, str], Mapping[str, Any]]:
    """Data of the stack's ConfigMaps, by namespace and name."""
    return {(one.namespace, one.name): mapping(one.body.get("data")) for one in declared(stack, "ConfigMap")}


def is_engine(one: Server) -> bool:
    """Whether a container runs an engine: by its image, or by what it starts."""
    repository = parse(str(one.container.body.get("image") or "")).repository
    if repository in official():
        return True
    path = repository.partition("/")[2] or repository
    start = " ".join(one.words[:4])
    return any(word in path or word in start for word in _KNOWN)


@functools.cache
def official() -> Mapping[str, str]:
    """The extended resource that an official image of an engine needs, by repository."""
    return {
        build.image: build.resource
        for engine in engines().values()
        for build in engine.builds.values()
        if build.image
    }


def _words(one: Container) -> Iterator[str]:
    for part in ("command", "args"):
        for word in _strings(one.body.get(part)):
            key, equals, value = word.partition("=")
            if equals and key.startswith("--"):
                yield from (key, value)
            elif " " in word:
                yield from word.split()  # a shell's line
            else:
                yield word


def _strings(value: object) -> Sequence[str]:
    return [str(word) for word in sequence(value)]


def _variables(
    pod: Pod, one: Container, maps: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Iterator[tuple[str, tuple[Mapping[str, Any], str]]]:
    for source in sequence(one.body.get("envFrom")):
        data = maps.get((pod.namespace, str(at(source, "configMapRef", "name"))), {})
        for key in data:
            yield key, (data, key)
    for entry in map(mapping, sequence(one.body.get("env"))):
        if entry.get("name") and "value" in list(entry):
            yield str(entry["name"]), (entry, "value")
