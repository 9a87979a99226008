"""Weights are the ones that were tested."""

import re
from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, survey
from berth_policy.supply_chain._engines import OFFLINE, Server, containers, is_engine

_REVISION = re.compile(r"[0-9a-f]{40}")
_VARIABLES = ("REVISION", "HF_REVISION", "VLLM_REVISION", "MODEL_REVISION")
_FOLDER = "BERTH_WEIGHTS_FOLDER"
WANTED = "a commit of 40 hexadecimal digits"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at every engine that loads from a hub by itself, and at every fetcher of weights."""
    yield from survey(containers(stack), _look)


def _look(one: Server) -> Iterator[Finding]:
    path, resource = one.container.path, one.pod.object.resource
    if is_engine(one) and one.repository:
        named = [one.after("--revision"), *(one.variables.get(name, "") for name in _VARIABLES)]
        given = next((word for word in named if word), "")
        offline = any(one.variables.get(name) in ("1", "true") for name in OFFLINE)
        if not _REVISION.fullmatch(given) and not offline:
            found = f"{path} loads {one.repository} at {given or 'whatever is newest'}"
            yield Finding(found, f"--revision with {WANTED}", resource)
    source = one.variables.get("BERTH_WEIGHTS_SOURCE", "")
    if source == "hub" and not _REVISION.fullmatch(one.variables.get(_FOLDER, "").rpartition("/")[2]):
        yield Finding(f"{path}: {_FOLDER} ends with no revision", WANTED, resource)
    served = one.variables.get("BERTH_MODEL_REVISION")
    if served is None and "BERTH_ENGINE_URL" in one.variables:
        yield Finding(f"{path}: BERTH_MODEL_REVISION is absent", f"{WANTED}, or sha256:…", resource)
    if served is not None and not re.fullmatch(r"[0-9a-f]{40}|sha256:[0-9a-f]{64}", served):
        yield Finding(f"{path}: BERTH_MODEL_REVISION is {served!r}", f"{WANTED}, or sha256:…", resource)


RULE = Rule(
    name="models-revision",
    group="supply_chain",
    title="Models are named by revision.",
    why="A branch of a hub's repository changes under a running server: a restart loads another model.",
    fix="Pin the commit: ./berth weights pin, or --revision of the engine.",
    types=KUBERNETES,
    check_stack=check,
)
