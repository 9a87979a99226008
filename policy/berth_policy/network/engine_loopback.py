"""An engine answers its own pod only."""

import itertools
import re
from collections.abc import Iterator

from berth_policy.checks import all_pods
from berth_policy.kubernetes import KUBERNETES, Container, Pod
from berth_policy.reading import peek, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, at, mapping, sequence, survey

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_ADDRESS = re.compile(r"http://(127\.0\.0\.1|localhost|\[::1\]):\d+/?")
_ENGINES = {"vllm", "llama-server", "sglang.launch_server", "text-generation-launcher"}
"""Programs that listen everywhere unless they are told."""
_FLAGS = ("--host", "--http-host", "--hostname")


def check(stack: Stack) -> Iterator[Finding]:
    """Look at engines, which are sidecars of our server, and at where it looks for them."""
    yield from survey(all_pods(stack), _pod)
    yield from survey(stack.of("kubernetes:core/v1:ConfigMap"), _config)


def _pod(pod: Pod) -> Iterator[Finding]:
    if not str(at(pod.object.metadata, "labels", "berth.dev/model") or ""):
        return
    for one in pod.containers("initContainers"):
        if one.body.get("restartPolicy") == "Always":
            for found in _engine(one):
                yield Finding(found, "--host 127.0.0.1", pod.object.resource)


def _engine(one: Container) -> Iterator[str]:
    words = [str(word) for key in ("command", "args") for word in sequence(one.body.get(key))]
    hosts = [after for word, after in itertools.pairwise(words) if word in _FLAGS]
    hosts += [word.partition("=")[2] for word in words if word.startswith(tuple(f"{one}=" for one in _FLAGS))]
    if not hosts and _ENGINES & {word.rpartition("/")[2] for word in words}:
        yield f"{one.path} says no --host, so it may listen everywhere"
    elif wide := [host for host in hosts if host not in _LOOPBACK]:
        yield f"{one.path} listens on {said(wide[0])}"


def _config(resource: Resource) -> Iterator[Finding]:
    told = mapping(peek(resource.props, "data"))
    for key in ("BERTH_ENGINE_URL", "VLLM_HOST_IP"):
        value = peek(told, key)
        loopback = _ADDRESS.fullmatch(str(value)) or value in _LOOPBACK
        if value is not None and not loopback:
            yield Finding(f"data.{key} is {said(value)}", "an address on loopback", resource)


RULE = Rule(
    name="engine-loopback",
    group="network",
    title="An engine listens on loopback, where only its own gateway reaches it.",
    why="An engine knows no keys and no limits: whoever reaches it is answered, and may stop everybody else.",
    fix="Start it with --host 127.0.0.1.",
    types=KUBERNETES,
    check_stack=check,
)
