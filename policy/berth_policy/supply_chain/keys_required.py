"""Only clients with a key are answered."""

from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, survey
from berth_policy.supply_chain._engines import Server, containers

ANONYMOUS, KEYS = "BERTH_ALLOW_ANONYMOUS", "BERTH_API_KEYS_DIR"


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each gateway."""
    yield from survey(containers(stack), _look)


def _look(one: Server) -> Iterator[Finding]:
    if ANONYMOUS not in one.variables and KEYS not in one.variables:
        return
    path, resource = one.container.path, one.pod.object.resource
    if one.variables.get(ANONYMOUS, "false").lower() not in ("false", "0"):
        yield Finding(f"{path}: {ANONYMOUS} is {one.variables[ANONYMOUS]}", "false", resource)
    if not one.variables.get(KEYS):
        yield Finding(
            f"{path}: {KEYS} is absent", "the folder that the Secret of keys is mounted at", resource
        )


RULE = Rule(
    name="gateways-need-keys",
    group="supply_chain",
    title="Gateways answer clients that have a key.",
    why="Whoever reaches the port uses the accelerators, and nobody can say who it was.",
    fix="Mount the Secret of API keys, and leave anonymous access off.",
    types=KUBERNETES,
    check_stack=check,
)
