"""Whether the nodes of a cluster are the pools that a stack asks for, and have room for its models."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from berth.operations.inventory.compare_demand import demand_findings, plugin_to_come
from berth.operations.inventory.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from berth.operations.inventory.asked import AskedPool, AskedSite
    from berth.operations.inventory.facts import DevicePluginFound, Inventory, Node, Taint
    from berth.operations.inventory.findings import State

PRODUCT = "nvidia.com/gpu.product"
_NODES_SHOWN = 4


def pool_findings(found: Inventory, asked: AskedSite) -> Iterator[Finding]:
    """Yield what there is to say of a site's pools."""
    if not asked.pools:
        return
    for pool in asked.pools:
        if found.nodes is None:
            shown = f"cannot be told: {found.why_not('nodes')}"
            remedy = "let your user list nodes, or ask who may"
            yield Finding(asked.site, f"pool {pool.name}", "unknown", shown, _wanted(pool), remedy)
        else:
            yield from _Pool(found, asked, pool).findings()
    for kind in dict.fromkeys(pool.kind for pool in asked.pools):
        yield from _plugin(found, asked, kind)


def _wanted(pool: AskedPool) -> str:
    nodes = f"{pool.nodes} node{'' if pool.nodes == 1 else 's'}"
    return f"{nodes} with {pool.per_node} x {pool.accelerator} each"


