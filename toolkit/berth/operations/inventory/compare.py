"""Comparing what is there with what is asked: each mismatch names object, found, wanted and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth.operations.inventory.compare_demand import findings_without_pool
from berth.operations.inventory.compare_pools import pool_findings
from berth.operations.inventory.findings import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from berth.operations.inventory.asked import AskedSite
    from berth.operations.inventory.facts import Inventory
    from berth.operations.inventory.findings import State

# Their kubelets say who built them; both register NVIDIA's runtime beside runc, which stays the default.
_RUNC_BY_DEFAULT = ("+k3s", "+rke2")


def compare(found: Inventory, asked: AskedSite) -> list[Finding]:
    """Return what fits, what does not, and what nobody could tell; pools first."""
    if not found.reached:
        counts = ((len(asked.pools), "pool"), (len(asked.models), "model"))
        wanted = ", ".join(f"{number} {what}{'s'[: number > 1]}" for number, what in counts if number)
        remedy = "check the kubeconfig, the network and your permissions; nothing of this site was checked"
        reason = f"cannot be looked at: {found.why_not('cluster')}"
        return [Finding(asked.site, f"cluster {found.server}", "unknown", reason, wanted, remedy)]
    return [
        *pool_findings(found, asked),
        *findings_without_pool(found, asked),
        *_version(found, asked),
        *_storage(found, asked),
        *_classes(found, asked),
        *_external_metrics(found, asked),
        *_network(found, asked),
        *_load_balancer(found, asked),
    ]


def _version(found: Inventory, asked: AskedSite) -> Iterator[Finding]:
    assert found.version is not None  # noqa: S101 - a cluster that was reached has said it
    least = ".".join(map(str, asked.min_kubernetes))
    shown = ".".join(map(str, found.version))
    state: State = "ok" if found.version >= asked.min_kubernetes else "mismatch"
    remedy = "" if state == "ok" else "upgrade the control plane, then its nodes"
    yield Finding(asked.site, "Kubernetes", state, shown, f"{least} or newer", remedy)
    for node in found.nodes or ():
        kubelet = tuple(int(part) for part in node.kubelet.lstrip("v").split(".")[:2] if part.isdecimal())
        if kubelet and kubelet < asked.min_kubernetes:
            remedy = f"upgrade its kubelet: kubectl drain {node.name}, upgrade, kubectl uncordon {node.name}"
            yield Finding(
                asked.site,
                f"node {node.name}",
                "mismatch",
                f"kubelet {node.kubelet}",
                f"{least} or newer",
                remedy,
            )


def _storage(found: Inventory, asked: AskedSite) -> Iterator[Finding]:
    classes = found.storage_classes
    for model in asked.models:
        if model.storage_class is None:
            continue
        subject = f"storage of model {model.name}"
        wanted = (
            f"the storage class {model.storage_class}" if model.storage_class else "a default storage class"
        )
        if classes is None:
            yield _unknown(found, asked, subject, "storage classes", wanted)
            continue
        fits = [
            one
            for one in classes
            if (one.name == model.storage_class or (not model.storage_class and one.default))
        ]
        shown = ", ".join(f"{one.name}{' (default)' if one.default else ''}" for one in classes) or "none"
        if fits:
            yield Finding(asked.site, subject, "ok", fits[0].name, wanted)
        else:
            remedy = (
                f"set models.{model.name}.weights.storageClass to one that is there, make one the "
                "default, or install a provisioner"
            )
            yield Finding(asked.site, subject, "mismatch", f"the cluster has: {shown}", wanted, remedy)


def _classes(found: Inventory, asked: AskedSite) -> Iterator[Finding]:
    wanted = [
        *((f"model {one.name}", "RuntimeClass", one.runtime_class) for one in asked.models),
        *((f"model {one.name}", "PriorityClass", one.priority_class) for one in asked.models),
        ("device plugin", "RuntimeClass", asked.plugin_runtime_class),
    ]
    yield from _unnamed_runtime(found, asked)
    for subject, kind, name in wanted:
        if name is None:
            continue
        there = found.runtime_classes if kind == "RuntimeClass" else found.priority_classes
        if there is None:
            what = "runtime classes" if kind == "RuntimeClass" else "priority classes"
            yield _unknown(found, asked, subject, what, f"{kind} {name}")
        elif name not in there:
            shown = f"the cluster has: {', '.join(there) or 'none'}"
            remedy = f"create the {kind} {name}, or name one that is there"
            yield Finding(asked.site, subject, "mismatch", shown, f"{kind} {name}", remedy)


def _unnamed_runtime(found: Inventory, asked: AskedSite) -> Iterator[Finding]:
    """Say where pods get no driver, since NVIDIA's runtime is there but is not the nodes' default."""
    own_runtime = any(part in node.kubelet for node in found.nodes or () for part in _RUNC_BY_DEFAULT)
    if not own_runtime or "nvidia" not in (found.runtime_classes or ()):
        return
    on_gpus = {pool.name for pool in asked.pools if pool.kind == "nvidia"}
    keys = [
        f"models.{model.name}.placement.runtimeClass"
        for model in asked.models
        if model.pool in on_gpus and model.runtime_class is None
    ]
    if asked.device_plugins.get("nvidia") == "managed" and asked.plugin_runtime_class is None:
        keys.append(f"sites.{asked.site}.devicePlugins.nvidia.runtimeClass")
    for key in keys:
        shown = "not set, and K3s and RKE2 start containers without the driver unless told otherwise"
        remedy = f"set {key}: nvidia, unless the nodes have --default-runtime nvidia"
        yield Finding(asked.site, key, "note", shown, "the RuntimeClass nvidia, which is there", remedy)


def _external_metrics(found: Inventory, asked: AskedSite) -> Iterator[Finding]:
    if asked.metrics_adapter == "none":
        return
    subject, wanted = "APIService v1beta1.external.metrics.k8s.io", "Berth's metrics adapter"
    if asked.metrics_adapter == "keda":
        wanted = "KEDA"
    owner = found.external_metrics
    if owner is None:
        yield _unknown(found, asked, subject, "external metrics", wanted)
    elif asked.metrics_adapter == "keda":
        yield _keda(found, asked, subject, owner)
    elif found.external_metrics_ours:
        yield Finding(asked.site, subject, "ok", f"answered by {owner}", wanted)
    elif owner:
        remedy = (
            "there can be one only: remove it from there, or with KEDA let it scale "
            "(metricsAdapter: {mode: keda, prometheus: …}), or scale by cpu and set "
            "metricsAdapter: {mode: none}"
        )
        yield Finding(asked.site, subject, "mismatch", f"answered by the Service {owner}", wanted, remedy)
    elif asked.metrics_adapter == "existing":
        remedy = "set metricsAdapter: {mode: owned}, or deploy the stack that owns it first"
        yield Finding(asked.site, subject, "mismatch", "nobody answers it", wanted, remedy)
    else:
        yield Finding(asked.site, subject, "ok", "free", wanted)


def _keda(found: Inventory, asked: AskedSite, subject: str, owner: str) -> Finding:
    if not owner:
        remedy = "install KEDA, or set metricsAdapter: {mode: owned}"
        return Finding(asked.site, subject, "mismatch", "nobody answers it", "KEDA", remedy)
    if found.external_metrics_ours or "keda" not in owner:
        remedy = "there can be one only: remove it from there, or set metricsAdapter: {mode: existing}"
        return Finding(asked.site, subject, "mismatch", f"answered by {owner}", "KEDA", remedy)
    return Finding(asked.site, subject, "ok", f"answered by {owner}", "KEDA")


def _network(found: Inventory, asked: AskedSite) -> Iterator[Finding]:
    subject, wanted = "network policies", "a network plugin that enforces them"
    engine = found.policy_engine
    if engine:
        yield Finding(asked.site, subject, "ok", f"enforced by {engine}", wanted)
        return
    remedy = "without one every pod of the cluster reaches the model servers: use Calico, Cilium or the like"
    state: State
    if found.device_plugins is None:
        state, shown = "unknown", f"cannot be told: {found.why_not('daemon sets')}"
    elif engine is None:
        state, shown = "unknown", "the network plugin was not recognised"
        remedy = "check that yours enforces NetworkPolicy objects; many do, some ignore them"
    else:
        state, shown = "mismatch", "the network plugin accepts them and ignores them"
    yield Finding(asked.site, subject, state if asked.enforce_policies else "note", shown, wanted, remedy)


def _load_balancer(found: Inventory, asked: AskedSite) -> Iterator[Finding]:
    models = [model.name for model in asked.models if model.load_balancer]
    if not models:
        return
    subject, wanted = "load balancer", f"an address for the Services of {', '.join(models)}"
    if found.load_balancers:
        yield Finding(asked.site, subject, "ok", ", ".join(found.load_balancers), wanted)
    elif found.load_balancers is None:
        yield _unknown(found, asked, subject, "daemon sets", wanted)
    else:
        remedy = "install one (MetalLB, kube-vip, …), or set models.<model>.service: {type: NodePort}"
        yield Finding(asked.site, subject, "unknown", "none was recognised", wanted, remedy)


def _unknown(found: Inventory, asked: AskedSite, subject: str, what: str, wanted: str) -> Finding:
    remedy = f"let your user list {what}, or look yourself"
    return Finding(asked.site, subject, "unknown", f"cannot be told: {found.why_not(what)}", wanted, remedy)
