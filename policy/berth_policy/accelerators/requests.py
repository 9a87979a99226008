"""An engine asks for the accelerator that it computes on."""

from collections.abc import Iterator

from berth_policy.accelerators._pools import RESOURCES
from berth_policy.kubernetes import KUBERNETES
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, at, mapping, survey
from berth_policy.supply_chain._engines import Server, containers, official
from berth_policy.supply_chain._images import parse
from berth_policy.units import number


def check(stack: Stack) -> Iterator[Finding]:
    """Look at every container's accelerators."""
    yield from survey(containers(stack), _look)


def _look(one: Server) -> Iterator[Finding]:
    path, resource = f"{one.container.path}.resources", one.pod.object.resource
    limits = mapping(at(one.container.body, "resources", "limits"))
    requests = mapping(at(one.container.body, "resources", "requests"))
    for name in sorted(RESOURCES & {*limits, *requests}):
        most, asked = limits.get(name), requests.get(name)
        if most is None or (asked is not None and number(asked, -1) != number(most, -2)):
            found = f"{path}: {name} has the request {asked} and the limit {most}"
            yield Finding(found, "the same number in both, or the limit alone", resource)
        count = number(most if most is not None else asked, 0)
        if count < 1 or not count.is_integer():
            yield Finding(f"{path}: {name} is {count:g}", "a whole number above 0", resource)
    needed = official().get(parse(str(one.container.body.get("image") or "")).repository, "")
    if needed and needed not in limits:
        found = f"{path}.limits lacks {needed}, which {one.container.body['image']} computes on"
        yield Finding(found, f"{needed}: 1 or more", resource)
    degree = one.after("--tensor-parallel-size", "-tp", "--tp-size", "--num-shard")
    if needed == "nvidia.com/gpu" and degree and needed in limits:
        wanted = number(degree, 1) * number(one.after("--pipeline-parallel-size", "-pp") or 1, 1)
        if wanted > number(limits[needed], 0):
            found = f"{path}.limits has {limits[needed]} {needed}, the engine wants {wanted:g}"
            yield Finding(found, "as many as the engine spreads itself over", resource)


RULE = Rule(
    name="accelerators-requested",
    group="accelerators",
    title="An engine asks for the accelerators that it computes on, request and limit alike.",
    why="Without the request it lands on any node and fails there; accelerators cannot be overcommitted.",
    fix="Set resources.limits of the accelerator, and the same request or none.",
    types=KUBERNETES,
    check_stack=check,
)
