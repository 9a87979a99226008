"""Starting, healing, stopping and removing a cluster.

Every step makes what is missing and leaves what is right, so a start that was interrupted anywhere, or a
cluster that lost any of its processes, is finished by the next start.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import addons, cgroups, controlplane, network, node, units
from .addresses import MAX_NODES, SLOTS, Node, Plan
from .api import Api
from .config import Config, owner_file
from .errors import ApiError, ClusterError, ClusterStartError
from .health import dns_pod_problem, dns_problem, node_problem
from .images import ScratchImage, Store
from .paths import RUN, ClusterPaths, run_folder
from .pki import Pki, control_plane_leaves, node_leaves
from .units import Unit, tail

if TYPE_CHECKING:
    from collections.abc import Callable

    from .build import Binaries
    from .packages import Packages
    from .progress import Progress

_FIRST_NODE = 1
# Five times what a loaded machine of two cores was seen to need.
_PATIENCE_SECONDS = 120.0
_SETTLED_SECONDS = 0.3


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
        """The cluster's nodes; one for now."""
        return [self.plan.node(_FIRST_NODE, self.name)]

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


def start(parts: Parts, progress: Progress) -> None:
    """Bring the cluster up from whatever state it is in; returns when pods can run and names resolve.

    Raises:
        ClusterStartError: a part did not come up; carries its last log lines.
    """
    with progress.step("preparing network and certificates", 1):
        renewed = _prepare(parts)
    with progress.step("starting the control plane", 8) as step:
        control = parts.control_plane()
        if renewed:
            control.stop()
        control.ensure()
        since = _start_nodes(parts, restart=renewed)
        _await(parts, step.update, "kube-apiserver", _api_problem(parts), control)
    with progress.step("starting the node", 10) as step:
        for one in parts.nodes:
            _register(parts, one)
        for manifest in addons.base():
            parts.api.apply(manifest)
        for one in parts.nodes:
            _import(parts, one, parts.pause, parts.coredns)
        first = parts.nodes[0]
        for manifest in addons.coredns(
            parts.plan, first.name, parts.coredns.reference, egress=parts.config.egress
        ):
            parts.api.apply(manifest)
        for one in parts.nodes:
            problem = _node_problem(parts, one, since[one.index])
            _await(parts, step.update, "kubelet", problem, parts.node_unit(one))
    with progress.step("waiting for DNS", 5) as step:
        first = parts.nodes[0]
        problem = _dns_problem(parts, since[first.index])
        _await(parts, step.update, "kube-proxy", problem, parts.node_unit(first))
        for unit in parts.units():
            _await(parts, step.update, unit.programs[-1].name, _program_problem(unit), unit)
    apply_gpus(parts)


def _prepare(parts: Parts) -> bool:
    """Make keys, settings and network; say whether what runs must start anew for it."""
    leaves = control_plane_leaves(parts.plan)
    for one in parts.nodes:
        leaves += node_leaves(one.name, one.address, one.index)
    made = parts.pki.ensure(leaves)
    users = ("controller-manager", "scheduler", "proxy", "provisioner")
    for user in [*users, *(f"node{one.index}" for one in parts.nodes)]:
        file = controlplane.kubeconfig_file(parts.paths, user)
        controlplane.write_kubeconfig(file, parts.plan, parts.pki, user, parts.name)
    controlplane.write_kubeconfig(parts.paths.kubeconfig, parts.plan, parts.pki, "admin", parts.name)
    for folder in (parts.paths.etcd, parts.paths.volumes, parts.paths.images):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    network.ensure_cluster(parts.plan, egress=parts.config.egress)
    changed = [
        node.write_settings(
            one, parts.paths, parts.packages, parts.pause.reference, egress=parts.config.egress
        )
        for one in parts.nodes
    ]
    return bool(made) or any(changed)


def _start_nodes(parts: Parts, *, restart: bool) -> dict[int, dt.datetime | None]:
    """Start what does not run; say for each node when, None where it ran."""
    since: dict[int, dt.datetime | None] = {}
    for one in parts.nodes:
        unit = parts.node_unit(one)
        if restart or unit.head() is None or not network.is_connected(one):
            unit.stop()
            cgroups.remove(one.cgroup)
        network.ensure_node(one, parts.nodes, egress=parts.config.egress)
        cgroups.ensure(one.cgroup)
        began = dt.datetime.now(dt.UTC)
        since[one.index] = began if unit.ensure() else None
    return since


def _register(parts: Parts, one: Node) -> None:
    """Give the node its pods' addresses, also before its kubelet has said a word."""
    path = f"/api/v1/nodes/{one.name}"
    found = parts.api.get(path)
    if found is None:
        parts.api.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": one.name}})
        found = parts.api.get(path) or {}
    if not found.get("spec", {}).get("podCIDR"):
        parts.api.patch(path, {"spec": {"podCIDR": str(one.pods), "podCIDRs": [str(one.pods)]}})


def _import(parts: Parts, one: Node, *images: ScratchImage) -> None:
    store = parts.store(one)
    unit = parts.node_unit(one)
    _await(
        parts,
        lambda _: None,
        "containerd",
        lambda: None if store.answers() else "it does not listen yet",
        unit,
    )
    for image in images:
        if not store.has(image.reference):
            store.add(image.write(parts.paths.images))


