"""Who does the faults of a drill: to nodes of the local Kubernetes, or through a Kubernetes API."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.cli.errors import UserError
from berth.cli.mending import Breakage, scale

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from berth.localcluster import Cluster, NodeInfo

Json = dict[str, Any]
_SHARE = 0.1
# Together the two minutes of notice that AWS gives before it takes a spot instance back.
_DRAIN_SECONDS, _END_SECONDS = 30.0, 90.0
_GONE_SECONDS = 60.0
_PAUSE_SECONDS = 0.2
_ENGINE = "engine"


@dataclass(frozen=True)
class Place:
    """A site, as a lever reaches it.

    Attributes:
        site: its name.
        kubeconfig, context: of its cluster.
        namespace: of the model there.
        selector: labels of the model's pods.
        reporter: name of the reporter's Deployment.
        cluster: name of the local cluster; "" where it is none.
        nodes: of the site, on a local cluster.
        whole: whether these are all nodes of that cluster.
    """

    site: str
    kubeconfig: str
    context: str
    namespace: str
    selector: Mapping[str, str]
    reporter: str
    cluster: str = ""
    nodes: Sequence[NodeInfo] = ()
    whole: bool = False

    @property
    def names(self) -> list[str]:
        """Of its nodes."""
        return [one.name for one in self.nodes]


class RecordedLever:
    """Does a fault beside the loop; undoes what is written down of it."""

    def __init__(
        self, text: str, breakage: Breakage, do: Callable[[], None], again: Callable[[], None] | None = None
    ) -> None:
        self.text = text
        self._breakage, self._do, self._again = breakage, do, again
        self._work: asyncio.Future[None] | None = None

    async def pull(self) -> None:
        """Do it."""
        await self._beside(self._do)

    async def hold(self) -> None:
        """Do it to what has come meanwhile."""
        if self._again is not None:
            await self._beside(self._again)

    async def release(self) -> None:
        """Undo everything."""
        if self._work is not None:
            # A thread cannot be stopped; what it still breaks must be written down before it is mended.
            await asyncio.wait([self._work])
        await asyncio.to_thread(self._breakage.mend)

    async def _beside(self, work: Callable[[], None]) -> None:
        self._work = asyncio.ensure_future(asyncio.to_thread(work))
        await asyncio.shield(self._work)


def lever(fault: str, place: Place, breakage: Breakage) -> RecordedLever:
    """Return who does a fault of a site.

    Raises:
        UserError: the site has nothing that could be broken in that way.
    """
    return {"lose-site": _lose_site, "lose-pool": _lose_pool, "lose-metrics": _lose_metrics}.get(
        fault, _slow_site
    )(place, breakage)


def _need_nodes(place: Place, why: str) -> None:
    if not place.nodes:
        raise UserError(
            f"the site {place.site} has no node of its own in the cluster {place.cluster}: {why}. "
            f"Give it some: sites.{place.site}.simulatedNodes: {{count: 1, gpus: 1}}, and `up` again"
        )


def _lose_site(place: Place, breakage: Breakage) -> RecordedLever:
    from berth.localcluster import NodeFaults

    _need_nodes(place, "with the first one the router would be lost, too")

    def do() -> None:
        breakage.add({"kind": "nodes", "cluster": place.cluster, "nodes": place.names})
        NodeFaults(place.cluster).lose(place.names)

    which = "every node of its cluster" if place.whole else "node"
    return RecordedLever(
        f"{which} off the network and frozen: {', '.join(place.names)} of the cluster {place.cluster}",
        breakage, do,
    )  # fmt: skip


def _lose_pool(place: Place, breakage: Breakage) -> RecordedLever:
    from berth.localcluster import Cluster, NodeBusyError

    pool = [one for one in place.nodes if one.pool == place.site]
    if not pool:
        _need_nodes(Place(place.site, "", "", "", {}, "", place.cluster), "no pool can be lost")

    def do() -> None:
        breakage.add(
            {
                "kind": "pool",
                "cluster": place.cluster,
                "pool": place.site,
                "count": len(pool),
                "gpus": pool[0].simulated_gpus,
            }
        )
        cluster = Cluster(place.cluster)
        for one in pool:
            try:
                cluster.remove_node(one.name, seconds=_DRAIN_SECONDS)
            except NodeBusyError:
                # A cloud takes its machine at the end of the notice, whatever budgets say; the node's
                # shutdown lets pods end in order before.
                cluster.kubectl("cordon", one.name)
                _end_pods(cluster, place, one.name)
                cluster.remove_node(one.name, force=True)

    names = ", ".join(one.name for one in pool)
    return RecordedLever(
        f"nodes of the pool drained and removed: {names} of the cluster {place.cluster}", breakage, do
    )


def _end_pods(cluster: Cluster, place: Place, node: str) -> None:
    """Delete the model's pods on a node with their grace period."""
    from berth.localcluster import ApiError

    labels = ",".join(f"{key}={value}" for key, value in place.selector.items())
    words = ("-n", place.namespace, "delete", "pods", "-l", labels, f"--field-selector=spec.nodeName={node}")
    with contextlib.suppress(ApiError):  # too slow: the notice is over
        cluster.kubectl(*words, f"--timeout={_END_SECONDS:.0f}s", timeout=_END_SECONDS + 30)


