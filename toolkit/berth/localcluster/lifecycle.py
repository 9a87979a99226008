"""Starting, healing, stopping and removing a cluster.

Every step makes what is missing and leaves what is right, so a start that was interrupted anywhere, or a
cluster that lost any of its processes, is finished by the next start.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from . import addons, cgroups, controlplane, joining, linking, network, node, units, watchers
from .addresses import MAX_NODES, SLOTS, Plan
from .config import Config, owner_file, owns
from .errors import ClusterError
from .health import dns_pod_problem, dns_problem, node_problem
from .parts import wait_for
from .paths import RUN, ClusterPaths, run_folder
from .pki import control_plane_leaves

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

    from .addresses import Node
    from .images import ScratchImage
    from .parts import Parts
    from .progress import Progress
    from .units import Unit

_SETTLED_SECONDS = 0.3
_PROXY_SECONDS = 2.0
"""kube-proxy writes its rules at most once a second: what it shows may be older than what the API says."""


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
        since = {one.index: joining.launch(parts, one, restart=renewed) for one in parts.nodes}
        wait_for(parts, step.update, "kube-apiserver", _api_problem(parts), control)
    with progress.step("starting the nodes" if parts.config.workers else "starting the node", 10) as step:
        workers = {worker.index: worker for worker in parts.config.workers}
        for one in parts.nodes:
            joining.register(parts, one, workers.get(one.index))
        for manifest in addons.base():
            parts.api.apply(manifest)
        for one in parts.nodes:
            joining.import_images(parts, one, parts.pause, parts.coredns)
        first = parts.nodes[0]
        for manifest in addons.coredns(
            parts.plan, first.name, parts.coredns.reference, egress=parts.config.egress
        ):
            parts.api.apply(manifest)
        for one in parts.nodes:
            problem = _node_problem(parts, one, since[one.index])
            wait_for(parts, step.update, "kubelet", problem, parts.node_unit(one))
    with progress.step("waiting for DNS", 5) as step:
        first = parts.nodes[0]
        problem = _dns_problem(parts, since[first.index])
        wait_for(parts, step.update, "kube-proxy", problem, parts.node_unit(first))
        for unit in parts.units():
            wait_for(parts, step.update, unit.programs[-1].name, _program_problem(unit), unit)
    apply_gpus(parts)


def _prepare(parts: Parts) -> bool:
    """Make keys, settings and network; say whether what runs must start anew for it."""
    leaves = control_plane_leaves(parts.plan)
    for one in parts.nodes:
        leaves += joining.leaves(one)
    made = parts.pki.ensure(leaves)
    for user in ("controller-manager", "scheduler", "proxy", "provisioner"):
        file = controlplane.kubeconfig_file(parts.paths, user)
        controlplane.write_kubeconfig(file, parts.plan, parts.pki, user, parts.name)
    controlplane.write_kubeconfig(parts.paths.kubeconfig, parts.plan, parts.pki, "admin", parts.name)
    for folder in (parts.paths.etcd, parts.paths.volumes, parts.paths.images):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    watchers.ensure()
    network.ensure_cluster(parts.plan)
    linking.settle(parts.paths)
    changed = [joining.write_settings(parts, one) for one in parts.nodes]
    return bool(made) or any(changed)


def ensure_addon(parts: Parts, image: ScratchImage, progress: Progress) -> None:
    """Run metrics-server and wait until the API server serves its API."""
    with progress.step("starting metrics-server", 25) as step:
        parts.pki.ensure([addons.metrics_server_leaf()])
        for one in parts.nodes:
            joining.import_images(parts, one, image)
        for manifest in addons.metrics_server(parts.pki, image.reference):
            parts.api.apply(manifest)

        def problem() -> str | None:
            found = parts.api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io") or {}
            for condition in found.get("status", {}).get("conditions", []):
                if condition["type"] == "Available":
                    return None if condition["status"] == "True" else str(condition.get("message"))
            return "the API server has not looked yet"

        wait_for(parts, step.update, "kubelet", problem, parts.node_unit(parts.nodes[0]))


def apply_gpus(parts: Parts) -> None:
    """Say on each node how many simulated GPUs it has."""
    first, *others = parts.nodes
    joining.show_gpus(parts, first, parts.config.simulated_gpus)
    for one, worker in zip(others, parts.config.workers, strict=True):
        joining.show_gpus(parts, one, worker.simulated_gpus)


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
    """Whether names resolve; where the node was just started, for as long as old news may still arrive."""

    def problem() -> str | None:
        found = dns_pod_problem(parts.api, since) or dns_problem(parts.plan)
        end = time.monotonic() + (_PROXY_SECONDS if since is not None else 0.0)
        while found is None and time.monotonic() < end:
            time.sleep(_SETTLED_SECONDS)
            found = dns_problem(parts.plan)
        return found

    return problem


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
        linking.remove(plan, paths)
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
    return owner_file(slot).exists() and not owns(slot, paths)


def _remove_shared() -> None:
    """Remove what all clusters of this machine share, if this was the last."""
    if any(owner_file(slot).exists() for slot in range(SLOTS)):
        return
    watchers.give_back()
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
