"""A ScaledObject of KEDA for a model server, on clusters that have KEDA.

KEDA asks a Prometheus, and answers for the external metrics API itself: a cluster has either KEDA or our
`MetricsAdapter`, since both claim that API. Fields are those of keda.sh/v1alpha1 (KEDA 2.21).
"""

from collections.abc import Callable, Mapping
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.meta import v1 as meta

from berth_components import checks, pods
from berth_components.arguments import Arguments, Refusal, combine
from berth_components.autoscaler import (
    QUEUE_DEPTH,
    RUNNING_REQUESTS,
    ScaleDownArgs,
    ScaleUpArgs,
    behavior,
    down_window,
    limits,
    needs_running,
)

_NOTHING_WAKES = "a router must hold the request that wakes a replica: see wakes"
API_VERSION, KIND = "keda.sh/v1alpha1", "ScaledObject"
HELD = "berth_router_held_requests"
"""What a router's controller says that it holds, by backend and its Service."""
_POLL_SECONDS = 15
"""KEDA's default is 30. It is for waking from zero; above zero the HPA controller's own period counts."""
_WAKING_POLL_SECONDS = 5
_REQUESTS = checks.number(0, 100_000, "requests per replica")


class KedaAutoscalerArgs(TypedDict):
    """Args of `KedaAutoscaler`."""

    namespace: pulumi.Input[str]
    """The model server's namespace."""
    deployment: pulumi.Input[str]
    """The model server's Deployment; `ModelServer` must have been told `autoscaled`."""
    server: pulumi.Input[str]
    """The model server's name."""
    prometheus: pulumi.Input[str]
    """Address of the Prometheus that KEDA asks, such as http://berth-prometheus.berth-monitoring:9090."""
    max_replicas: pulumi.Input[int]
    """Most replicas, up to 1000."""
    min_replicas: NotRequired[pulumi.Input[int]]
    """Fewest replicas. Default: 1. Zero only with wakes."""
    wakes: NotRequired[bool]
    """Whether min_replicas may be 0: a `Router` of the namespace holds what arrives for this server meanwhile
    (`wakes` of its backend), and that Prometheus scrapes its load port. What is held counts as waiting.
    Needs running_target. Default: False."""
    target: NotRequired[pulumi.Input[float]]
    """Waiting requests that each replica should have. Default: 4."""
    running_target: NotRequired[pulumi.Input[float]]
    """Requests being answered per replica above which no replica is taken away, best the engine's slots.
    Default: none."""
    polling_seconds: NotRequired[pulumi.Input[int]]
    """How often KEDA looks whether its triggers are active. Default: 15; with wakes 5, since somebody waits
    for the first replica."""
    scale_up: NotRequired[ScaleUpArgs]
    """Speed upwards."""
    scale_down: NotRequired[ScaleDownArgs]
    """Speed downwards."""
    name: NotRequired[pulumi.Input[str]]
    """Name of the object. Default: the server's name."""


