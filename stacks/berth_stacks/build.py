"""From settings to the args of components."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from berth_catalogue.engines import engines
from berth_catalogue.images import load_images
from berth_catalogue.models import models
from berth_components import AutoscalerArgs, MetricsAdapterArgs, ModelServerArgs

from berth_stacks.settings import Model, Settings, Site, Stack

GATEWAY_ROLE = "model-server"
ADAPTER_ROLE = "metrics-adapter"


@functools.cache
def weights_image(model: str) -> str:
    """Role of the image that carries a model's weights file, or the fetcher that downloads it."""
    wanted = models()[model].weights.sha256
    carriers = (
        role
        for role, image in load_images().images.items()
        if image.weights and image.weights.sha256 == wanted
    )
    return next(carriers, GATEWAY_ROLE)


UNPINNED = "unpinned.invalid"
"""Host of images that nobody has named yet: reserved, so that nothing is ever pulled from it (RFC 6761)."""


def roles(stack: Stack) -> set[str]:
    """Roles of every image that the stack runs."""
    needed = {role for at in placed(stack) for role in at.image_roles}
    return needed | ({ADAPTER_ROLE} if stack.models and stack.metrics_adapter.mode == "owned" else set())


def references(stack: Stack) -> Mapping[str, str]:
    """Every image by role; one that is not known yet, for a preview, on a host that does not exist."""
    return {role: f"{UNPINNED}/{role}:unpinned" for role in roles(stack)} | stack.images.refs


@dataclass(frozen=True)
class Placed:
    """A model at a site."""

    site_key: str
    site: Site
    model_key: str
    model: Model

    @property
    def name(self) -> str:
        """Name of its components."""
        return f"{self.site_key}-{self.model_key}"

    @property
    def title(self) -> str:
        """Its key in the stack's outputs."""
        return f"{self.site_key}/{self.model_key}"

    @property
    def by_queue(self) -> bool:
        """Whether it needs the metrics adapter."""
        scaling = self.model.autoscaling
        return scaling is not None and scaling.metric in {None, "queue_depth"}

    @property
    def image_roles(self) -> tuple[str, str, str]:
        """Roles of the images that it runs: gateway, engine, weights."""
        engine = engines()[self.model.engine.name]
        return GATEWAY_ROLE, engine.image, weights_image(self.model.model)

    @property
    def model_id(self) -> str:
        """The model's published name, as clients say it."""
        return models()[self.model.model].name

    @property
    def gpus(self) -> int:
        """Accelerators per replica."""
        return self.model.gpu.count if self.model.gpu else 0


def placed(stack: Stack) -> list[Placed]:
    """Every model at every site that it names, as far as the sites exist."""
    return [
        Placed(site_key, stack.sites[site_key], key, model)
        for key, model in stack.models.items()
        for site_key in model.sites
        if site_key in stack.sites
    ]


def namespace(stack: Stack, site: Site, name: str) -> str:
    """Where a site's model servers are, in the stack of a name."""
    return site.namespace or stack.namespace or f"berth-{name}"


def server_args(
    stack: Stack,
    at: Placed,
    namespace: pulumi.Input[str],
    api_keys: pulumi.Input[Mapping[str, str]] | None,
    images: Mapping[str, str],
) -> ModelServerArgs:
    """Args of the `ModelServer` of a model at a site; images by role."""
    model, known = at.model, models()[at.model.model]
    gateway, engine, weights = (images[role] for role in at.image_roles)
    selector = {**at.site.node_selector, **(model.placement.node_selector if model.placement else {})}
    tolerations = [*at.site.tolerations, *(model.placement.tolerations if model.placement else [])]
    args = {
        "name": at.model_key,
        "namespace": namespace,
        "model": {
            "key": at.model_key,
            "id": known.name,
            # The file itself is what is pinned; no other revision says as exactly what is served.
            "revision": f"sha256:{known.weights.sha256}",
            "format": known.weights.file.rpartition(".")[2].lower(),
        },
        "weights": {
            "image": weights,
            "source": known.weights.source,
            "file": known.weights.file,
            "sha256": known.weights.sha256,
            **_group(model.weights),
        },
        "engine": {"image": engine, **_group(model.engine)},
        "gateway": {"image": gateway, **_group(model.gateway)},
        "concurrency": _group(model.concurrency),
        "tokens": _group(model.tokens),
        "access": {
            "client_cidrs": stack.clients.cidrs,
            "client_namespaces": stack.clients.namespaces,
            "public_reason": stack.clients.public_reason,
            "metrics_namespaces": [*_adapter_namespace(stack), *stack.metrics_namespaces],
        },
        "placement": {
            **_group(model.placement),
            "node_selector": selector,
            "tolerations": [_group(toleration) for toleration in tolerations],
        },
        "service": _group(model.service),
        "termination": _group(model.termination),
        "probes": _group(model.probes),
        "rollout": _group(model.rollout),
        "replicas": model.replicas,
        "autoscaled": model.autoscaling is not None,
        "gpu": {**_group(model.gpu), "simulated": stack.environment == "local"} if model.gpu else None,
        "api_keys": api_keys,
        "api_keys_secret": stack.api_keys_secret,
        "image_pull_secrets": stack.images.pull_secrets,
        "variant": model.variant,
    }
    # The components check every key and value of it; a TypedDict cannot say so about a dict that is built up.
    return cast("ModelServerArgs", args)


def autoscaler_args(
    at: Placed, namespace: pulumi.Input[str], deployment: pulumi.Input[str], server: pulumi.Input[str]
) -> AutoscalerArgs:
    """Args of the `Autoscaler` of a model at a site; only where the model has `autoscaling`."""
    scaling = _group(at.model.autoscaling)
    running = {"running_target": float(at.model.concurrency.slots)} if at.by_queue else {}
    args = {
        "namespace": namespace,
        "deployment": deployment,
        "server": server,
        "min_replicas": scaling.pop("min"),
        "max_replicas": scaling.pop("max"),
        "gpu_count": at.gpus,
        **running,
        **scaling,
    }
    return cast("AutoscalerArgs", args)


def adapter_args(stack: Stack, images: Mapping[str, str]) -> MetricsAdapterArgs:
    """Args of the `MetricsAdapter` of each cluster; images by role."""
    adapter = stack.metrics_adapter
    args: dict[str, Any] = {"mode": adapter.mode, "namespace": adapter.namespace}
    if adapter.mode == "owned":
        default = 2 if stack.environment == "production" else 1
        args["replicas"] = adapter.replicas if adapter.replicas is not None else default
        args["image"] = images[ADAPTER_ROLE]
        args["image_pull_secrets"] = stack.images.pull_secrets
    # Given with another mode, the component refuses them.
    if adapter.mode != "owned" and adapter.replicas is not None:
        args["replicas"] = adapter.replicas
    if adapter.api_server_cidrs:
        args["api_server_cidrs"] = adapter.api_server_cidrs
    return cast("MetricsAdapterArgs", args)


def _adapter_namespace(stack: Stack) -> list[str]:
    return [] if stack.metrics_adapter.mode == "none" else [stack.metrics_adapter.namespace]


def _group(settings: Settings | None) -> dict[str, Any]:
    """A group of settings as args: the same keys in snake case, what is absent left out."""
    return settings.model_dump(exclude_none=True) if settings else {}