def ensure_addon(parts: Parts, image: ScratchImage, progress: Progress) -> None:
    """Run metrics-server and wait until the API server serves its API."""
    with progress.step("starting metrics-server", 25) as step:
        parts.pki.ensure([addons.metrics_server_leaf()])
        for one in parts.nodes:
            _import(parts, one, image)
        for manifest in addons.metrics_server(parts.pki, image.reference):
            parts.api.apply(manifest)

        def problem() -> str | None:
            found = parts.api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io") or {}
            for condition in found.get("status", {}).get("conditions", []):
                if condition["type"] == "Available":
                    return None if condition["status"] == "True" else str(condition.get("message"))
            return "the API server has not looked yet"

        _await(parts, step.update, "kubelet", problem, parts.node_unit(parts.nodes[0]))


def apply_gpus(parts: Parts) -> None:
    """Say on the first node's status that it has GPUs, and on its labels that they are simulated."""
    count, path = parts.config.simulated_gpus, f"/api/v1/nodes/{parts.nodes[0].name}"
    found = parts.api.get(path) or {}
    label = found.get("metadata", {}).get("labels", {}).get(SIMULATED_GPU_LABEL)
    has = found.get("status", {}).get("allocatable", {}).get(GPU)
    if (label, has) == (("true", str(count)) if count else (None, None)):
        return
    parts.api.patch(path, {"metadata": {"labels": {SIMULATED_GPU_LABEL: "true" if count else None}}})
    amount = {GPU: str(count) if count else None}
    parts.api.patch(f"{path}/status", {"status": {"capacity": amount, "allocatable": amount}})


GPU = "nvidia.com/gpu"
SIMULATED_GPU_LABEL = "berth.dev/simulated-gpu"


def _api_problem(parts: Parts) -> Callable[[], str | None]:
    return lambda: None if parts.api.ready() else "it is not ready yet"


def _node_problem(parts: Parts, one: Node, since: dt.datetime | None) -> Callable[[], str | None]:
    return lambda: node_problem(parts.api, one, since)


def _program_problem(unit: Unit) -> Callable[[], str | None]:
    """What does not run of a unit: a program that met no API server ends, and is started a second later."""

    def problem() -> str | None:
        for wait in (0.0, _SETTLED_SECONDS):
            time.sleep(wait)
            if missing := unit.missing():
                return f"{unit.name}: {', '.join(missing)} does not run yet"
        return None

    return problem


def _dns_problem(parts: Parts, since: dt.datetime | None) -> Callable[[], str | None]:
    return lambda: dns_pod_problem(parts.api, since) or dns_problem(parts.plan)


def _await(
    parts: Parts, update: Callable[[str], None], program: str, problem: Callable[[], str | None], unit: Unit
) -> None:
    """Wait until there is no ``problem``, at most two minutes."""
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
                f"{unit.log(program)} ends with:\n{tail(unit.log(program), 10)}"
            )
        time.sleep(0.1)


def stop(paths: ClusterPaths) -> None:
    """End all processes and remove everything outside of the cluster's folder.

    Needs nothing but the folder's name: it works on a cluster whose files are damaged or gone.

    Raises:
        CleanupError: something could not be removed.
    """
    # By their names, since processes outlive a folder that somebody removed by hand.
    for script in sorted(paths.units.glob("*.sh")) or _expected_units(paths):
        units.stop(script)
    for slot in _slots(paths):
        plan = Plan(slot)
        network.remove_cluster(plan)
        for index in range(1, MAX_NODES + 1):
            cgroups.remove(plan.node(index, paths.root.name).cgroup)
        shutil.rmtree(run_folder(slot), ignore_errors=True)
    _remove_shared()


def _expected_units(paths: ClusterPaths) -> list[Path]:
    names = [controlplane.UNIT, *(node.unit_name(index) for index in range(1, MAX_NODES + 1))]
    return [paths.units / f"{name}.sh" for name in names]


def _slots(paths: ClusterPaths) -> list[int]:
    """The slots that the cluster has, by its own record or by this machine's."""
    found = set()
    with contextlib.suppress(ClusterError):
        if (config := Config.read(paths)) is not None and not _is_foreign(config.slot, paths):
            found.add(config.slot)
    found |= {slot for slot in range(SLOTS) if owner_file(slot).exists() and not _is_foreign(slot, paths)}
    return sorted(found)


def _is_foreign(slot: int, paths: ClusterPaths) -> bool:
    owner = owner_file(slot)
    return owner.exists() and owner.read_text() != str(paths.root)


def _remove_shared() -> None:
    """Remove what all clusters of this machine share, if this was the last."""
    if any(owner_file(slot).exists() for slot in range(SLOTS)):
        return
    (RUN / ".lock").unlink(missing_ok=True)
    for folder in (*node.MOUNT_POINTS, RUN):
        with contextlib.suppress(OSError):  # not empty: somebody else's
            Path(folder).rmdir()


def delete(paths: ClusterPaths) -> None:
    """`stop`, and remove the cluster's folder with all data in it.

    Raises:
        CleanupError: something could not be removed.
    """
    stop(paths)
    if paths.root.exists():
        shutil.rmtree(paths.root)
