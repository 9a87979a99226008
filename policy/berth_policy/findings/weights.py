"""Weights that nobody could ask a hub for yet."""

from collections.abc import Iterator

from berth_policy.kubernetes import KUBERNETES
from berth_policy.rule import ADVICE, Finding, Rule
from berth_policy.subject import Stack, survey
from berth_policy.supply_chain._engines import Server, containers

NOTHING = "0" * 40
"""A revision that no repository has: it stands for one that is not known yet."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at the fetchers of weights."""
    yield from survey(containers(stack), _look)


def _look(one: Server) -> Iterator[Finding]:
    folder = one.variables.get("BERTH_WEIGHTS_FOLDER", "")
    if folder.endswith(f"/{NOTHING}"):
        found = f"{one.container.path} fetches {folder}, a revision that stands for one that is not known yet"
        yield Finding(found, "a revision and digests", one.pod.object.resource)


RULE = Rule(
    name="open-weights",
    group="findings",
    title="Open: weights are to be pinned.",
    why="A real run is refused while it is open: no revision or digest is ever invented.",
    fix="./berth weights pin MODEL, where the hub is reached.",
    levels=ADVICE,
    types=KUBERNETES,
    check_stack=check,
)
