"""A stack held ready for many small changes: which rules of this pack a mutant trips.

It calls the rules themselves, since the runtime takes a whole stack for each change; a test compares the two.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from pulumi_policy.proxy import UnknownValueError, unknown_checking_proxy

from berth_policy.environment import environment_of
from berth_policy.rule import Rule
from berth_policy.subject import Resource, Stack
from berth_policy.testing.resources import PROJECT, STACK, Given, flat

_NAMESPACE = "kubernetes:core/v1:Namespace"
"""Says which pods are a node's agents."""
Trip = tuple[str, str]
"""A rule's name, and the URN of what it found something about; "" is the whole stack."""


class Trial:
    """A stack, and what rules find in it before anything is changed.

    Attributes:
        baseline: what trips already, with the number of findings.
        environment: whose levels count.
    """

    def __init__(self, rules: Sequence[Rule], resources: Sequence[Given], environment: str = "") -> None:
        """Judge the stack as it is, in the environment that it declares, or in another one."""
        self._resources = {one.urn_in(STACK, PROJECT): _resource(one) for one in resources}
        self.environment = environment or environment_of(self._resources.values(), "")
        alive = [one for one in rules if one.levels[self.environment] != "disabled"]
        self._single = [one for one in alive if one.check is not None]
        self._whole = [one for one in alive if one.check_stack is not None]
        self.baseline: dict[Trip, int] = {}
        for trip in self._all(self._resources):
            self.baseline[trip] = self.baseline.get(trip, 0) + 1

    def trips(self, changed: Given) -> str:
        """The name of a rule that finds more than before; "" where none does. Unevaluated is no trip."""
        urn = changed.urn_in(STACK, PROJECT)
        known = self._resources[urn]
        resource = _resource(changed)
        resource.dependencies, resource.references = known.dependencies, known.references
        counted: dict[Trip, int] = {}
        for trip in self._of_one(resource):
            counted[trip] = counted.get(trip, 0) + 1
            if counted[trip] > self.baseline.get(trip, 0):
                return trip[0]
        stack = Stack(list({**self._resources, urn: resource}.values()), self.environment)
        here = next(
            (part for part in stack.clusters if any(one is resource for one in part.resources)), stack
        )
        for rule in self._whole:
            if not rule.looks_at(resource.token):
                continue
            counted = {}
            for trip in _judged_of(rule, here if rule.by_cluster else stack, resource):
                counted[trip] = counted.get(trip, 0) + 1
                if counted[trip] > self.baseline.get(trip, 0):
                    return trip[0]
        return ""

    def _all(self, resources: Mapping[str, Resource]) -> Iterator[Trip]:
        for one in resources.values():
            yield from self._of_one(one)
        stack = Stack(list(resources.values()), self.environment)
        for rule in self._whole:
            for part in stack.clusters if rule.by_cluster else [stack]:
                yield from _judged(rule, part)

    def _of_one(self, resource: Resource) -> Iterator[Trip]:
        for rule in self._single:
            if rule.looks_at(resource.token) and rule.check is not None:
                yield from _guarded((rule.name, resource.urn) for _ in rule.check(resource))


def _judged(rule: Rule, stack: Stack) -> Iterator[Trip]:
    if rule.check_stack is not None:
        found = rule.check_stack(stack)
        yield from _guarded((rule.name, one.resource.urn if one.resource else "") for one in found)


def _judged_of(rule: Rule, stack: Stack, changed: Resource) -> Iterator[Trip]:
    """What a rule of the stack finds about a changed resource, or anywhere where others depend on it."""
    each = getattr(rule.check_stack, "each", None)
    if each is None or changed.token == _NAMESPACE:
        yield from _judged(rule, stack)
    else:
        yield from _guarded(
            (rule.name, one.resource.urn if one.resource else "") for one in each(stack, changed)
        )


def _guarded(found: Iterable[Trip]) -> Iterator[Trip]:
    """What is found before an unknown value ends it."""
    try:
        yield from found
    except UnknownValueError:
        return


def _resource(one: Given) -> Resource:
    return Resource(
        one.type,
        one.urn_in(STACK, PROJECT),
        one.name,
        unknown_checking_proxy(flat(one.inputs)),
        parent=one.parent,
        protect=one.protect,
        dependencies=tuple(one.dependencies),
        references={key: tuple(urns) for key, urns in one.references.items()},
        provider=one.provider.urn_in(STACK, PROJECT) if one.provider else "",
    )


__all__ = ["Trial", "Trip"]
