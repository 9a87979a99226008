"""Which clusters of this machine may reach each other's NodePorts.

A link is recorded in the folders of both clusters, and holds where both records name the other: who is
deleted and made anew has none. Its rules are there while both run: on this machine, where packets are
forwarded, and on every node, which tells its pods at once where they may not go. They are written under one
lock of this machine, whoever of the two is started or stopped.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from . import network
from .config import Config, owns
from .errors import ClusterError
from .locks import locked
from .paths import RUN, ClusterPaths, clusters_folder
from .pki import write_private

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .addresses import Plan

_WAIT_SECONDS = 60


def _recorded(paths: ClusterPaths) -> list[str]:
    try:
        names = json.loads(paths.links.read_text())
    except (FileNotFoundError, ValueError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _record(paths: ClusterPaths, names: Iterable[str]) -> None:
    write_private(paths.links, (json.dumps(sorted(set(names))) + "\n").encode())


def partners(paths: ClusterPaths) -> list[ClusterPaths]:
    """The clusters that a cluster is linked with, by both records."""
    name = paths.root.name
    found = [ClusterPaths(clusters_folder() / one) for one in _recorded(paths)]
    return [one for one in found if one.config.exists() and name in _recorded(one)]


def link(one: ClusterPaths, other: ClusterPaths) -> None:
    """Record a link in both, whose locks are held, and let it count."""
    _record(one, [*_recorded(one), other.root.name])
    _record(other, [*_recorded(other), one.root.name])
    settle(one)


def unlink(one: ClusterPaths, other: ClusterPaths) -> None:
    """Take a link back; none is no error. The locks of both are held."""
    for mine, theirs in ((one, other), (other, one)):
        if theirs.root.name in (names := _recorded(mine)):
            _record(mine, [name for name in names if name != theirs.root.name])
    _settle([one, other])


def settle(paths: ClusterPaths) -> None:
    """Write the firewall rules of a cluster, and those of its partners, as far as they run."""
    _settle([paths, *partners(paths)])


def remove(plan: Plan, paths: ClusterPaths) -> None:
    """Remove the network of a cluster, and what the rules of others say of it."""
    with _alone():
        network.remove_cluster(plan)
        name = paths.root.name
        others = [ClusterPaths(file.parent) for file in sorted(clusters_folder().glob("*/cluster.json"))]
        for other in others:
            if other != paths and name in _recorded(other):
                _write_rules(other)


def _alone() -> contextlib.AbstractContextManager[None]:
    return locked(RUN / ".lock", "writing the rules of clusters", wait_seconds=_WAIT_SECONDS)


def _settle(clusters: Iterable[ClusterPaths]) -> None:
    with _alone():
        for paths in clusters:
            _write_rules(paths)


def _write_rules(paths: ClusterPaths) -> None:
    config = _live(paths)
    if config is None:
        return
    links = running(paths)
    network.ensure_rules(config.plan, egress=config.egress, links=links)
    for index in (1, *(worker.index for worker in config.workers)):
        one = config.plan.node(index, paths.root.name)
        if network.is_connected(one):
            network.ensure_node_rules(one, egress=config.egress, links=links)


def running(paths: ClusterPaths) -> list[Plan]:
    """Those of a cluster's partners that run now."""
    return [found.plan for one in partners(paths) if (found := _live(one)) is not None]


def _live(paths: ClusterPaths) -> Config | None:
    """The settings of a cluster that has its bridge now; a stopped one's slot may be somebody else's."""
    with contextlib.suppress(ClusterError):
        config = Config.read(paths)
        if config and owns(config.slot, paths) and network.link_exists(config.plan.bridge):
            return config
    return None
