"""Models that may have no replica: what must be beside them, and how their routers hold requests."""

import math
from collections.abc import Iterator
from typing import Any

from berth_components.autoscaler import UP_SECONDS
from berth_components.model_server_gateway import PAYLOAD_BYTES
from berth_components.router_document import LEAST_KEPT, MOST_KEPT

from berth_stacks import build, pools
from berth_stacks.errors import Path, Problem
from berth_stacks.router_settings import Router
from berth_stacks.settings import Model, Site, Stack

_MANAGED = {"eks": "EKS", "gke": "GKE"}
HOLD_MOST, ROUTER_REPLICAS = 100, 2
"""The component's defaults."""
_GATE = "--feature-gates=HPAScaleToZero=true"


def sleeping(stack: Stack, router: Router) -> list[str]:
    """Keys of a router's models that may have no replica, and that it wakes."""
    if router.hybrid:
        return []
    scaled = {key: stack.models[key].autoscaling for key in build.routed_by(router) if key in stack.models}
    return [key for key, scaling in scaled.items() if scaling is not None and not scaling.min]


def wakes_args(stack: Stack, router: Router, model: str) -> dict[str, Any]:
    """Of a router's backend: `wakes`, where its model may have no replica."""
    scaling = stack.models[model].autoscaling
    if model not in sleeping(stack, router) or scaling is None:
        return {}
    # What is held is let go at once, to the first replica: its gateway takes so many from all of them.
    taken = stack.models[model].concurrency.max_concurrent_requests // (router.replicas or ROUTER_REPLICAS)
    gateway = stack.models[model].gateway
    limit = (gateway and gateway.payload_limit_bytes) or PAYLOAD_BYTES
    held = {
        "hold_seconds": scaling.hold_seconds,
        "body_bytes": max(LEAST_KEPT, min(MOST_KEPT, limit)),
        "most": scaling.hold_most or min(HOLD_MOST, max(1, taken)),
        # As `ModelServer` calls the one that it makes.
        "keys_secret": stack.api_keys_secret or f"{model}-api-keys",
    }
    return {"wakes": {name: value for name, value in held.items() if value is not None}}


def adapter_args(stack: Stack, router: Router) -> dict[str, str]:
    """Of a router's access: who asks how many requests it holds."""
    if build.has_adapter(stack) and sleeping(stack, router):
        return {"adapter_namespace": stack.metrics_adapter.namespace}
    return {}


def waking_problems(stack: Stack) -> Iterator[Problem]:
    """Every rule that `autoscaling.min: 0` breaks, and the settings that belong to it."""
    for key, site in stack.sites.items():
        yield from _site(key, site)
    for key, model in stack.models.items():
        yield from _model(key, model)
    said: set[Path] = set()
    for at in build.placed(stack):
        for problem in _place(stack, at) if at.sleeps else ():
            if problem.path not in said:
                said.add(problem.path)
                yield problem


def _site(key: str, site: Site) -> Iterator[Problem]:
    ground = pools.ground_of(site)
    if site.scale_to_zero and ground and ground != "cluster":
        remedy = f"remove it; {_by_keda()}" if ground in _MANAGED else "remove it"
        given = f"is true at a site on {_MANAGED.get(ground, 'SageMaker')}"
        allowed = "true only of clusters whose control plane is yours (cluster)"
        yield Problem(("sites", key, "scaleToZero"), given, allowed, remedy)


def _by_keda() -> str:
    return "install KEDA and set berth:metricsAdapter: {mode: keda, prometheus: …}"


