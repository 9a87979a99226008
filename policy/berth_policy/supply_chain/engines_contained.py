"""An engine behind a gateway talks to that gateway only."""

from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, mapping, sequence, survey
from berth_policy.supply_chain._engines import OFFLINE, Server, containers, is_engine

LOOPBACK = ("127.0.0.1", "localhost", "::1")
URL, SOURCE = "BERTH_ENGINE_URL", "BERTH_WEIGHTS_SOURCE"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each pod that has a gateway or a fetcher of weights beside its engine."""
    every = containers(stack)
    gateways = {id(one.pod) for one in every if URL in one.variables}
    fetched: dict[int, set[str]] = {}
    for one in every:
        if SOURCE in one.variables:
            fetched.setdefault(id(one.pod), set()).update(_mounted(one))
    yield from survey([one for one in every if URL in one.variables], _gateway)
    behind = [one for one in every if id(one.pod) in gateways and is_engine(one)]
    yield from survey(behind, _engine)
    readers = [one for one in every if id(one.pod) in fetched and SOURCE not in one.variables]
    yield from survey(readers, lambda one: _reads(one, fetched[id(one.pod)]))


def _gateway(one: Server) -> Iterator[Finding]:
    host = one.variables[URL].partition("://")[2].rpartition(":")[0].strip("[]")
    if host not in LOOPBACK:
        found = f"{one.container.path}: {URL} is {one.variables[URL]}"
        yield Finding(found, "an address of loopback", one.pod.object.resource)


def _engine(one: Server) -> Iterator[Finding]:
    path, resource = one.container.path, one.pod.object.resource
    host = one.after("--host", "--hostname")
    if host not in LOOPBACK:
        yield Finding(f"{path} listens on {host or 'every address'}", "--host 127.0.0.1", resource)
    if not one.repository:
        for name in OFFLINE:
            if one.variables.get(name, "").lower() not in ("1", "true"):
                yield Finding(f"{path}: {name} is not 1, and its weights are files", "1", resource)


def _reads(one: Server, volumes: set[str]) -> Iterator[Finding]:
    for index, mount in enumerate(map(mapping, sequence(one.container.body.get("volumeMounts")))):
        if mount.get("name") in volumes and mount.get("readOnly") is not True:
            found = f"{one.container.path}.volumeMounts[{index}] of the weights can be written to"
            yield Finding(found, "readOnly: true", one.pod.object.resource)


def _mounted(one: Server) -> set[str]:
    """Volumes that a fetcher writes to."""
    mounts = map(mapping, sequence(one.container.body.get("volumeMounts")))
    written = (mount.get("name") for mount in mounts if mount.get("readOnly") is not True)
    return {str(name) for name in written if name}


RULE = Rule(
    name="engines-contained",
    group="supply_chain",
    title="An engine behind a gateway listens on loopback, asks no hub, and cannot write to its weights.",
    why="Whoever reaches the engine passes keys and limits by; what it loads later was never checked.",
    fix="Give it --host 127.0.0.1, HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE 1, and its weights readOnly.",
    types=KUBERNETES,
    check_stack=check,
)
