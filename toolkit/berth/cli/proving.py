"""What a proof takes from a plan: every resource as plain data."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from typing import TYPE_CHECKING, Any

from berth.cli.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from berth.deployer import Report, Step
    from berth.localcluster import Cluster, Status
    from berth.operations.proof import Facts, Proof, Quota, Resource
    from berth.operations.proof.real import Measured, NodeProvider


def resources(report: Report) -> list[Resource]:
    """What a stack would deploy, with what is not known marked."""
    from berth.operations.proof import Resource

    return [
        Resource(
            step.urn,
            step.type,
            step.name,
            _plain(step.inputs if step.manifest is None else step.manifest),
            step.references,
            _cluster(step),
        )
        for step in report.steps
        if step.custom
    ]


def in_order(found: Sequence[Resource], site: str) -> list[Resource]:
    """The same with what a site's cluster has first: the first chain is the one that is proved for real."""
    return sorted(found, key=lambda one: one.cluster.rpartition("::")[2] != f"{site}-provider")


def site_on(stack: str, cluster: str) -> str:
    """The site of a local stack that is on a cluster of this machine; "" where none is."""
    from berth.cli.stackfile import find_stack, local_clusters

    return next((site for site, there in local_clusters(find_stack(stack)).items() if there == cluster), "")


def _cluster(step: Step) -> str:
    """The provider that reaches the cluster, which a program has one of per cluster."""
    return step.provider if step.type.startswith("kubernetes:") else ""


def _plain(value: Any) -> Any:
    from berth.deployer import UNKNOWN, Secret
    from berth.deployer.values import NOT_KNOWN
    from berth.operations.proof import UNKNOWN as NOT_YET

    if value is UNKNOWN or isinstance(value, Secret) or value == NOT_KNOWN:
        return NOT_YET
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def facts(hpa_sync_seconds: float | None = None, quotas: dict[str, Quota] | None = None) -> Facts:
    """What is known beside a plan: which metrics our parts export, and what clouds were asked."""
    from berth_agents.metrics_adapter.names import METRICS
    from berth_catalogue.engines import engines
    from berth_catalogue.exporters import exporters
    from berth_serving.metric_table import TABLE

    from berth.operations.proof import Facts

    of_engines = {name for engine in engines().values() for name in engine.metrics.values()}

    return Facts(
        external_metrics=frozenset(METRICS),
        series=frozenset(row.name for row in TABLE) | of_engines | {*exporters()["router-waiting"].metrics},
        quotas=quotas or {},
        hpa_sync_seconds=hpa_sync_seconds,
    )


def quotas(stack: str) -> dict[str, Quota]:
    """What clouds allow of a stack's pools, as `./berth plan --ask` was told; by the value of their label."""
    from berth_planner.answers import ANSWERS, folder, read_answers
    from berth_planner.capacity import allowed_machines
    from berth_stacks.fleets import fleets

    from berth.cli.plan import read_stack
    from berth.cli.plan_asking import today
    from berth.cli.stackfile import STACKS, find_stack
    from berth.operations.proof import Quota

    rented = fleets(read_stack(find_stack(stack)).settings)
    answers = read_answers(folder(STACKS) / ANSWERS)
    found = {one.subject.replace("/", "-"): allowed_machines(one, rented, answers, today()) for one in rented}
    return {name: Quota(*allowed) for name, allowed in found.items() if allowed is not None}


def running_cluster(name: str) -> Status:
    """The local cluster of a real proof.

    Raises:
        UserError: it does not run.
    """
    from berth.localcluster import Cluster

    status = Cluster(name).status()
    if status.state != "running":
        raise UserError(
            f"the cluster {name} is {status.state}, and the proof of a local stack runs on it: "
            "`./berth up local` first, or add --static"
        )
    return status


class _LocalNodes:
    """The local cluster as a maker of nodes."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def add(self, count: int) -> Sequence[str]:
        from berth.operations.proof.real import POOL

        return await asyncio.to_thread(
            lambda: self._cluster.add_nodes(count, pool=POOL, simulated_gpus=1, wait=False)
        )

    async def remove(self, name: str, *, force: bool = False) -> None:
        await asyncio.to_thread(lambda: self._cluster.remove_node(name, force=force))


@contextlib.contextmanager
def simulated_base_gpu(status: Status) -> Iterator[NodeProvider]:
    """Give the first node one simulated GPU meanwhile: the replica that is always there is on it."""
    from berth.localcluster import Cluster

    cluster = Cluster(status.name)
    # Of a proof that was killed: how many there were before it.
    remembered = cluster.paths.root / "gpus-before-proof"
    before = int(remembered.read_text()) if remembered.exists() else status.simulated_gpus or 0
    remembered.write_text(str(before))
    cluster.simulate_gpus(before + 1)
    try:
        cluster.lay_images_ready()
        yield _LocalNodes(cluster)
    finally:
        cluster.simulate_gpus(before)
        remembered.unlink()


def shown(proof: Proof, measured: Measured) -> Proof:
    """The proof with what was shown on the cluster instead of what nobody could know before."""
    from berth.operations.proof import Finding

    text = (
        f"shown {len(measured.bursts)} times on the cluster: {measured.work.minimum} to "
        f"{measured.work.maximum} replicas on simulated nodes, and back"
    )
    chains = []
    for chain in proof.chains:
        links = tuple(
            dataclasses.replace(link, findings=(Finding("passed", text, (chain.target,)),))
            if link.verdict == "unknown" and link.name in {"capacity", "wakes", "budget"}
            else link
            for link in chain.links
        )
        chains.append(dataclasses.replace(chain, links=links))
    # One model server was copied and loaded: the first. What is said of others stays as it was.
    return dataclasses.replace(proof, chains=(chains[0], *proof.chains[1:]))


def write_timeline(folder: Path, measured: Measured) -> None:
    """Write what was measured, and the picture of the last burst."""
    from berth.operations.proof.real import picture

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "timeline.json").write_text(json.dumps(measured.to_json(), indent=2) + "\n")
    title = f"From a burst to new nodes and back, HPA sync {measured.hpa_sync_seconds:g} s"
    (folder / "timeline.svg").write_text(picture(measured.bursts[-1], title))


def table(measured: Measured) -> str:
    """Each link's reaction time as text."""
    from berth.operations.proof.real import BACK, LINKS

    found = measured.to_json()
    bursts = f"{len(measured.bursts)} bursts" if len(measured.bursts) > 1 else "1 burst"
    where = "nodes are there" if measured.warm else "from an empty pool"
    lines = [f"Measured, {bursts}, HPA sync {measured.hpa_sync_seconds:g} s, {where}; nodes are simulated"]
    lines.append(f"{'seconds from the burst until':<44}{'p50':>9}{'p95':>9}{'max':>9}")
    for key, _, meaning in (*LINKS, *BACK):
        if key == BACK[0][0]:
            lines.append("seconds from its end until")
        cells = "".join(f"{found[key].get(share, '-'):>9}" for share in ("p50", "p95", "max"))
        lines.append(f"  {meaning:<42}{cells}")
    usual = found["usual_chain_burst_to_ready_seconds"]
    cells = "".join(f"{usual.get(share, '-'):>9}" for share in ("p50", "p95"))
    lines.append(f"  {'first Ready, by 15 s scrape and 30 s poll':<42}{cells}  computed")
    return "\n".join(lines)
