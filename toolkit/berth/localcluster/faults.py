"""Faults of nodes, for drills: gone from the network and frozen, or with less processor time.

What was done is undone by names alone, whoever did it and whatever became of them: nothing is kept here.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from . import cgroups, network, processes, units
from .commands import run
from .config import Config
from .errors import ClusterError, ClusterNotRunningError
from .node import unit_name
from .paths import ClusterPaths
from .preflight import require_root

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .addresses import Node
    from .processes import Identity

_PERIOD_US, _LEAST_QUOTA_US = 100_000, 1_000
_ROUNDS = 50


class NodeFaults:
    """What can be done to the nodes of a cluster; making the object changes nothing.

    Args:
        name: of the cluster.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._paths = ClusterPaths.of(name)

    def lose(self, names: Sequence[str]) -> None:
        """Take nodes off the network and freeze all that runs on them, as a machine that hangs.

        Nobody is told: connections stay open, and no answer comes.

        Raises:
            ClusterError: there is no such node.
            ClusterNotRunningError: the cluster, or a node, does not run.
        """
        require_root()
        nodes = self._nodes(names)
        for node in nodes:
            run("ip", "link", "set", node.veth, "down")
        for node in nodes:
            self._signal(node, signal.SIGSTOP)

    def recover(self, names: Sequence[str]) -> None:
        """Undo `lose`; of nodes that are gone, or were never lost, nothing happens."""
        require_root()
        config = Config.read(self._paths)
        if config is None:
            return
        there = {node.name: node for node in _all(config, self.name)}
        for node in (there[name] for name in names if name in there):
            self._signal(node, signal.SIGCONT)
            if network.link_exists(node.veth):
                run("ip", "link", "set", node.veth, "up")

    def quotas(self, names: Sequence[str], containers: Sequence[str]) -> dict[str, str]:
        """The files that hold the processor time of containers on some nodes, and what they say now.

        Args:
            names: of nodes.
            containers: ids, as a pod's status has them, without `containerd://`.
        """
        found: dict[str, str] = {}
        for node in self._nodes(names):
            for file in _quota_files(node, containers):
                found[str(file)] = file.read_text().strip()
        return found

    def slow(self, quotas: Mapping[str, str], share: float) -> None:
        """Give each container that share of the processor time that it may have now.

        Args:
            quotas: what `quotas` returned.
            share: above 0, at most 1.
        """
        require_root()
        for name, said in quotas.items():
            _write(Path(name), _less(said, share))

    def restore(self, quotas: Mapping[str, str]) -> None:
        """Undo `slow`; of containers that are gone nothing happens."""
        require_root()
        for name, said in quotas.items():
            _write(Path(name), said)

    def _nodes(self, names: Sequence[str]) -> list[Node]:
        config = Config.read(self._paths)
        if config is None:
            raise ClusterNotRunningError(
                f"there is no cluster {self.name!r}; `berth cluster start --name {self.name}` makes it"
            )
        there = {node.name: node for node in _all(config, self.name)}
        if unknown := [name for name in names if name not in there]:
            raise ClusterError(
                f"the cluster {self.name!r} has no node {', '.join(unknown)}; there are: {', '.join(there)}"
            )
        nodes = [there[name] for name in names]
        for node in nodes:
            if not network.is_connected(node) or self._head(node) is None:
                raise ClusterNotRunningError(
                    f"node {node.name} does not run; `berth cluster start --name {self.name}` starts it"
                )
        return nodes

    def _head(self, node: Node) -> Identity | None:
        return units.head_of(self._paths.units / f"{unit_name(node.index)}.sh")

    def _signal(self, node: Node, number: signal.Signals) -> None:
        head = self._head(node)
        if head is not None:
            signal_all(head, number)


def signal_all(head: Identity, number: signal.Signals) -> None:
    """Send a signal to all that runs in a unit: its programs, their containers, whatever those started."""
    done: set[Identity] = set()
    # What is not yet frozen starts further processes meanwhile.
    for _ in range(_ROUNDS):
        new = {one for pid in processes.descendants(head.pid) if (one := processes.Identity.of(pid))} - done
        if not new:
            return
        for one in new:
            one.send(number)
        done |= new


def _all(config: Config, name: str) -> list[Node]:
    indices = [1, *(worker.index for worker in config.workers)]
    return [config.plan.node(index, name) for index in indices]


def _quota_files(node: Node, containers: Sequence[str]) -> list[Path]:
    """The file of each container's cgroup that limits its processor time, on cgroup v1 and v2."""
    unified = cgroups.version() == cgroups.UNIFIED
    name = "cpu.max" if unified else "cpu.cfs_quota_us"
    found = []
    for hierarchy in cgroups.hierarchies():
        group = hierarchy / node.cgroup
        if group.exists() and (group / name).exists():
            found += [
                folder / name
                for container in containers
                for folder in group.rglob(container)
                if (folder / name).exists()
            ]
    return found


def _less(said: str, share: float) -> str:
    """A quota of a part; `-1` (v1) and `max` (v2) are no limit, so a part of all processors."""
    words = said.split()
    period = int(words[1]) if len(words) > 1 else _PERIOD_US
    now = (os.cpu_count() or 1) * period if words[0] in {"-1", "max"} else int(words[0])
    quota = max(_LEAST_QUOTA_US, int(now * share))
    return f"{quota} {period}" if len(words) > 1 else str(quota)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError:
        # The container ended meanwhile, and its cgroup with it.
        if file.exists():
            raise