class KedaAutoscaler(pulumi.ComponentResource):
    """Sets the number of a model server's replicas by KEDA, from series in a Prometheus.

    The signal is as old as Prometheus' last scrape: prefer `Autoscaler` with a `MetricsAdapter` where there
    is no KEDA yet. Never deploy both into one cluster.
    """

    name: pulumi.Output[str]
    """Name of the ScaledObject."""
    autoscaler: pulumi.Output[str]
    """Name of the HorizontalPodAutoscaler that KEDA makes of it."""

    def __init__(
        self, name: str, args: KedaAutoscalerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        given = Arguments(f"KedaAutoscaler '{name}'", args, KedaAutoscalerArgs)
        server = given.read("server", checks.server_name)
        object_name = given.maybe("name", checks.server_name) or server
        namespace = given.read("namespace", checks.dns_label)
        spec = read_keda_spec(given)
        super().__init__("berth:model:KedaAutoscaler", name, {}, opts)
        created = CustomResource(
            f"{name}-scaled-object",
            api_version=API_VERSION,
            kind=KIND,
            metadata=meta.ObjectMetaArgs(
                name=object_name, namespace=namespace, labels=pods.labels("autoscaler", server)
            ),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name = pulumi.Output.all(object_name, created.urn).apply(lambda known: str(known[0]))
        self.autoscaler = self.name.apply(lambda known: f"keda-hpa-{known}")
        self.register_outputs({"name": self.name, "autoscaler": self.autoscaler})


def read_keda_spec(given: Arguments) -> Mapping[str, Any]:
    """Check the args of a `KedaAutoscaler` and say them as KEDA does.

    Raises:
        ArgumentError: as the component's.
    """
    wakes = given.plain("wakes", checks.boolean, False)
    needs_running(given, wakes=wakes)
    bounds = limits(given, woken=wakes, remedy=_NOTHING_WAKES)
    namespace = given.read("namespace", checks.dns_label)
    deployment = given.read("deployment", checks.server_name)
    where = given.read("prometheus", _address)
    waiting = combine(_of_pods(QUEUE_DEPTH), namespace, deployment)
    if wakes:
        waiting = combine(_with_held, waiting, namespace, given.read("server", checks.server_name))
    triggers = [_trigger(waiting, where, given.read("target", _REQUESTS, 4.0))]
    if "running_target" in given:
        running = combine(_of_pods(RUNNING_REQUESTS), namespace, deployment)
        triggers.append(_trigger(running, where, given.read("running_target", _REQUESTS)))
    return {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
        "minReplicaCount": bounds["min_replicas"],
        "maxReplicaCount": bounds["max_replicas"],
        "pollingInterval": given.read(
            "polling_seconds",
            checks.whole_number(1, 3600, "seconds"),
            _WAKING_POLL_SECONDS if wakes else _POLL_SECONDS,
        ),
        **_when_idle_or_blind(given, bounds["min_replicas"], wakes=wakes),
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": behavior(given)}},
        "triggers": triggers,
    }


def _when_idle_or_blind(given: Arguments, least: pulumi.Input[int], *, wakes: bool) -> Mapping[str, Any]:
    """When the last replica goes, and what happens where Prometheus does not answer: the number stays.

    No load is not what nobody has seen. A fallback of 0 replicas is none to KEDA (2.21, RequestScale in
    scale_scaledobjects.go): it would take the last replica away. Without a fallback it leaves the number.
    """
    if not wakes:
        return {"fallback": {"failureThreshold": 3, "replicas": least, "behavior": "currentReplicas"}}
    idle = down_window(given)
    # The first one counts from the object's creation: the first replica would end before it has loaded.
    return {"cooldownPeriod": idle, "initialCooldownPeriod": idle}


def _address(value: str) -> str:
    if not value.startswith(("http://", "https://")) or not value.partition("://")[2].strip("/"):
        raise Refusal("a Prometheus' address, http:// or https://")
    return value.rstrip("/")


def _of_pods(metric: str) -> Callable[[str, str], str]:
    def query(namespace: str, deployment: str) -> str:
        # One series, and zero where there is none: what KEDA's Prometheus scaler asks for.
        return f'sum({metric}{{namespace="{namespace}",pod=~"{deployment}-.*"}}) or vector(0)'

    return query


def _with_held(waiting: str, namespace: str, server: str) -> str:
    """What waits in the gateways, and what routers hold while there are none."""
    held = f'{HELD}{{namespace="{namespace}",service="{server}"}}'
    return f"({waiting}) + (sum({held}) or vector(0))"


def _trigger(
    query: pulumi.Input[str], prometheus: pulumi.Input[str], target: pulumi.Input[float]
) -> Mapping[str, Any]:
    def threshold(value: float) -> str:
        return f"{value:g}"

    return {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": prometheus,
            "query": query,
            "threshold": combine(threshold, target),
            # No series is an error, not a zero: the `or vector(0)` above is the only zero.
            "ignoreNullValues": "false",
        },
    }