def _model(key: str, model: Model) -> Iterator[Problem]:
    scaling = model.autoscaling
    if scaling is None:
        return
    path: Path = ("models", key, "autoscaling")
    if scaling.min:
        for name, held in (("holdSeconds", scaling.hold_seconds), ("holdMost", scaling.hold_most)):
            if held is not None:
                remedy = f"autoscaling.min is {scaling.min}, so a replica is always there"
                allowed = "nothing where autoscaling.min is above 0"
                yield Problem((*path, name), f"is {held}", allowed, remedy)
        return
    if scaling.metric == "cpu":
        remedy = "a model without replicas has no CPU load; set it to queue_depth, or min to 1"
        yield Problem((*path, "metric"), "is cpu", "queue_depth where autoscaling.min is 0", remedy)
    if model.service and model.service.type not in {None, "ClusterIP"}:
        remedy = "give its router the entrance: berth:routers.<name>.entrance"
        given = f"is {model.service.type}, but nobody answers there while the model sleeps"
        yield Problem(
            ("models", key, "service", "type"), given, "ClusterIP where autoscaling.min is 0", remedy
        )


def _place(stack: Stack, at: build.Placed) -> Iterator[Problem]:
    path: Path = ("models", at.model_key, "autoscaling", "min")
    here = {
        name: router
        for name, router in stack.routers.items()
        if at.model_key in build.routed_by(router)
        and (router.site == at.site_key or (router.hybrid and at.site_key in router.hybrid.sites))
    }
    hybrid = [name for name, router in here.items() if router.hybrid]
    if hybrid:
        given = f"is 0, but router '{hybrid[0]}' divides the model's requests between sites (hybrid)"
        yield Problem(path, given, "at least 1 for such a model", "set it to 1: the last replica stays")
    elif not here:
        given = f"is 0, but no router at site '{at.site_key}' holds requests while it sleeps"
        remedy = f"add berth:routers: {{front: {{site: {at.site_key}, weights: {{{at.model_key}: 100}}}}}}"
        yield Problem(
            path, given, "at least 1 without a router of weights there", f"{remedy}, or set it to 1"
        )
    elif not build.by_keda(stack, at) and not _by_hpa(stack, at.site):
        yield _no_scaler(at, path)
    else:
        yield from _too_short(stack, at)


def _too_short(stack: Stack, at: build.Placed) -> Iterator[Problem]:
    """A wait that ends for certain before a replica answers. Budgets, which are at most, `prove` compares."""
    up = at.model.autoscaling.scale_up if at.model.autoscaling else None
    window = UP_SECONDS if up is None or up.window_seconds is None else up.window_seconds
    parts = {
        # KEDA brings the first replica itself, without the HPA's window.
        "autoscaling.scaleUp.windowSeconds": 0 if build.by_keda(stack, at) else window,
        "probes.measuredLoadSeconds": (at.model.probes and at.model.probes.measured_load_seconds) or 0,
    }
    least = math.floor(sum(parts.values())) + 1
    if at.hold_seconds < least:
        said = " and ".join(f"{name} ({seconds:g})" for name, seconds in parts.items() if seconds)
        yield Problem(
            ("models", at.model_key, "autoscaling", "holdSeconds"),
            f"is {at.hold_seconds}",
            f"at least {least}: who waits must outlast {said}",
            "give it more: node and weights take their time, too (./berth prove scale says how long)",
        )


def _by_hpa(stack: Stack, site: Site) -> bool:
    """Whether Kubernetes' own autoscaler may scale to zero there."""
    if site.scale_to_zero is None:
        return stack.environment == "local"
    return site.scale_to_zero


def _no_scaler(at: build.Placed, path: Path) -> Problem:
    ground = pools.ground_of(at.site)
    if ground in _MANAGED:
        where = f"site '{at.site_key}' on {_MANAGED[ground]}"
        given = f"is 0 at {where}, where nobody can set the gate HPAScaleToZero"
        return Problem(path, given, "at least 1 with metricsAdapter.mode owned or existing",
                       f"set it to 1, or {_by_keda()}")  # fmt: skip
    return Problem(
        path,
        f"is 0, but nothing says that the cluster of site '{at.site_key}' scales to zero",
        "at least 1 without scaleToZero or KEDA",
        f"start API server and controller manager with {_GATE} and set "
        f"berth:sites.{at.site_key}.scaleToZero: true, or {_by_keda()}",
    )