class _Pool:
    def __init__(self, found: Inventory, asked: AskedSite, pool: AskedPool) -> None:
        self._found = found
        self._asked = asked
        self._pool = pool
        self._subject = f"pool {pool.name}"
        self._key = f"sites.{asked.site}.pools.{pool.name}"
        nodes = found.nodes or ()
        self._nodes = [one for one in nodes if pool.node_selector.items() <= one.labels.items()]

    def findings(self) -> Iterator[Finding]:
        if not self._nodes:
            yield self._no_node()
            return
        problems = [*self._states(), *self._number(), *self._models(), *self._counts(), *self._taints()]
        yield from problems
        yield from demand_findings(self._found, self._asked, self._pool, self._nodes)
        if not [one for one in problems if one.state == "mismatch"]:
            shown = f"{len(self._nodes)} nodes: {_names(self._nodes)}"
            yield self._say("ok", shown, _wanted(self._pool))

    def _say(
        self, state: State, found: str, wanted: str = "", remedy: str = "", subject: str = ""
    ) -> Finding:
        return Finding(self._asked.site, subject or self._subject, state, found, wanted, remedy)

    def _no_node(self) -> Finding:
        selector = self._pool.node_selector
        there = sorted({node.product for node in self._found.nodes or () if node.product})
        shown = f"no node has the label {_labels(selector)}"
        if PRODUCT in selector:
            shown += f"; products there: {', '.join(there) or 'none'}"
            close = difflib.get_close_matches(selector[PRODUCT], there, n=1, cutoff=0.4)
            label_nodes = f"install GPU feature discovery, or set {self._key}.labels to labels that they have"
            remedy = f"did you mean {close[0]}? Set {self._key}.labels to it" if close else label_nodes
        else:
            remedy = (
                f"kubectl label node <node> {_labels(selector)}, or set {self._key}.labels to those they have"
            )
        return self._say("mismatch", shown, _wanted(self._pool), remedy)

    def _states(self) -> Iterator[Finding]:
        for node in self._nodes:
            if not node.ready:
                remedy = f"kubectl describe node {node.name}"
                yield self._say(
                    "mismatch", "is not Ready", "a node that takes pods", remedy, f"node {node.name}"
                )
            elif not node.schedulable:
                remedy = f"kubectl uncordon {node.name}"
                yield self._say(
                    "mismatch", "is cordoned", "a node that takes pods", remedy, f"node {node.name}"
                )
            if node.simulated:
                shown = "its accelerators are simulated: they exist for the scheduler only"
                yield self._say("note", shown, subject=f"node {node.name}")

    def _number(self) -> Iterator[Finding]:
        count = len(self._nodes)
        if count == self._pool.nodes:
            return
        nodes = f"{count} node{'' if count == 1 else 's'}"
        shown = f"{nodes} with {_labels(self._pool.node_selector)}: {_names(self._nodes)}"
        if count < self._pool.nodes:
            remedy = f"set {self._key}.max to {count}, or add nodes with these labels"
            yield self._say("mismatch", shown, _wanted(self._pool), remedy)
        else:
            remedy = f"set {self._key}.max to {count}, or narrow {self._key}.labels: pods may use all of them"
            yield self._say("note", shown, _wanted(self._pool), remedy)

    def _models(self) -> Iterator[Finding]:
        """Compare the cards' model with the accelerator's spellings."""
        if not self._pool.products:
            return
        unlabelled = [node for node in self._nodes if node.product is None and not node.simulated]
        if unlabelled:
            remedy = "install GPU feature discovery (the NVIDIA GPU operator has it), or see nvidia-smi -L"
            shown = f"nobody says which cards {_names(unlabelled)} have: no label {PRODUCT}"
            yield self._say("unknown", shown, self._pool.accelerator, remedy)
        for node in self._nodes:
            if node.product is None or node.product in self._pool.products:
                continue
            if node.product.endswith("-SHARED"):
                remedy = "switch time slicing off on this node: a model server fills the cards that it holds"
            elif "-MIG-" in node.product:
                remedy = "switch MIG off on this node: the accelerators of the catalogue are whole cards"
            else:
                remedy = f"set {self._key}.accelerator to what is there, or {self._key}.labels to other nodes"
            yield self._say(
                "mismatch",
                node.product,
                f"{self._pool.accelerator} ({', '.join(self._pool.products)})",
                remedy,
                f"node {node.name}",
            )

    def _counts(self) -> Iterator[Finding]:
        """Compare accelerators per node: as discovery saw them, and as pods may ask for them."""
        for node in self._nodes:
            offered = node.allocatable.get(self._pool.resource, 0)
            if offered == self._pool.per_node:
                continue
            yield from self._offers_other(node, offered) if offered else self._offers_none(node)

    def _offers_other(self, node: Node, offered: int) -> Iterator[Finding]:
        seen = node.gpu_count
        fewer = f", though discovery saw {seen}: one may be unhealthy" if seen and seen > offered else ""
        yield self._say(
            "mismatch",
            f"offers {offered} {self._pool.resource}{fewer}",
            f"{self._pool.per_node} each",
            f"set {self._key}.acceleratorsPerNode to {offered}, or see kubectl describe node {node.name}",
            f"node {node.name}",
        )

    def _offers_none(self, node: Node) -> Iterator[Finding]:
        subject, wanted = f"node {node.name}", f"{self._pool.per_node} each"
        nothing = f"offers no {self._pool.resource}"
        plugins = [one for one in self._found.device_plugins or () if one.kind == self._pool.kind]
        if not plugin_to_come(self._found, self._asked, self._pool.kind):
            remedy = (
                "check driver, container toolkit and the device plugin's log on it"
                if plugins
                else f"set {_mode_key(self._asked, self._pool.kind)}: managed, or install a device plugin"
            )
            yield self._say("mismatch", nothing, wanted, remedy, subject)
            return
        if node.gpu_count is not None and node.gpu_count != self._pool.per_node:
            remedy = f"set {self._key}.acceleratorsPerNode to {node.gpu_count}"
            yield self._say("mismatch", f"has {node.gpu_count} GPUs", wanted, remedy, subject)
            return
        yield self._say("note", f"{nothing} yet: the device plugin comes with `up`", wanted, "", subject)
        if node.driver is None and self._pool.kind == "nvidia":
            yield self._say(
                "unknown",
                "nobody says which driver it has, or whether containers get it",
                "a driver, and NVIDIA's container toolkit in the container runtime",
                f"nvidia-smi on {node.name}; see docs/guides/own-hardware.md",
                subject,
            )

    def _taints(self) -> Iterator[Finding]:
        blocked: dict[Taint, list[Node]] = {}
        for node in self._nodes:
            for taint in node.taints:
                if taint.effect != "PreferNoSchedule" and not _tolerated(taint, self._pool.tolerations):
                    blocked.setdefault(taint, []).append(node)
        for taint, nodes in blocked.items():
            value = f", value: {taint.value}" if taint.value else ""
            entry = f"{{key: {taint.key}{value}, effect: {taint.effect}}}"
            yield self._say(
                "mismatch",
                f"{_names(nodes)} carry the taint {taint}, which no pod of the pool tolerates",
                "taints that the stack names",
                f"add {entry} to {self._key}.taints",
            )


