"""A HorizontalPodAutoscaler for a model server: by queue depth, or by CPU as the lesson's example has it."""

from collections.abc import Mapping
from typing import NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.autoscaling import v2 as autoscaling
from pulumi_kubernetes.meta import v1 as meta

from berth_components import checks, pods
from berth_components.arguments import Arguments, combine

QUEUE_DEPTH = "berth_queue_depth"
RUNNING_REQUESTS = "berth_running_requests"
_WINDOW = checks.whole_number(0, 3600, "seconds")
_PERIOD = checks.whole_number(1, 1800, "seconds")
_PODS = checks.whole_number(1, 1000, "pods")
UP_SECONDS = 30
"""The signal must hold so long before replicas are added, where nothing else is said."""
_DOWN_SECONDS = 300
_NOTHING_WAKES = (
    "Kubernetes scales to zero only with the alpha gate HPAScaleToZero, and a router must hold the request "
    "that wakes a replica: see wakes"
)


class ScaleUpArgs(TypedDict):
    """How fast replicas are added."""

    window_seconds: NotRequired[pulumi.Input[int]]
    """A wish must have lasted this long, so that a blip starts no GPU. Default: 30; 0 acts at once."""
    pods: NotRequired[pulumi.Input[int]]
    """At most so many pods per period. Default: 2."""
    period_seconds: NotRequired[pulumi.Input[int]]
    """The period. Default: 60."""


class ScaleDownArgs(TypedDict):
    """How fast replicas are taken away."""

    window_seconds: NotRequired[pulumi.Input[int]]
    """The highest wish of this time counts, so that a lull stops nobody. Default: 300."""
    pods: NotRequired[pulumi.Input[int]]
    """At most so many pods per period. Default: 1."""
    period_seconds: NotRequired[pulumi.Input[int]]
    """The period. Default: 120."""


class AutoscalerArgs(TypedDict):
    """Args of `Autoscaler`."""

    namespace: pulumi.Input[str]
    """The model server's namespace."""
    deployment: pulumi.Input[str]
    """The model server's Deployment; `ModelServer` must have been told `autoscaled`."""
    server: pulumi.Input[str]
    """The model server's name: the label app.kubernetes.io/instance of its pods."""
    max_replicas: pulumi.Input[int]
    """Most replicas, up to 1000."""
    min_replicas: NotRequired[pulumi.Input[int]]
    """Fewest replicas. Default: 1. Zero only with wakes."""
    wakes: NotRequired[bool]
    """Whether min_replicas may be 0: a `Router` of the namespace holds what arrives for this server meanwhile
    (`wakes` of its backend), and API server and controller manager run with the feature gate HPAScaleToZero.
    Only with metric queue_depth and running_target. Default: False."""
    metric: NotRequired[str]
    """queue_depth (default): requests waiting per replica; needs a MetricsAdapter in the cluster. cpu:
    percent of the CPU that the pods request; needs metrics-server."""
    target: NotRequired[pulumi.Input[float]]
    """What each replica should have: of queue_depth waiting requests (default 4), of cpu percent (default
    70)."""
    running_target: NotRequired[pulumi.Input[float]]
    """Of queue_depth: requests being answered per replica above which no replica is taken away, best the
    engine's slots. Without it an empty queue counts as no load, however busy the engines are. Default:
    none."""
    scale_up: NotRequired[ScaleUpArgs]
    """Speed upwards."""
    scale_down: NotRequired[ScaleDownArgs]
    """Speed downwards."""
    gpu_count: NotRequired[pulumi.Input[int]]
    """Accelerators of each replica; scaling those by cpu gives a warning. Default: 0."""
    name: NotRequired[pulumi.Input[str]]
    """Name of the object. Default: the server's name."""


