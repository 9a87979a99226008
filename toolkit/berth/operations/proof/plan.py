"""A plan's objects by what they are to a scale path: who scales whom, measured by whom, on which nodes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from berth.operations.quantities import amount

from .facts import Facts, NotKnown, Resource, selects
from .pools import Pool, read_pools

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

HPA, SCALED_OBJECT = "HorizontalPodAutoscaler", "ScaledObject"
ACCELERATORS = ("nvidia.com/gpu", "aws.amazon.com/neuron", "google.com/tpu", "amd.com/gpu")
EXTERNAL_API = "v1beta1.external.metrics.k8s.io"


@dataclass(frozen=True)
class Plan:
    """A stack's resources, and what is known beside them."""

    resources: tuple[Resource, ...]
    facts: Facts

    def of_kind(self, kind: str, cluster: str | None = None) -> list[Resource]:
        """Kubernetes objects of a kind, in one cluster or in all."""
        return [one for one in self.resources if one.kind == kind and cluster in {None, one.cluster}]

    def find(self, kind: str, cluster: str, namespace: str, name: object) -> Resource | None:
        """One Kubernetes object by its name."""
        for one in self.of_kind(kind, cluster):
            if one.namespace == namespace and one.at("metadata", "name") == name:
                return one
        return None

    @cached_property
    def pools(self) -> list[Pool]:
        """Every node pool."""
        return read_pools(self.resources)

    @cached_property
    def pooled(self) -> list[Pool]:
        """Those with accelerators."""
        return [pool for pool in self.pools if pool.accelerator]

    def subjects(self) -> Iterable[Subject]:
        """What is scaled: one for each autoscaler."""
        for kind in (HPA, SCALED_OBJECT):
            for scaler in self.of_kind(kind):
                yield Subject(self, scaler)


@dataclass(frozen=True)
class Subject:
    """One autoscaler with what belongs to it."""

    plan: Plan
    scaler: Resource
    _cache: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_keda(self) -> bool:
        """Whether KEDA scales it."""
        return self.scaler.kind == SCALED_OBJECT

    @cached_property
    def deployment(self) -> Resource | None:
        """What its `scaleTargetRef` names, if the plan has it."""
        reference = self.scaler.at("spec", "scaleTargetRef") or {}
        kind = reference.get("kind", "Deployment")
        return self.plan.find(kind, self.scaler.cluster, self.scaler.namespace, reference.get("name"))

    @property
    def target(self) -> Resource:
        """The same, where it must be there.

        Raises:
            NotKnown: it is not; the link `target` says so.
        """
        if self.deployment is None:
            raise NotKnown(f"{self.scaler.title}: what it scales is not in the plan; see the link target")
        return self.deployment

    @property
    def pod(self) -> Mapping[str, Any]:
        """The pods' spec."""
        spec: Mapping[str, Any] = self.target.at("spec", "template", "spec") or {}
        return spec

    @property
    def labels(self) -> Mapping[str, Any]:
        """The pods' labels."""
        labels: Mapping[str, Any] = self.target.at("spec", "template", "metadata", "labels") or {}
        return labels

    @property
    def annotations(self) -> Mapping[str, Any]:
        """The pods' annotations."""
        found: Mapping[str, Any] = self.target.at("spec", "template", "metadata", "annotations") or {}
        return found

    @property
    def minimum(self) -> int:
        """Fewest replicas."""
        key, default = ("minReplicaCount", 0) if self.is_keda else ("minReplicas", 1)
        value = self.scaler.at("spec", key)
        return default if value is None else int(value)

    @property
    def maximum(self) -> int:
        """Most replicas."""
        key, default = ("maxReplicaCount", 100) if self.is_keda else ("maxReplicas", 1)
        value = self.scaler.at("spec", key)
        return default if value is None else int(value)

    @property
    def behavior(self) -> Mapping[str, Any]:
        """How fast it may scale, as an HPA says it."""
        path = ("advanced", "horizontalPodAutoscalerConfig", "behavior") if self.is_keda else ("behavior",)
        found: Mapping[str, Any] = self.scaler.at("spec", *path) or {}
        return found

    @property
    def accelerators(self) -> tuple[str, int] | None:
        """The resource that each pod asks for, and how many; None where it is none."""
        found: dict[str, int] = {}
        for container in self.containers():
            resources = container.get("resources") or {}
            for name in ACCELERATORS:
                wanted = (resources.get("limits") or {}).get(
                    name, (resources.get("requests") or {}).get(name)
                )
                if wanted is not None:
                    found[name] = found.get(name, 0) + int(amount(wanted) or 0)
        return next(((name, count) for name, count in found.items() if count), None)

    def containers(self) -> list[Mapping[str, Any]]:
        """Every container, native sidecars and other init containers first."""
        return [*(self.pod.get("initContainers") or []), *(self.pod.get("containers") or [])]

    @property
    def gateway(self) -> Mapping[str, Any] | None:
        """The container that serves the metrics port."""
        for container in self.pod.get("containers") or []:
            if any(port.get("name") == "metrics" for port in container.get("ports") or []):
                return container  # type: ignore[no-any-return]
        return None

    def environment(self) -> Mapping[str, Any]:
        """The gateway's settings: from its ConfigMaps, and its own."""
        gateway = self.gateway or {}
        found: dict[str, Any] = {}
        for source in gateway.get("envFrom") or []:
            name = (source.get("configMapRef") or {}).get("name")
            config = self.plan.find("ConfigMap", self.scaler.cluster, self.scaler.namespace, name)
            found.update(config.at("data") or {} if config else {})
        found.update({one["name"]: one.get("value") for one in gateway.get("env") or []})
        return found

    @cached_property
    def selected(self) -> list[Pool]:
        """The pools whose nodes the pods may be put on by accelerator and selector; taints are not asked."""
        asked = self.accelerators
        offered = [pool for pool in self.plan.pooled if asked and pool.accelerator == asked[0]]
        return [pool for pool in offered if not self.unmet(pool)]

    def unmet(self, pool: Pool) -> list[str]:
        """What the pods select that the pool's nodes do not have, as `key=value`."""
        wanted = dict(self.pod.get("nodeSelector") or {})
        missing = []
        for key, value in wanted.items():
            if not selects({"matchLabels": {key: value}}, pool.labels, pool.title):
                missing.append(f"{key}={value}")
        terms = at_terms(self.pod)
        if terms and not any(selects(term, pool.labels, pool.title) for term in terms):
            missing.append("its node affinity")
        return missing

    @property
    def pool(self) -> Pool:
        """The pool that its pods are on.

        Raises:
            NotKnown: there is none; the link `selectors` says so.
        """
        if not self.selected:
            raise NotKnown(f"{self.target.title}: it selects no pool of this plan; see the link selectors")
        return self.selected[0]


def at_terms(pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The terms of a pod's required node affinity."""
    affinity = (pod.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    return list(required.get("nodeSelectorTerms") or [])