def _plugin(found: Inventory, asked: AskedSite, kind: str) -> Iterator[Finding]:
    """Compare the device plugin's mode with the plugins that run."""
    subject, key, mode = f"device plugin ({kind})", _mode_key(asked, kind), asked.device_plugins.get(kind)
    if mode is None:
        return
    if found.device_plugins is None:
        shown = f"cannot be told: {found.why_not('daemon sets')}"
        remedy = "let your user list daemon sets in all namespaces"
        yield Finding(asked.site, subject, "unknown", shown, mode, remedy)
        return
    plugins = [one for one in found.device_plugins if one.kind == kind]
    foreign = [one for one in plugins if not one.ours]
    if mode == "managed":
        if foreign:
            shown = ", ".join(f"{one.where}, from {one.origin}" for one in foreign)
            remedy = (
                f"two of them on a node fight over its cards: set {key}: existing, or remove that one first"
            )
            yield Finding(
                asked.site, subject, "mismatch", shown, "managed: the stack makes the only one", remedy
            )
        else:
            shown = plugins[0].where if plugins else "none yet: it comes with `up`"
            yield Finding(asked.site, subject, "ok", shown, "managed")
    elif not plugins:
        simulated = any(node.simulated for node in found.nodes or ())
        offered = any(
            node.allocatable.get(pool.resource) for node in found.nodes or () for pool in asked.pools
        )
        if simulated:
            return
        if offered:
            shown = "accelerators are offered, but by nothing that was recognised"
            yield Finding(asked.site, subject, "note", shown, "existing")
            return
        remedy = f"set {key}: managed, or install the NVIDIA GPU operator or a device plugin"
        yield Finding(asked.site, subject, "mismatch", "the cluster has none", "existing", remedy)
    else:
        yield from _running(plugins, asked, subject)


def _mode_key(asked: AskedSite, kind: str) -> str:
    return f"sites.{asked.site}.devicePlugins.{kind}.mode"


def _running(plugins: Sequence[DevicePluginFound], asked: AskedSite, subject: str) -> Iterator[Finding]:
    if len(plugins) > 1:
        shown = ", ".join(f"{one.where}, from {one.origin}" for one in plugins)
        remedy = "make sure that no node runs two of them"
        yield Finding(asked.site, subject, "note", shown, "existing", remedy)
    for one in plugins:
        if one.ready < one.desired:
            shown = f"{one.where} runs on {one.ready} of {one.desired} nodes"
            remedy = f"kubectl --namespace {one.namespace} describe daemonset {one.name}"
            yield Finding(asked.site, subject, "mismatch", shown, "existing", remedy)
        else:
            yield Finding(asked.site, subject, "ok", f"{one.where}, from {one.origin}", "existing")


def _tolerated(taint: Taint, tolerations: Sequence[Mapping[str, str]]) -> bool:
    """Whether a pod accepts a taint, by Kubernetes' own rule."""
    for one in tolerations:
        if one.get("effect") not in {None, "", taint.effect}:
            continue
        operator = one.get("operator") or "Equal"
        if not one.get("key"):
            if operator == "Exists":
                return True
        elif one["key"] == taint.key and (operator == "Exists" or (one.get("value") or "") == taint.value):
            return True
    return False


def _labels(selector: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted(selector.items()))


def _names(nodes: Sequence[Node]) -> str:
    shown = ", ".join(node.name for node in nodes[:_NODES_SHOWN])
    return shown + (f" and {len(nodes) - _NODES_SHOWN} more" if len(nodes) > _NODES_SHOWN else "")
