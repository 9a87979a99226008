"""A local cluster as others see it."""

from __future__ import annotations

import contextlib
import dataclasses
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import lifecycle, linking, preflight, units, workers
from .addons import METRICS_SERVER, OPTIONAL
from .build import build_binaries, build_metrics_server, built_binaries, kubernetes_version
from .config import Config, Worker, choose, reclaim
from .errors import ApiError, ClusterError, ClusterNotRunningError
from .health import dns_problem, node_problem
from .images import ScratchImage, Store
from .locks import locked
from .packages import fetch_packages, unpacked
from .parts import Parts
from .paths import ClusterPaths, clusters_folder
from .progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .addresses import Node
    from .units import RunningProcess
    from .workers import NodeInfo


@dataclass(frozen=True)
class Status:
    """How a cluster is.

    ``state`` is `absent`, `stopped`, `running` or `broken`; ``problems`` say why it is broken.
    """

    name: str
    state: str
    problems: tuple[str, ...] = ()
    kubernetes: str = ""
    server: str = ""
    node_address: str = ""
    kubeconfig: str = ""
    folder: str = ""
    hpa_sync_seconds: float | None = None
    egress: bool | None = None
    simulated_gpus: int | None = None
    addons: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    packages: dict[str, str] = dataclasses.field(default_factory=dict)
    processes: tuple[RunningProcess, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return dataclasses.asdict(self)


class Cluster:
    """A real Kubernetes on this machine, known by its name; making the object changes nothing.

    Args:
        name: lower-case letters, digits and hyphens, at most 40.
        hpa_sync_seconds: how often the HPA controller looks. None keeps what the cluster has; a new one gets
            15, the default of Kubernetes and what managed clusters have.
        egress: whether pods reach beyond this machine. None keeps what the cluster has; a new one gets False.
    """

    def __init__(
        self, name: str = "berth", *, hpa_sync_seconds: float | None = None, egress: bool | None = None
    ) -> None:
        if hpa_sync_seconds is not None and hpa_sync_seconds <= 0:
            raise ValueError(f"hpa_sync_seconds={hpa_sync_seconds:g}: want more than 0 seconds")
        self.name = name
        self.paths = ClusterPaths.of(name)
        self._wanted: dict[str, Any] = {}
        if hpa_sync_seconds is not None:
            self._wanted["hpa_sync_seconds"] = float(hpa_sync_seconds)
        if egress is not None:
            self._wanted["egress"] = egress

    def __repr__(self) -> str:
        return f"Cluster({self.name!r})"

    @staticmethod
    def list() -> list[Cluster]:
        """The clusters in this user's cache, by name."""
        return [Cluster(file.parent.name) for file in sorted(clusters_folder().glob("*/cluster.json"))]

    def start(self, progress: Progress = SILENT) -> None:
        """Make the cluster, start it, or heal it; returns when pods run and names resolve.

        Builds and fetches what is missing, which takes minutes the first time. Plain tools must be installed
        (`missing_tools`, `install_tools`).

        Raises:
            NotPossibleHereError: before anything was changed.
            DownloadError, BuildError, ClusterStartError, BusyError: it may be called again.
        """
        preflight.require()
        # The packages first: where they cannot be had, minutes of building would be in vain.
        packages, binaries = fetch_packages(progress), build_binaries(progress)
        with locked(self.paths.lock, f"starting the cluster {self.name!r}"):
            config = Config.read(self.paths)
            if config is None:
                config = choose(self.paths, Config(slot=0, **self._wanted))
            else:
                config = dataclasses.replace(config, **self._wanted)
                reclaim(self.paths, config)
                config.write(self.paths)
            lifecycle.start(Parts(self.name, config, self.paths, binaries, packages), progress)
            if METRICS_SERVER in config.addons:
                self._metrics_server(self._parts(), progress)

    def stop(self, progress: Progress = SILENT) -> None:
        """End the cluster's processes and leave its data: `start` brings it back.

        No error when it is stopped.
        """
        preflight.require_root()
        with (
            locked(self.paths.lock, f"stopping the cluster {self.name!r}"),
            progress.step("stopping the cluster", 2),
        ):
            lifecycle.stop(self.paths)
            if not self.paths.root.exists():
                self.paths.lock.unlink()

    def delete(self, progress: Progress = SILENT) -> None:
        """End the cluster and remove it with all its data. No error when there is none.

        Raises:
            CleanupError: something could not be removed; it may be called again.
        """
        preflight.require_root()
        with (
            locked(self.paths.lock, f"deleting the cluster {self.name!r}"),
            progress.step("deleting the cluster", 3),
        ):
            lifecycle.delete(self.paths)
            self.paths.lock.unlink()

    @property
    def links(self) -> Sequence[str]:
        """The clusters that it is linked with, by name."""
        return [one.root.name for one in linking.partners(self.paths)]

    def link(self, other: Cluster) -> None:
        """Let pods of either reach the other's NodePorts by TCP, and nothing else of it.

        Both remember it: it counts while both run, and ends with either's `delete`.

        Raises:
            ClusterNotRunningError: one of them was never made.
        """
        with self._both(other):
            linking.link(self.paths, other.paths)

    def unlink(self, other: Cluster) -> None:
        """Take a link back; no error where there is none."""
        with self._both(other):
            linking.unlink(self.paths, other.paths)

    @contextlib.contextmanager
    def _both(self, other: Cluster) -> Iterator[None]:
        if self.name == other.name:
            raise ValueError(f"a cluster cannot be linked with itself: {self.name}")
        # In the order of their names, so that no two such calls wait for each other.
        both = sorted((self, other), key=lambda one: one.name)
        for one in both:
            _ = one.server
        doing = f"linking the clusters {both[0].name!r} and {both[1].name!r}"
        with locked(both[0].paths.lock, doing), locked(both[1].paths.lock, doing):
            yield

    def status(self) -> Status:
        """How the cluster is; asks it, and changes nothing."""
        config = Config.read(self.paths)
        if config is None:
            return Status(self.name, "absent")
        binaries, packages = built_binaries(), unpacked()
        if binaries is None or packages is None:
            return Status(
                self.name, "broken", ("its programs are missing from the cache; `start` builds them",)
            )
        parts = Parts(self.name, config, self.paths, binaries, packages)
        running = [process for unit in parts.units() for process in unit.processes()]
        alive = [unit for unit in parts.units() if unit.head() is not None]
        problems = _problems(parts) if alive else []
        state = "stopped" if not alive else "broken" if problems else "running"
        return Status(
            self.name,
            state,
            tuple(problems),
            kubernetes=kubernetes_version(),
            server=parts.plan.server,
            node_address=str(parts.nodes[0].address),
            kubeconfig=str(self.paths.kubeconfig),
            folder=str(self.paths.root),
            hpa_sync_seconds=config.hpa_sync_seconds,
            egress=config.egress,
            simulated_gpus=config.simulated_gpus,
            addons=config.addons,
            links=tuple(self.links),
            packages=packages.versions,
            processes=tuple(running),
        )

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig (mode 0600); there once the cluster was started."""
        return self.paths.kubeconfig

    @property
    def node_address(self) -> str:
        """The first node's address, where NodePorts answer."""
        return str(self._node.address)

    @property
    def server(self) -> str:
        """The API server's URL."""
        return self._config().plan.server

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout: float = 120) -> str:
        """Run kubectl as the administrator and return what it printed.

        Raises:
            ApiError: it failed; the message is what it said.
        """
        done = subprocess.run(
            self.kubectl_command(*arguments),
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            raise ApiError(f"kubectl {' '.join(arguments)}: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout

    def kubectl_command(self, *arguments: str) -> Sequence[str]:
        """The command line that `kubectl` runs, for a caller who wants the terminal handed over."""
        self._config()
        if (binaries := built_binaries()) is None:
            raise ClusterNotRunningError(
                f"kubectl is not built; `berth cluster start --name {self.name}` builds it"
            )
        return [str(binaries["kubectl"]), f"--kubeconfig={self.kubeconfig}", *arguments]

    def import_image(self, archive: Path) -> Sequence[str]:
        """Import a `docker save` or OCI archive; returns the names that pods ask for it by.

        Raises:
            ImageError: it is no image archive, or its image has no name.
            ClusterNotRunningError: the cluster does not run.
        """
        names: Sequence[str] = ()
        for store in self._stores():
            names = store.add(archive)
        return names

    def has_image(self, reference: str) -> bool:
        """Whether every node has an image of that very name (`registry/name:tag`)."""
        return all(store.has(reference) for store in self._stores())

    def images(self) -> Sequence[str]:
        """The names of all images that the first node has."""
        return self._stores()[0].references()

    def remove_image(self, *references: str) -> None:
        """Remove images by name from every node; one that is not there is no error."""
        for store in self._stores():
            store.remove(references)

    def ensure_addon(self, name: str, progress: Progress = SILENT) -> None:
        """Add an optional part, building it when it is first asked for; `metrics-server` is the only one.

        The cluster remembers it: later starts bring it back.
        """
        if name not in OPTIONAL:
            raise ValueError(f"addon {name!r}: want one of {', '.join(OPTIONAL)}")
        self._stores()
        with locked(self.paths.lock, f"adding {name} to the cluster {self.name!r}"):
            parts = self._parts()
            if name not in parts.config.addons:
                config = dataclasses.replace(parts.config, addons=(*parts.config.addons, name))
                config.write(self.paths)
            self._metrics_server(parts, progress)

    def _metrics_server(self, parts: Parts, progress: Progress) -> None:
        program = build_metrics_server(progress)["metricsserver"]
        lifecycle.ensure_addon(parts, ScratchImage(METRICS_SERVER, program), progress)

    def simulate_gpus(self, count: int) -> None:
        """Let the scheduler see ``count`` GPUs on the first node.

        The node is labelled `berth.dev/simulated-gpu=true`. There is no device: pods that ask for one are
        placed, and find none. 0 takes them away.
        """
        if count < 0:
            raise ValueError(f"count={count}: want 0 or more simulated GPUs")
        self._stores()
        with locked(self.paths.lock, f"simulating GPUs in the cluster {self.name!r}"):
            config = dataclasses.replace(self._config(), simulated_gpus=count)
            config.write(self.paths)
            lifecycle.apply_gpus(self._parts())

    def add_nodes(
        self,
        count: int = 1,
        *,
        pool: str = "",
        simulated_gpus: int = 0,
        wait: bool = True,
        progress: Progress = SILENT,
    ) -> Sequence[str]:
        """Add nodes, with the images of the first one; returns their names.

        Args:
            count: how many, beside each other.
            pool: the value of their label `berth.dev/pool`.
            simulated_gpus: GPUs that the scheduler sees on each; they are labelled as simulated, and tainted
                as GPU nodes are. Processors and memory are this machine's, and shared by all its nodes.
            wait: until pods can run; without, until the scheduler knows their capacity.
            progress: told about steps.

        Raises:
            ClusterNotRunningError, ClusterStartError: the cluster, or a new node, does not run.
        """
        if count < 1 or simulated_gpus < 0:
            raise ValueError(f"count={count}, simulated_gpus={simulated_gpus}: want 1 or more, 0 or more")
        with locked(self.paths.lock, f"adding nodes to the cluster {self.name!r}"):
            parts = self._parts()
            self._require_running(parts)
            wanted = [Worker(index, pool, simulated_gpus) for index in workers.free_indices(parts, count)]
            return [one.name for one in workers.add(parts, wanted, progress, wait=wait)]

    def lay_images_ready(self, progress: Progress = SILENT) -> None:
        """Make what further nodes get their images from, so that the next `add_nodes` need not.

        Raises:
            ClusterNotRunningError, ImageError: the cluster does not run, or the images cannot be copied.
        """
        with locked(self.paths.lock, f"laying images of the cluster {self.name!r} ready"):
            parts = self._parts()
            self._require_running(parts)
            workers.lay_ready(parts, progress)

    def remove_node(
        self, name: str, *, seconds: float = 120.0, force: bool = False, progress: Progress = SILENT
    ) -> None:
        """Cordon, drain and remove a node that `add_nodes` made, with its processes and mounts.

        Args:
            name: the node's name.
            seconds: how long pods may take to leave.
            force: end its pods at once instead.
            progress: told about steps.

        Raises:
            ClusterError: there is no such node, or it is the first one, which stays.
            NodeBusyError: pods did not leave; it takes pods again.
        """
        with locked(self.paths.lock, f"removing a node from the cluster {self.name!r}"):
            parts = self._parts()
            self._require_running(parts)
            first, *others = parts.nodes
            found = next((one for one in others if one.name == name), None)
            if found is None:
                why = "it is the first node and stays" if name == first.name else "there is no such node"
                known = ", ".join(one.name for one in others) or "none"
                raise ClusterError(f"node {name!r}: {why}; nodes that can be removed: {known}")
            workers.remove(parts, found, progress, seconds=seconds, force=force)

    def nodes(self) -> Sequence[NodeInfo]:
        """Every node, the first one first."""
        return workers.listed(self._parts())

    def processes(self) -> Sequence[RunningProcess]:
        """The cluster's own processes that run now, without its pods'."""
        if Config.read(self.paths) is None or built_binaries() is None or unpacked() is None:
            return []
        return [process for unit in self._parts().units() for process in unit.processes()]

    def log_files(self) -> dict[str, Path]:
        """Component -> its log file."""
        return {file.stem: file for file in sorted(self.paths.logs.glob("*.log"))}

    def logs(self, component: str, lines: int = 100) -> str:
        """The last ``lines`` lines of a component's log.

        Components are `kube-apiserver`, `node1-kubelet` and so on; `log_files` has them all.
        """
        files = self.log_files()
        if component not in files:
            known = ", ".join(files) or "none yet: the cluster was never started"
            raise ClusterError(
                f"component {component!r} of the cluster {self.name!r} has no log; there are: {known}"
            )
        return units.tail(files[component], lines)

    def _config(self) -> Config:
        config = Config.read(self.paths)
        if config is None:
            raise ClusterNotRunningError(
                f"there is no cluster {self.name!r}; `berth cluster start --name {self.name}` makes it"
            )
        return config

    @property
    def _node(self) -> Node:
        return self._config().plan.node(1, self.name)

    def _parts(self) -> Parts:
        binaries, packages = built_binaries(), unpacked()
        if binaries is None or packages is None:
            raise ClusterNotRunningError(
                f"the programs of the cluster {self.name!r} are missing from the cache; "
                f"`berth cluster start --name {self.name}` builds them"
            )
        return Parts(self.name, self._config(), self.paths, binaries, packages)

    def _stores(self) -> Sequence[Store]:
        """The images of each node, the first node's first."""
        parts = self._parts()
        self._require_running(parts)
        return [parts.store(one) for one in parts.nodes]

    def _require_running(self, parts: Parts) -> None:
        if parts.node_unit(parts.nodes[0]).head() is None:
            raise ClusterNotRunningError(
                f"the cluster {self.name!r} does not run; `berth cluster start --name {self.name}` starts it"
            )


def _problems(parts: Parts) -> list[str]:
    found = []
    for unit in parts.units():
        if unit.head() is None:
            found.append(f"{unit.name} does not run")
        else:
            found += [f"{unit.name}: {program} does not run" for program in unit.missing()]
    if not parts.api.ready():
        return [*found, "the API server is not ready"]
    for one in parts.nodes:
        if problem := node_problem(parts.api, one, None):
            found.append(f"node {one.name}: {problem}")
    if problem := dns_problem(parts.plan):
        found.append(f"DNS: {problem}")
    return found
