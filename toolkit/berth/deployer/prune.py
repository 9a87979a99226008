"""What the program no longer declares: in which order it goes, and that it goes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import manifest as m
from . import urns
from .apply import delete, release
from .errors import DeployError
from .report import Op, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from .cluster import Cluster, Member

_AT_ONCE = 16
_TO_PODS = frozenset({"APIService", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"})


@dataclass(frozen=True)
class Doomed:
    """An object that goes, and where it is."""

    cluster: Cluster
    key: m.Key
    member: Member

    @property
    def retained(self) -> bool:
        """Whether it stays in the cluster and is only let go of."""
        return m.noted(self.member.live, m.RETAIN) == "true"

    @property
    def protected(self) -> bool:
        """Whether it must not go."""
        return m.noted(self.member.live, m.PROTECT) == "true"

    def step(self) -> Step:
        """The report's step for it."""
        urn = self.member.urn
        retain = "kept in the cluster (retain_on_delete)" if self.retained else ""
        return Step(
            urn=urn,
            type=urns.type_of(urn) or self.key.kind,
            name=urns.name_of(urn) or self.key.name,
            op=Op.RETAIN if self.retained else Op.DELETE,
            object=str(self.key),
            cluster=self.cluster.label,
            note=retain,
        )


def undeclared(clusters: Iterable[Cluster], declared: Mapping[str, Collection[m.Key]]) -> list[Doomed]:
    """Every object of the stack that is not among the declared keys of its cluster (by uid)."""
    return [
        Doomed(cluster, key, member)
        for cluster in clusters
        for key, member in cluster.members.items()
        if key not in declared.get(cluster.uid, ())
    ]


def _needs(doomed: list[Doomed]) -> dict[int, set[int]]:
    """For each object, those that must be gone before it: whatever depends on it."""
    by_urn = {item.member.urn: index for index, item in enumerate(doomed)}
    namespaces = {
        (item.cluster.uid, item.key.name): index
        for index, item in enumerate(doomed)
        if item.key.kind == "Namespace" and not item.key.group
    }
    definitions = {
        (item.cluster.uid, _defines(item)): index
        for index, item in enumerate(doomed)
        if item.key.kind == "CustomResourceDefinition"
    }
    before: dict[int, set[int]] = {index: set() for index in range(len(doomed))}
    for (uid, _), index in namespaces.items():
        # A namespace goes only while every API answers: so before the definitions of kinds, and after
        # whatever hands requests to pods that are about to go.
        for (other, _), definition in definitions.items():
            before[definition] |= {index} if other == uid else set()
        before[index] |= {i for i, d in enumerate(doomed) if d.cluster.uid == uid and d.key.kind in _TO_PODS}
    for index, item in enumerate(doomed):
        wanted = {by_urn.get(urn) for urn in m.noted_list(item.member.live, m.DEPENDS_ON)}
        wanted.add(namespaces.get((item.cluster.uid, item.key.namespace)))
        wanted.add(definitions.get((item.cluster.uid, item.key.group_kind)))
        for needed in wanted:
            if needed is not None and needed != index:
                before[needed].add(index)
    return before


def _defines(item: Doomed) -> str:
    spec = item.member.live.get("spec") or {}
    return f"{(spec.get('names') or {}).get('kind')}.{spec.get('group')}"


def order(doomed: list[Doomed]) -> list[list[Doomed]]:
    """Layers that can go one after the other: in each, nothing that a later one still needs.

    A circle, which annotations edited by hand could make, goes at once.
    """
    before = _needs(doomed)
    layers: list[list[Doomed]] = []
    left = set(before)
    while left:
        layer = sorted(index for index in left if not before[index] & left) or sorted(left)
        layers.append([doomed[index] for index in layer])
        left -= set(layer)
    return layers


async def prune(
    doomed: list[Doomed],
    started: Callable[[Doomed], None],
    waiting: Callable[[Doomed, str], None],
    finished: Callable[[Doomed, DeployError | None], None],
) -> bool:
    """Delete in reverse order of dependency, each layer at once; true where all went.

    After a failure the layers that were to follow stay, since something of theirs is still needed.
    """
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(item: Doomed) -> bool:
        async with slots:
            started(item)
            api, kind, live = item.cluster.api, item.member.kind, item.member.live
            try:
                if item.retained:
                    await release(api, kind, live)
                else:
                    await delete(api, kind, live, lambda text: waiting(item, text))
            except DeployError as error:
                finished(item, error)
                return False
            item.cluster.members.pop(item.key, None)
            finished(item, None)
            return True

    for layer in order(doomed):
        if not all(await asyncio.gather(*(one(item) for item in layer))):
            return False
    return True
