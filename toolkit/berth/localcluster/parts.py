"""Everything that one cluster is made of, and waiting for a part of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import controlplane, node
from .api import Api
from .errors import ApiError, ClusterStartError
from .images import ScratchImage, Store
from .pki import Pki
from .units import tail

if TYPE_CHECKING:
    from collections.abc import Callable

    from .addresses import Node, Plan
    from .build import Binaries
    from .config import Config
    from .packages import Packages
    from .paths import ClusterPaths
    from .units import Unit

_FIRST_NODE = 1
# Five times what a loaded machine of two cores was seen to need.
_PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Parts:
    """Everything that one cluster is made of."""

    name: str
    config: Config
    paths: ClusterPaths
    binaries: Binaries
    packages: Packages

    @property
    def plan(self) -> Plan:
        """The cluster's addresses."""
        return self.config.plan

    @property
    def pki(self) -> Pki:
        """The cluster's keys."""
        return Pki(self.paths.pki)

    @property
    def api(self) -> Api:
        """Calls to the API server as the administrator."""
        return Api(self.plan, self.pki)

    @property
    def nodes(self) -> list[Node]:
        """The cluster's nodes, the first one first."""
        indices = [_FIRST_NODE, *(worker.index for worker in self.config.workers)]
        return [self.plan.node(index, self.name) for index in indices]

    def control_plane(self) -> Unit:
        """The unit of the control plane."""
        return controlplane.unit(
            self.plan, self.paths, self.binaries, self.packages, hpa_sync_seconds=self.config.hpa_sync_seconds
        )

    def node_unit(self, one: Node) -> Unit:
        """The unit of a node."""
        return node.unit(one, self.paths, self.binaries, self.packages)

    def units(self) -> list[Unit]:
        """All units."""
        return [self.control_plane(), *(self.node_unit(one) for one in self.nodes)]

    def store(self, one: Node) -> Store:
        """The images of a node."""
        return Store(self.packages.find("usr/bin/ctr"), node.socket(one))

    @property
    def pause(self) -> ScratchImage:
        """What holds each pod's network."""
        return ScratchImage("pause", self.binaries["pause"])

    @property
    def coredns(self) -> ScratchImage:
        """Cluster DNS."""
        return ScratchImage("coredns", self.binaries["coredns"])


def _runtime(program: str, unit: Unit) -> str:
    """A kubelet that meets no runtime says so; why there is none stands in containerd's log."""
    log = unit.log("containerd")
    return f"\n{log} ends with:\n{tail(log, 3)}" if program == "kubelet" and log.exists() else ""


def wait_for(
    parts: Parts, update: Callable[[str], None], program: str, problem: Callable[[], str | None], unit: Unit
) -> None:
    """Wait until there is no ``problem``, at most two minutes.

    Raises:
        ClusterStartError: there still is one; carries the last log lines of ``program``.
    """
    end, last = time.monotonic() + _PATIENCE_SECONDS, ""
    while True:
        try:
            found = problem()
        except ApiError as error:
            found = str(error)
        if found is None:
            return
        if found != last:
            update(found)
            last = found
        if time.monotonic() > end:
            raise ClusterStartError(
                f"the cluster {parts.name!r} did not come up within {_PATIENCE_SECONDS:g} s: {found}\n"
                f"{unit.log(program)} ends with:\n{tail(unit.log(program), 10)}{_runtime(program, unit)}"
            )
        time.sleep(0.1)