class Autoscaler(pulumi.ComponentResource):
    """Sets the number of a model server's replicas between a minimum and a maximum, and owns that number.

    The queue is the signal that follows demand: a GPU's CPU load does not, and its memory never falls.
    """

    name: pulumi.Output[str]
    """Name of the HorizontalPodAutoscaler."""

    def __init__(self, name: str, args: AutoscalerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        given = Arguments(f"Autoscaler '{name}'", args, AutoscalerArgs)
        server = given.read("server", checks.server_name)
        object_name = given.maybe("name", checks.server_name) or server
        namespace = given.read("namespace", checks.dns_label)
        spec = read_spec(given)
        warning = _cpu_on_gpus(given, name)
        super().__init__("berth:model:Autoscaler", name, {}, opts)
        if warning is not None:
            pulumi.Output.from_input(warning).apply(
                lambda text: pulumi.log.warn(text, resource=self) if text else None
            )
        created = autoscaling.HorizontalPodAutoscaler(
            f"{name}-hpa",
            metadata=meta.ObjectMetaArgs(
                name=object_name, namespace=namespace, labels=pods.labels("autoscaler", server)
            ),
            spec=spec,
            opts=pulumi.ResourceOptions(parent=self),
        )
        self.name = pulumi.Output.all(object_name, created.urn).apply(lambda known: str(known[0]))
        self.register_outputs({"name": self.name})


def read_spec(given: Arguments) -> autoscaling.HorizontalPodAutoscalerSpecArgs:
    """Check the args of an `Autoscaler` and say them as Kubernetes does.

    Raises:
        ArgumentError: as the component's.
    """
    return autoscaling.HorizontalPodAutoscalerSpecArgs(
        scale_target_ref=autoscaling.CrossVersionObjectReferenceArgs(
            api_version="apps/v1", kind="Deployment", name=given.read("deployment", checks.server_name)
        ),
        **limits(given, woken=_wakes(given), remedy=_NOTHING_WAKES),
        metrics=_metrics(given, given.read("server", checks.server_name)),
        behavior=behavior(given),
    )


def _wakes(given: Arguments) -> bool:
    wakes = given.plain("wakes", checks.boolean, False)
    if wakes and given.plain("metric", checks.choice("queue_depth", "cpu"), "queue_depth") == "cpu":
        raise given.refuse("wakes", "True", "only with metric queue_depth", "no replica has no CPU load")
    needs_running(given, wakes=wakes)
    return wakes


def needs_running(given: Arguments, *, wakes: bool) -> None:
    """See that a replica that is busy counts as load where the last one may be taken away.

    Raises:
        ArgumentError: it does not.
    """
    if wakes and "running_target" not in given:
        raise given.refuse(
            "running_target",
            "missing",
            "requests being answered per replica, where wakes is True",
            "with an empty queue a model would be put to sleep under the requests that it answers",
        )


def limits(given: Arguments, *, woken: bool, remedy: str) -> Mapping[str, pulumi.Input[int]]:
    """The fewest and the most replicas, checked against each other.

    Args:
        given: args with min_replicas and max_replicas.
        woken: whether something holds the request that wakes the first replica, so that zero is allowed.
        remedy: what to do to be allowed zero.
    """
    # Zero and below pass the first check, so that the second one can say why they are refused.
    least = given.read("min_replicas", checks.whole_number(-1000, 1000, "replicas"), 1)
    most = given.read("max_replicas", checks.whole_number(1, 1000, "replicas"))

    def ordered(least: int, most: int) -> int:
        if least < (0 if woken else 1):
            raise given.refuse(
                "min_replicas", least, f"{0 if woken else 1} to max_replicas", "" if woken else remedy
            )
        if least > most:
            raise given.refuse("min_replicas", least, f"at most max_replicas, which is {most}")
        return least

    return {"min_replicas": combine(ordered, least, most), "max_replicas": most}


def _metrics(given: Arguments, server: pulumi.Input[str]) -> list[autoscaling.MetricSpecArgs]:
    if given.plain("metric", checks.choice("queue_depth", "cpu"), "queue_depth") == "cpu":
        if "running_target" in given:
            raise given.refuse("running_target", "given", "only with metric queue_depth", "metric is cpu")
        utilization = given.read("target", checks.whole_number(1, 1000, "percent of the requested CPU"), 70)
        target = autoscaling.MetricTargetArgs(type="Utilization", average_utilization=utilization)
        resource = autoscaling.ResourceMetricSourceArgs(name="cpu", target=target)
        return [autoscaling.MetricSpecArgs(type="Resource", resource=resource)]
    per_replica = checks.number(0, 100_000, "requests per replica")
    metrics = [_external(QUEUE_DEPTH, server, given.read("target", per_replica, 4.0))]
    if "running_target" in given:
        metrics.append(_external(RUNNING_REQUESTS, server, given.read("running_target", per_replica)))
    return metrics


def _external(
    metric: str, server: pulumi.Input[str], target: pulumi.Input[float]
) -> autoscaling.MetricSpecArgs:
    return autoscaling.MetricSpecArgs(
        type="External",
        external=autoscaling.ExternalMetricSourceArgs(
            metric=autoscaling.MetricIdentifierArgs(
                name=metric,
                selector=meta.LabelSelectorArgs(match_labels={"app.kubernetes.io/instance": server}),
            ),
            # The adapter gives the sum over all replicas; AverageValue divides it by their number.
            target=autoscaling.MetricTargetArgs(
                type="AverageValue", average_value=combine(_quantity, target)
            ),
        ),
    )


def _quantity(value: float) -> str:
    thousandths = round(value * 1000)
    return f"{thousandths}m" if thousandths % 1000 else str(thousandths // 1000)


def behavior(given: Arguments) -> autoscaling.HorizontalPodAutoscalerBehaviorArgs:
    """How fast the number may change."""
    up = given.group("scale_up", ScaleUpArgs)
    down = given.group("scale_down", ScaleDownArgs)
    return autoscaling.HorizontalPodAutoscalerBehaviorArgs(
        # AWS's figures for an 8B model: up after 30 s by 2 pods a minute, down after 5 minutes by 1 pod in
        # two.
        scale_up=_rules(up, window=UP_SECONDS, pods_per_period=2, period=60),
        scale_down=_rules(down, window=_DOWN_SECONDS, pods_per_period=1, period=120),
    )


def down_window(given: Arguments) -> pulumi.Input[int]:
    """How long a lull must last, in seconds."""
    return given.group("scale_down", ScaleDownArgs).read("window_seconds", _WINDOW, _DOWN_SECONDS)


def _rules(
    given: Arguments, *, window: int, pods_per_period: int, period: int
) -> autoscaling.HPAScalingRulesArgs:
    return autoscaling.HPAScalingRulesArgs(
        stabilization_window_seconds=given.read("window_seconds", _WINDOW, window),
        select_policy="Max",
        policies=[
            autoscaling.HPAScalingPolicyArgs(
                type="Pods",
                value=given.read("pods", _PODS, pods_per_period),
                period_seconds=given.read("period_seconds", _PERIOD, period),
            )
        ],
    )


def _cpu_on_gpus(given: Arguments, name: str) -> pulumi.Input[str] | None:
    count = given.read("gpu_count", checks.whole_number(0, 16, "accelerators per replica"), 0)
    if given.plain("metric", checks.choice("queue_depth", "cpu"), "queue_depth") != "cpu":
        return None

    def text(count: int) -> str:
        if not count:
            return ""
        return (
            f"Autoscaler '{name}' scales replicas with {count} accelerator(s) each by CPU load. The start-up "
            "load of one replica then starts the next one, and latency does not follow it; use queue_depth."
        )

    return combine(text, count)
