"""Chains with one broken link each: what is changed in a shipped plan, and which link must find it."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from berth.operations.proof import Resource

Plan = list[Resource]
Edit = Callable[[dict[str, Any]], None]

HPA, DEPLOYMENT, BUDGET = "HorizontalPodAutoscaler", "Deployment", "PodDisruptionBudget"
NODE_GROUP, GKE_POOL = "aws:eks/nodeGroup:NodeGroup", "gcp:container/nodePool:NodePool"


@dataclass(frozen=True)
class Broken:
    """One chain with one broken link.

    Attributes:
        name: what is wrong.
        stack: whose plan is changed.
        link: which link must find it, and no other.
        objects: parts of the titles that the finding must name.
        change: makes the plan wrong.
        chain: whose autoscaler, where the stack has several.
    """

    name: str
    stack: str
    link: str
    objects: tuple[str, ...]
    change: Callable[[Plan], Plan]
    chain: str = "chat"


def edit(kind: str, name: str, change: Edit) -> Callable[[Plan], Plan]:
    """Change the properties of one resource: by kind or type, and its name as an object or in the program."""

    def changed(plan: Plan) -> Plan:
        made, found = [], 0
        for one in plan:
            is_it = kind in {one.kind, one.type} and name in {
                one.name,
                (one.properties.get("metadata") or {}).get("name"),
            }
            if is_it:
                found += 1
                properties = copy.deepcopy(dict(one.properties))
                change(properties)
                made.append(dataclasses.replace(one, properties=properties))
            else:
                made.append(one)
        assert found == 1, f"{kind} {name}: {found} in the plan"
        return made

    return changed


def without(kind: str, name: str) -> Callable[[Plan], Plan]:
    """Take one resource away."""

    def changed(plan: Plan) -> Plan:
        left = [
            one
            for one in plan
            if not (
                kind in {one.kind, one.type}
                and name in {one.name, (one.properties.get("metadata") or {}).get("name")}
            )
        ]
        assert len(left) == len(plan) - 1, f"{kind} {name}"
        return left

    return changed


def put(*path: str | int, value: Any) -> Edit:
    """Set a value at a path; `...` takes it away."""

    def change(properties: dict[str, Any]) -> None:
        at: Any = properties
        for step in path[:-1]:
            at = at[step]
        if value is ...:
            del at[path[-1]]
        else:
            at[path[-1]] = value

    return change


POD = ("spec", "template", "spec")
LABELS = ("spec", "template", "metadata", "labels")
METRIC = ("spec", "metrics", 0, "external")

BROKEN = (
    Broken(
        "the autoscaler asks for a metric that nobody exports", "aws-prod", "exported",
        ("HorizontalPodAutoscaler berth-aws-prod/chat", "Deployment berth-aws-prod/chat"),
        edit(HPA, "aws-chat-autoscaler-hpa", put(*METRIC, "metric", "name", value="vllm:waiting")),
    ),
    Broken(
        "the gateway serves its metrics on another port than its container says", "gcp-prod", "exported",
        ("Deployment berth-gcp-prod/chat",),
        edit("ConfigMap", "chat-gateway", put("data", "BERTH_METRICS_PORT", value="9100")),
    ),
    Broken(
        "nobody serves the external metrics API", "aws-dev", "matches",
        ("HorizontalPodAutoscaler berth-aws-dev/chat", "APIService v1beta1.external.metrics.k8s.io"),
        without("APIService", "v1beta1.external.metrics.k8s.io"),
    ),
    Broken(
        "the API is served by a Service that is not there", "gcp-dev", "matches",
        ("APIService", "Service berth-metrics/somebody-elses"),
        edit("APIService", "v1beta1.external.metrics.k8s.io",
             put("spec", "service", "name", value="somebody-elses")),
    ),
    Broken(
        "the adapter's Service selects no pod", "onprem", "matches",
        ("APIService", "Service berth-metrics/berth-metrics-adapter"),
        edit("Service", "berth-metrics-adapter", put("spec", "selector", value={"app": "metrics"})),
        "smollm2",
    ),
    Broken(
        "the metric's selector means other pods", "aws-prod", "matches",
        ("HorizontalPodAutoscaler berth-aws-prod/batch", "Deployment berth-aws-prod/batch"),
        edit(HPA, "aws-batch-autoscaler-hpa",
             put(*METRIC, "metric", "selector", "matchLabels", value={"app.kubernetes.io/instance": "chat"})),
        "batch",
    ),
    Broken(
        "the pods lack the label by which the adapter finds them", "gcp-prod", "matches",
        ("APIService", "Deployment berth-gcp-prod/large"),
        edit(DEPLOYMENT, "large", put(*LABELS, "berth.dev/queue-metrics", value=...)), "large",
    ),
    Broken(
        "no network policy lets the adapter in", "aws-dev", "matches",
        ("NetworkPolicy berth-aws-dev/chat", "Deployment berth-metrics/berth-metrics-adapter"),
        edit("NetworkPolicy", "chat", lambda made: made["spec"]["ingress"].pop()),
    ),
    Broken(
        "it scales a Deployment that has another name", "gcp-dev", "target",
        ("HorizontalPodAutoscaler berth-gcp-dev/chat", "Deployment berth-gcp-dev/chat-v2"),
        edit(HPA, "chat", put("spec", "scaleTargetRef", "name", value="chat-v2")),
    ),
    Broken(
        "the Deployment sets its own number of replicas", "onprem", "target",
        ("HorizontalPodAutoscaler berth-onprem/smollm2", "Deployment berth-onprem/smollm2"),
        edit(DEPLOYMENT, "smollm2", put("spec", "replicas", value=2)), "smollm2",
    ),
    Broken(
        "more must wait than ever can", "aws-prod", "value",
        ("HorizontalPodAutoscaler berth-aws-prod/chat", "Deployment berth-aws-prod/chat"),
        edit(HPA, "aws-chat-autoscaler-hpa", put(*METRIC, "target", "averageValue", value="120")),
    ),
    Broken(
        "busy replicas count as idle", "gcp-prod", "value",
        ("HorizontalPodAutoscaler berth-gcp-prod/large", "Deployment berth-gcp-prod/large"),
        edit(HPA, "google-large-autoscaler-hpa",
             put("spec", "metrics", 1, "external", "target", "averageValue", value="48")),
        "large",
    ),
    Broken(
        "a sum over replicas is compared with one replica's target", "local", "value",
        ("HorizontalPodAutoscaler berth-local/smollm2",),
        edit(HPA, "smollm2", put(*METRIC, "target", value={"type": "Value", "value": "4"})), "smollm2",
    ),
    Broken(
        "min is max", "aws-dev", "limits", ("HorizontalPodAutoscaler berth-aws-dev/chat",),
        edit(HPA, "chat", put("spec", "minReplicas", value=2)),
    ),
    Broken(
        "the pool is smaller than the most replicas", "aws-prod", "capacity",
        ("HorizontalPodAutoscaler berth-aws-prod/chat", "NodeGroup aws-chat-nodes"),
        edit(NODE_GROUP, "aws-chat-nodes", put("scalingConfig", "maxSize", value=5)),
    ),
    Broken(
        "a replica asks for more accelerators than a node has", "gcp-dev", "capacity",
        ("Deployment berth-gcp-dev/chat", "NodePool google-chat-pool"),
        edit(DEPLOYMENT, "chat",
             put(*POD, "containers", 0, "resources", "limits", "nvidia.com/gpu", value="2")),
    ),
    Broken(
        "a replica requests more memory than the machine has", "aws-dev", "capacity",
        ("Deployment berth-aws-dev/chat", "NodeGroup aws-chat-nodes"),
        edit(DEPLOYMENT, "chat",
             put(*POD, "containers", 0, "resources", "requests", "memory", value="64Gi")),
    ),
    Broken(
        "a taint is not tolerated", "aws-prod", "taints",
        ("Deployment berth-aws-prod/batch", "NodeGroup aws-inferentia-nodes"),
        edit(DEPLOYMENT, "batch", lambda made: made["spec"]["template"]["spec"]["tolerations"].pop(0)),
        "batch",
    ),
    Broken(
        "the pods select a pool that nobody makes", "gcp-prod", "selectors",
        ("Deployment berth-gcp-prod/large", "NodePool google-large-pool"),
        edit(DEPLOYMENT, "large", put(*POD, "nodeSelector", "berth.dev/pool", value="google-huge")), "large",
    ),
    Broken(
        "the topology of a TPU slice is another one", "gcp-prod", "selectors",
        ("Deployment berth-gcp-prod/chat", "NodePool google-chat-pool"),
        edit(DEPLOYMENT, "chat", put(*POD, "nodeSelector", "cloud.google.com/gke-tpu-topology", value="2x4")),
    ),
    Broken(
        "a budget lets no pod go", "aws-prod", "scale-down",
        ("PodDisruptionBudget berth-aws-prod/chat", "HorizontalPodAutoscaler berth-aws-prod/chat"),
        edit(BUDGET, "chat", lambda made: made["spec"].update(minAvailable=2, maxUnavailable=None)),
    ),
    Broken(
        "the grace ends before the drain", "onprem", "scale-down", ("Deployment berth-onprem/smollm2",),
        edit(DEPLOYMENT, "smollm2", put(*POD, "terminationGracePeriodSeconds", value=30)), "smollm2",
    ),
    Broken(
        "a volume keeps the autoscaler from taking a node away", "gcp-dev", "scale-down",
        ("Deployment berth-gcp-dev/chat", "NodePool google-chat-pool"),
        edit(DEPLOYMENT, "chat", lambda made: made["spec"]["template"]["metadata"]["annotations"].pop(
            "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes")),
    ),
    Broken(
        "an empty group does not say that its nodes have a GPU", "aws-dev", "wakes",
        ("Deployment berth-autoscaler/cluster-autoscaler", "NodeGroup aws-chat-nodes"),
        without("aws:autoscaling/tag:Tag", "aws-chat-tag-accelerators"),
    ),
    Broken(
        "Cluster Autoscaler looks for groups of another cluster", "aws-prod", "wakes",
        ("Deployment berth-autoscaler/cluster-autoscaler", "NodeGroup aws-chat-nodes"),
        edit(DEPLOYMENT, "cluster-autoscaler", put(*POD, "containers", 0, "args", 1,
             value="--node-group-auto-discovery=asg:tag=k8s.io/cluster-autoscaler/aws-prod-other")),
    ),
    Broken(
        "there is no Cluster Autoscaler", "aws-dev", "wakes",
        ("NodeGroup aws-chat-nodes", "cluster-autoscaler"), without(DEPLOYMENT, "cluster-autoscaler"),
    ),
    Broken(
        "a pool of GKE does not scale", "gcp-dev", "wakes",
        ("HorizontalPodAutoscaler berth-gcp-dev/chat", "NodePool google-chat-pool"),
        edit(GKE_POOL, "google-chat-pool",
             lambda made: made.update(autoscaling=None, nodeCount=2)),
    ),
    Broken(
        "requests are given up before anything scales", "aws-dev", "budget",
        ("HorizontalPodAutoscaler berth-aws-dev/chat", "Deployment berth-aws-dev/chat"),
        edit("ConfigMap", "chat-gateway", put("data", "BERTH_QUEUE_TIMEOUT_SECONDS", value="20")),
    ),
)  # fmt: skip
