"""Only clients with a key are answered."""

from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, mapping, sequence, survey
from berth_policy.supply_chain._engines import Server, containers

ANONYMOUS, KEYS, DRAIN = "BERTH_ALLOW_ANONYMOUS", "BERTH_API_KEYS_DIR", "BERTH_DRAIN_SECONDS"
MODULE = "berth_serving.gateway"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each gateway."""
    yield from survey(containers(stack), _look)


def _look(one: Server) -> Iterator[Finding]:
    if not is_gateway(one):
        return
    path, resource = one.container.path, one.pod.object.resource
    if one.variables.get(ANONYMOUS, "false").lower() not in ("false", "0"):
        yield Finding(f"{path}: {ANONYMOUS} is {one.variables[ANONYMOUS]}", "false", resource)
    folder = one.variables.get(KEYS, "")
    if not folder or not _is_secret(one, folder):
        yield Finding(f"{path}: {KEYS} is {folder or 'absent'}", "a folder of a Secret", resource)
    if DRAIN not in one.variables:
        yield Finding(f"{path}: {DRAIN} is absent", "the seconds that a request takes", resource)


def is_gateway(one: Server) -> bool:
    """Whether a container is Berth's gateway: by what it starts, or by how it is told of keys."""
    return MODULE in one.words or ANONYMOUS in one.variables or KEYS in one.variables


def _is_secret(one: Server, folder: str) -> bool:
    """Whether a Secret is mounted at a folder."""
    secrets = [
        volume.get("name")
        for volume in map(mapping, sequence(one.pod.spec.get("volumes")))
        if mapping(volume.get("secret"))
    ]
    mounts = map(mapping, sequence(one.container.body.get("volumeMounts")))
    return any(one.get("mountPath") == folder and one.get("name") in secrets for one in mounts)


RULE = Rule(
    name="gateways-need-keys",
    group="supply_chain",
    title="Gateways answer clients that have a key.",
    why="Whoever reaches the port uses the accelerators, and nobody can say who it was.",
    fix="Mount the Secret of API keys, and leave anonymous access off.",
    types=KUBERNETES,
    check_stack=check,
)
