"""Links from replicas to nodes: room, quota, taints, selectors, the way back, and a pool that wakes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from berth.operations.proof.facts import NotKnown, Resource, selects
from berth.operations.proof.pools import TEMPLATE, Pool, sized
from berth.operations.proof.verdicts import Finding
from berth.operations.quantities import amount

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from berth.operations.proof.plan import Subject

_ENABLED = "k8s.io/cluster-autoscaler/enabled"
_SAFE = "cluster-autoscaler.kubernetes.io/safe-to-evict"
_LONGEST_GRACE = 600
"""Cluster Autoscaler's --max-graceful-termination-sec: what takes longer is ended (default, and GKE's)."""
_AFTER_DRAIN = 5
_SPOT_NOTICE = {"eks": 120, "karpenter": 120, "gke": 120}
"""Longest notice before a spot node's end; GKE's is 30 unless the pool extends it."""
_EXISTING = "berth:cluster:ExistingCluster$"
"""In the provider's URN of a cluster that is there: nobody makes pools in it."""
_OWN = "own hardware adds no nodes by itself"


def capacity(subject: Subject) -> Iterator[Finding]:
    """Whether the pool at its largest holds the most replicas of everything on it."""
    asked = subject.accelerators
    if asked is None:
        raise NotKnown(f"{subject.target.title} asks for no accelerator, and {_OWN}: `./berth doctor` counts")
    pool = subject.pool
    least, most = sized(pool)
    if pool.per_node is None:
        raise NotKnown(f"{pool.title}: machine {pool.machine or '?'} is not in the catalogue")
    nodes = least if most is None else most
    per_node = pool.per_node
    sharing = [
        other
        for other in subject.plan.subjects()
        if other.deployment is not None and any(one.resource is pool.resource for one in other.selected)
    ]
    wanted, titles = 0, []
    for other in sharing:
        count = (other.accelerators or ("", 0))[1]
        if count > per_node:
            yield Finding(
                "failed",
                f"{other.target.title} asks {count} {asked[0]} of one node, and each has {per_node}",
                (other.target.title, pool.title),
                "take a machine with more, or fewer per replica",
            )
            return
        fit = per_node // count if count else 0
        wanted += -(-other.maximum // fit) if fit else 0
        titles.append(f"{other.maximum} of {other.target.title}")
    if wanted > nodes:
        grows = "at most" if most is not None else "always"
        yield Finding(
            "failed",
            f"{' and '.join(titles)} need {wanted} nodes with {per_node} {asked[0]} each; "
            f"the pool has {grows} {nodes}",
            (subject.scaler.title, pool.title),
            f"raise the pool's max to {wanted}, or lower max replicas",
        )
    yield from _fits(subject, pool)
    yield Finding(
        "passed",
        f"{nodes} nodes with {per_node} {asked[0]} each hold {' and '.join(titles)}",
        (subject.scaler.title, pool.title),
    )


def _fits(subject: Subject, pool: Pool) -> Iterator[Finding]:
    """Whether one pod's processors and memory fit on an empty node."""
    if pool.facts is None:
        return
    running = [
        *(one for one in subject.pod.get("initContainers") or [] if one.get("restartPolicy") == "Always"),
        *(subject.pod.get("containers") or []),
    ]
    for what, unit, has in (
        ("cpu", "vCPUs", float(pool.facts.vcpus)),
        ("memory", "GiB", pool.facts.memory_gib),
    ):
        factor = 2.0**30 if what == "memory" else 1.0
        wanted = (
            sum(
                amount(((one.get("resources") or {}).get("requests") or {}).get(what, 0)) or 0
                for one in running
            )
            / factor
        )
        if wanted >= has:
            yield Finding(
                "failed",
                f"a pod requests {wanted:g} {unit}, and {pool.machine} has {has:g} in all",
                (subject.target.title, pool.title),
                "request less, or take a larger machine",
            )


def quota(subject: Subject) -> Iterator[Finding]:
    """Whether the cloud allows so many nodes."""
    if subject.accelerators is None:
        yield Finding("passed", "no accelerators: no quota of theirs", (subject.target.title,))
        return
    pool = subject.pool
    least, most = sized(pool)
    nodes = least if most is None else most
    allowed = subject.plan.facts.quotas.get(pool.name)
    if allowed is None:
        yield Finding(
            "unknown",
            f"whether {nodes} of {pool.machine or 'machines'} are allowed, only the cloud can say",
            (pool.title,),
            "ask it: ./berth plan <stack> --ask, or the cloud's quota page",
        )
    elif allowed.nodes < nodes:
        yield Finding(
            "failed",
            f"the quota allows {allowed.nodes} nodes, the pool may have {nodes}",
            (pool.title, allowed.source),
            "ask for more quota, or lower the pool's max",
        )
    else:
        yield Finding(
            "passed", f"{allowed.nodes} nodes are allowed, {nodes} may be", (pool.title, allowed.source)
        )


def taints(subject: Subject) -> Iterator[Finding]:
    """Whether the pods tolerate what keeps others off the pool's nodes."""
    if subject.accelerators is None:
        yield Finding("passed", "no pool, no taints of one", (subject.target.title,))
        return
    pool = subject.pool
    tolerations = subject.pod.get("tolerations") or []
    for taint in pool.taints:
        if taint["effect"] != "PreferNoSchedule" and not any(_tolerates(one, taint) for one in tolerations):
            yield Finding(
                "failed",
                f"nodes carry {taint['key']}={taint['value']}:{taint['effect']}, "
                "which the pods do not tolerate",
                (subject.target.title, pool.title),
                f"add a toleration for {taint['key']}",
            )
    named = ", ".join(str(taint["key"]) for taint in pool.taints) or "none"
    yield Finding("passed", f"tolerated: {named}", (subject.target.title, pool.title))


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in {None, "", taint["effect"]}:
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint["key"]:
        return False
    return toleration.get("operator") == "Exists" or (toleration.get("value") or "") == taint["value"]


def selectors(subject: Subject) -> Iterator[Finding]:
    """Whether the pods' selectors find nodes of a pool that has what they ask for."""
    asked = subject.accelerators
    if asked is None:
        wanted = subject.pod.get("nodeSelector") or {}
        if wanted:
            raise NotKnown(f"{subject.target.title} selects {wanted}; this plan makes no such nodes")
        yield Finding("passed", "any node", (subject.target.title,))
        return
    if subject.selected:
        yield Finding(
            "passed", f"its selectors find {subject.pool.title}", (subject.target.title, subject.pool.title)
        )
        return
    others = [pool for pool in subject.plan.pooled if pool.accelerator == asked[0]] or subject.plan.pooled
    if not others or _EXISTING in subject.scaler.cluster:
        raise NotKnown(
            f"{subject.target.title}: no pool there is of this plan; `./berth doctor` compares nodes"
        )
    nearest = min(others, key=lambda pool: len(subject.unmet(pool)))
    missing = subject.unmet(nearest)
    yield Finding(
        "failed",
        f"no pool has {asked[0]} and {', '.join(missing) or 'these selectors'}"
        if missing
        else f"no pool has {asked[0]}: {nearest.title} has {nearest.accelerator}",
        (subject.target.title, nearest.title),
        "let the pods' nodeSelector be the pool's labels",
    )


def scale_down(subject: Subject) -> Iterator[Finding]:
    """Whether replicas and nodes can go again."""
    title = subject.target.title
    if (subject.behavior.get("scaleDown") or {}).get("selectPolicy") == "Disabled":
        yield Finding(
            "failed",
            f"{subject.scaler.title}: scaling down is disabled",
            (subject.scaler.title,),
            "set scaleDown.selectPolicy to Max",
        )
    for budget in subject.plan.of_kind("PodDisruptionBudget", subject.scaler.cluster):
        if budget.namespace == subject.target.namespace and selects(
            budget.at("spec", "selector"), subject.labels, title
        ):
            yield from _budget(subject, budget)
    yield from _grace(subject)
    if subject.annotations.get(_SAFE) == "false":
        yield Finding(
            "failed",
            f"{_SAFE} is false: no node with such a pod is ever taken away",
            (title,),
            "leave the annotation out",
        )
    yield from _local_storage(subject)
    yield Finding("passed", "a replica may be evicted, and has the time to drain", (title,))


def _budget(subject: Subject, budget: Resource) -> Iterator[Finding]:
    available, unavailable = budget.at("spec", "minAvailable"), budget.at("spec", "maxUnavailable")
    # Of none nobody can be evicted; one is the least that there is to go.
    least = max(1, subject.minimum)
    kept = _of(available, least) if available is not None else None
    away = _of(unavailable, least) if unavailable is not None else None
    if (kept is not None and kept >= least) or away == 0:
        rule = f"minAvailable {available}" if kept is not None else f"maxUnavailable {unavailable}"
        yield Finding(
            "failed",
            f"{budget.title}: {rule} lets none of {least} replicas go, so no node is ever drained",
            (budget.title, subject.scaler.title),
            "set maxUnavailable: 1",
        )


def _of(given: object, replicas: int) -> int:
    """A budget's number of pods; a share is rounded up, as Kubernetes does."""
    text = str(given)
    if text.endswith("%"):
        return -(-int(text[:-1]) * replicas // 100)
    return int(amount(text) or 0)


def _grace(subject: Subject) -> Iterator[Finding]:
    title = subject.target.title
    grace = float(amount(subject.pod.get("terminationGracePeriodSeconds", 30)) or 0)
    drain = amount(subject.environment().get("BERTH_DRAIN_SECONDS", 0)) or 0
    sleep = ((((subject.gateway or {}).get("lifecycle") or {}).get("preStop") or {}).get("sleep") or {}).get(
        "seconds", 0
    )
    need = float(sleep) + drain + _AFTER_DRAIN
    if grace < need:
        yield Finding(
            "failed",
            f"{title}: {grace:g} s of grace end before preStop {sleep} s, drain {drain:g} s and "
            f"{_AFTER_DRAIN} s to end",
            (title,),
            f"set terminationGracePeriodSeconds to at least {need:g}",
        )
    if subject.accelerators is None or not subject.selected:
        return
    pool = subject.pool
    if pool.spot and grace > _SPOT_NOTICE[pool.ground]:
        yield Finding(
            "failed",
            f"{title}: {grace:g} s of grace are more than a spot node's notice of "
            f"{_SPOT_NOTICE[pool.ground]} s",
            (title, pool.title),
            "drain for less, or take on-demand nodes",
        )
    if pool.ground in {"eks", "gke"} and grace > _LONGEST_GRACE:
        yield Finding(
            "failed",
            f"{title}: a node that is taken away gives its pods at most {_LONGEST_GRACE} s, "
            f"and these ask {grace:g}",
            (title, pool.title),
            "drain for less",
        )


def _local_storage(subject: Subject) -> Iterator[Finding]:
    """Cluster Autoscaler leaves nodes alone whose pods keep something on them, unless they say otherwise."""
    if subject.accelerators is None or not subject.selected or subject.pool.ground not in {"eks", "gke"}:
        return
    if any("--skip-nodes-with-local-storage=false" in _args(one) for one in _autoscalers(subject)):
        return
    safe = {name.strip() for name in str(subject.annotations.get(f"{_SAFE}-local-volumes", "")).split(",")}
    kept = [
        str(volume["name"])
        for volume in subject.pod.get("volumes") or []
        if ("emptyDir" in volume or "hostPath" in volume) and volume["name"] not in safe
    ]
    if kept and subject.annotations.get(_SAFE) != "true":
        yield Finding(
            "failed",
            f"{subject.target.title}: its volumes {', '.join(kept)} keep the autoscaler from "
            "taking its node away",
            (subject.target.title, subject.pool.title),
            f"name them in {_SAFE}-local-volumes",
        )


def wakes(subject: Subject) -> Iterator[Finding]:
    """Whether nodes are added to the pool, also where it has none."""
    if subject.accelerators is None:
        raise NotKnown(f"{subject.target.title}: {_OWN}; that they are enough, `./berth doctor` says")
    pool = subject.pool
    least, most = sized(pool)
    if pool.ground == "eks":
        yield from _eks(subject, pool, least)
    elif pool.ground == "gke":
        if most is None:
            yield Finding(
                "failed",
                f"{pool.title} has a fixed number of nodes",
                (subject.scaler.title, pool.title),
                "give the pool autoscaling: max above min",
            )
    elif most is None:
        yield Finding(
            "failed",
            f"{pool.title}: without a limit of {pool.accelerator} nobody knows its most nodes",
            (pool.title,),
            f"set limits: {{{pool.accelerator}: …}}",
        )
    else:
        yield from _class(subject, pool)
    adds = {"eks": "Cluster Autoscaler", "gke": "GKE", "karpenter": "EKS Auto Mode"}[pool.ground]
    yield Finding("passed", f"{adds} adds nodes to the pool, from {least} up", (pool.title,))


def _class(subject: Subject, pool: Pool) -> Iterator[Finding]:
    reference = pool.resource.at("spec", "template", "spec", "nodeClassRef") or {}
    if subject.plan.find("NodeClass", pool.resource.cluster, "", reference.get("name")) is None:
        named = f"{reference.get('kind', 'NodeClass')} {reference.get('name')}"
        yield Finding(
            "failed",
            f"{pool.title} makes nodes of {named}, which this plan does not have",
            (pool.title, named),
            "name the pool's NodeClass",
        )


def _eks(subject: Subject, pool: Pool, least: int) -> Iterator[Finding]:
    autoscalers = _autoscalers(subject)
    if not autoscalers:
        yield Finding(
            "failed",
            "no Cluster Autoscaler is in this cluster: a managed node group never grows by itself",
            (pool.title, "Deployment cluster-autoscaler"),
            "set clusterAutoscaler, or use Auto Mode",
        )
        return
    tags = pool.tags or {}
    wanted = _discovered_by(_args(autoscalers[0]))
    for tag in wanted:
        if tag not in tags:
            yield Finding(
                "failed",
                f"{autoscalers[0].title} finds groups by the tag {tag}, which {pool.title} does not have",
                (autoscalers[0].title, pool.title),
                "tag the pool's Auto Scaling group",
            )
    if least > 0:
        return
    resource = f"{TEMPLATE}/resources/{pool.accelerator}"
    if str(tags.get(resource)) != str(pool.per_node):
        yield Finding(
            "failed",
            f"an empty group says by its tags what a node would have, and {resource} is "
            f"{tags.get(resource, 'missing')} instead of {pool.per_node}",
            (autoscalers[0].title, pool.title),
            "set that tag on the pool's Auto Scaling group",
        )
    for key, value in (subject.pod.get("nodeSelector") or {}).items():
        if key in pool.labels and tags.get(f"{TEMPLATE}/label/{key}") != value:
            yield Finding(
                "failed",
                f"the pods select {key}={value}, and no tag says that a new node would have it",
                (subject.target.title, pool.title),
                f"tag the group {TEMPLATE}/label/{key}",
            )
    for taint in pool.taints:
        if f"{TEMPLATE}/taint/{taint['key']}" not in tags:
            yield Finding(
                "failed",
                f"nodes carry the taint {taint['key']}, and no tag says that a new node would",
                (autoscalers[0].title, pool.title),
                f"tag the group {TEMPLATE}/taint/{taint['key']}",
            )


def _autoscalers(subject: Subject) -> list[Resource]:
    return [
        one
        for one in subject.plan.of_kind("Deployment", subject.scaler.cluster)
        if any("--cloud-provider=" in word for word in _args(one))
    ]


def _args(deployment: Resource) -> list[str]:
    containers = deployment.at("spec", "template", "spec", "containers") or []
    return [
        str(word) for one in containers for word in [*(one.get("command") or []), *(one.get("args") or [])]
    ]


def _discovered_by(words: list[str]) -> list[str]:
    """The tags by which Cluster Autoscaler finds its groups."""
    prefix = "--node-group-auto-discovery=asg:tag="
    found = [word.removeprefix(prefix) for word in words if word.startswith(prefix)]
    return [tag for one in found for tag in one.split(",")] or [_ENABLED]