def _lose_metrics(place: Place, breakage: Breakage) -> RecordedLever:
    path = f"/apis/apps/v1/namespaces/{place.namespace}/deployments/{place.reporter}"
    if "\n" in place.kubeconfig or not Path(place.kubeconfig).is_file():
        # What mends it later, maybe in another process, is written down: a file's name, never its contents.
        raise UserError(
            f"the site {place.site} is not reached by a kubeconfig file: add --context {place.site}=NAME, of "
            "your kubeconfig"
        )

    def do() -> None:
        asyncio.run(silence())

    async def silence() -> None:
        from berth.operations.kube import KubeReader
        from berth.operations.kubeconfig import read_access

        async with KubeReader(await read_access(place.kubeconfig, place.context)) as kube:
            before = await kube.get(path)
            breakage.add(
                {
                    "kind": "scale",
                    "kubeconfig": place.kubeconfig,
                    "context": place.context,
                    "path": path,
                    "replicas": int(before["spec"].get("replicas", 1)),
                }
            )
            await scale(place.kubeconfig, place.context, path, 0)
            end = time.monotonic() + _GONE_SECONDS
            left: Any = 1
            while left and time.monotonic() < end:
                await asyncio.sleep(_PAUSE_SECONDS)
                left = ((await kube.get(path)).get("status") or {}).get("replicas")

    return RecordedLever(f"its reporter {place.namespace}/{place.reporter} scaled to 0", breakage, do)


def _slow_site(place: Place, breakage: Breakage) -> RecordedLever:
    from berth.localcluster import Cluster, NodeFaults

    faults, slowed = NodeFaults(place.cluster), set[str]()

    def slow() -> None:
        names = [one.name for one in Cluster(place.cluster).nodes()]
        found = asyncio.run(_engines(place))
        new = {
            node: [one for one in ids if one not in slowed] for node, ids in found.items() if node in names
        }
        for node, containers in new.items():
            if not containers:
                continue
            quotas = faults.quotas([node], containers)
            breakage.add({"kind": "quotas", "cluster": place.cluster, "files": quotas})
            faults.slow(quotas, _SHARE)
            slowed.update(containers)

    def first() -> None:
        slow()
        if not slowed:
            raise UserError(
                f"the site {place.site} has no engine that runs, so none can be slowed", exit_code=1
            )

    return RecordedLever(
        f"its engines have a tenth of their processor time (a quota of their cgroups, cluster "
        f"{place.cluster})",
        breakage, first, slow,
    )  # fmt: skip


async def _engines(place: Place) -> dict[str, list[str]]:
    """Ids of the containers of a site's engines, by node."""
    from berth.operations.kube import KubeReader
    from berth.operations.kubeconfig import read_access

    labels = ",".join(f"{key}={value}" for key, value in place.selector.items())
    found: dict[str, list[str]] = defaultdict(list)
    async with KubeReader(await read_access(place.kubeconfig, place.context)) as kube:
        pods = await kube.list(f"/api/v1/namespaces/{place.namespace}/pods", {"labelSelector": labels})
    for pod in pods:
        status = pod.get("status") or {}
        for one in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
            if one["name"] == _ENGINE and one.get("containerID") and "running" in (one.get("state") or {}):
                found[pod["spec"]["nodeName"]].append(one["containerID"].rpartition("/")[2])
    return found
