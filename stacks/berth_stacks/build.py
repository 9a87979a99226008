"""From settings to the args of components."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pulumi
from berth_catalogue.accelerators import accelerator, accelerators
from berth_catalogue.endpoints import endpoint_role
from berth_catalogue.engines import Build, engines
from berth_catalogue.images import load_images
from berth_catalogue.models import HubWeights, Weights, models
from berth_catalogue.official import official
from berth_catalogue.pairings import CPU, pairings
from berth_catalogue.weights_pins import PinnedFile, Pins
from berth_components import AutoscalerArgs, KedaAutoscalerArgs, MetricsAdapterArgs, ModelServerArgs
from berth_components.arguments import combine
from berth_components.model_server_weights import MODELS_DIR
from berth_components.node_pools import POOL_LABEL

from berth_stacks import afar, monitoring_parts, pools
from berth_stacks.fields import Settings
from berth_stacks.grounds import Pool
from berth_stacks.pools import dns_of
from berth_stacks.router_settings import Router
from berth_stacks.settings import Model, Site, Stack

BYTES = {"BF16": 2, "F16": 2, "F32": 4}
"""Bytes of a weight, by type."""
_INSTANCE = {"cpu_request": "1", "memory_request": "1Gi", "memory_limit": "1Ti"}
"""Stands for resources on SageMaker, where nobody shares an instance."""
NO_KEYS = {"unpinned": "unpinned-key-of-nobody"}
"""Stands in previews for API keys that nobody has set yet."""
HOLD_SECONDS = 300
"""The component's default of how long a router holds a request."""
GATEWAY_ROLE = "model-server"
ADAPTER_ROLE = "metrics-adapter"
ROUTER_ROLES = ("router", "envoy")
"""Of a router: its controller's image, and Envoy's."""
SAGEMAKER_DIR, IN_S3 = "/opt/ml", "model"
"""Where SageMaker puts a ModelDataSource: in the folder model of it (your-algorithms-inference-code in its
developer guide)."""


@functools.cache
def weights_image(model: str) -> str:
    """Role of the image that carries a model's weights file, or the fetcher that downloads it."""
    weights = models()[model].weights
    if isinstance(weights, HubWeights):
        return GATEWAY_ROLE
    wanted = weights.sha256
    carriers = (
        role
        for role, image in load_images().images.items()
        if image.weights and image.weights.sha256 == wanted and not image.endpoint
    )
    return next(carriers, GATEWAY_ROLE)


UNPINNED = "unpinned.invalid"
"""Host of images that nobody has named yet: reserved, so that nothing is ever pulled from it (RFC 6761)."""


def roles(stack: Stack) -> set[str]:
    """Roles of every image that the stack runs."""
    needed = {role for at in placed(stack) for role in at.image_roles}
    needed |= monitoring_parts.image_roles(stack)
    needed |= {*ROUTER_ROLES} if stack.routers else set()
    return needed | ({ADAPTER_ROLE} if stack.models and stack.metrics_adapter.mode == "owned" else set())


def references(stack: Stack) -> Mapping[str, str]:
    """Every image by role.

    Of those that are not known yet, for previews only: an engine's official one by its version, and of ours
    a name on a host that does not exist.
    """
    unpinned = {role: f"{UNPINNED}/{role}:unpinned" for role in roles(stack)}
    return unpinned | official_references(stack) | stack.images.refs


def official_references(stack: Stack) -> dict[str, str]:
    """Images of others that the stack runs as they are, by role, each by its version."""
    engines_own = {at.build.role: at.build.reference for at in placed(stack) if at.build.reference}
    beside = monitoring_parts.image_roles(stack)
    envoy = load_images().images[ROUTER_ROLES[1]].official
    routers_own = {ROUTER_ROLES[1]: envoy} if stack.routers and envoy else {}
    return (
        engines_own
        | routers_own
        | {role: one.reference for role, one in official().items() if role in beside}
    )


@dataclass(frozen=True)
class Given:
    """What a model server gets besides its settings.

    Attributes:
        images: references by role.
        pins: weights by model, as far as they are pinned.
        api_keys: keys of clients by name; None where a Secret that exists has them.
    """

    images: Mapping[str, str]
    pins: Mapping[str, Pins]
    api_keys: pulumi.Input[Mapping[str, str]] | None


@dataclass(frozen=True)
class OnPool:
    """What puts a pod on a pool.

    Attributes:
        node_selector: labels of its nodes.
        tolerations: of its further taints; a model server tolerates its accelerator's own by itself.
        storage_class: of volumes that are made, where its machines take none of the cluster's default class.
    """

    node_selector: pulumi.Input[Mapping[str, str]]
    tolerations: Sequence[Mapping[str, str]]
    storage_class: str | None = None


@dataclass(frozen=True)
class Placed:
    """A model at a site.

    Attributes:
        beyond: the router that reaches it from another site; "" where none does.
    """

    site_key: str
    site: Site
    model_key: str
    model: Model
    beyond: str = ""

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
    def sleeps(self) -> bool:
        """Whether it may have no replica, until its router wakes it."""
        scaling = self.model.autoscaling
        return scaling is not None and scaling.min == 0 and not self.site.sagemaker

    @property
    def hold_seconds(self) -> int:
        """How long a request may wait for the first replica of one that sleeps."""
        scaling = self.model.autoscaling
        return (scaling and scaling.hold_seconds) or HOLD_SECONDS

    @property
    def image_roles(self) -> tuple[str, ...]:
        """Roles of the images that it runs: gateway, engine, weights; on SageMaker one with all in it."""
        if self.site.sagemaker:
            return (endpoint_role(self.build.role),)
        return GATEWAY_ROLE, self.build.role, weights_image(self.model.model)

    @property
    def build(self) -> Build:
        """The engine's build for what it computes on; its first one where no source supports the pair."""
        engine = engines()[self.model.engine.name]
        known = pairings().get((engine.name, self.accelerator))
        return engine.builds[known.image_role if known else engine.image]

    @property
    def model_id(self) -> str:
        """The model's published name, as clients say it."""
        return models()[self.model.model].name

    @property
    def pool(self) -> Pool | None:
        """The pool that it is on, if it names one that is there."""
        return self.site.pools.get(self.model.pool) if self.model.pool else None

    @property
    def accelerator(self) -> str:
        """Key of what it computes on, as pairings call it."""
        if self.site.sagemaker:
            return self.site.sagemaker.accelerator or CPU
        return self.pool.accelerator if self.pool and self.gpus else CPU

    @property
    def gpus(self) -> int:
        """Accelerators per replica."""
        if self.site.sagemaker:
            return (self.site.sagemaker.accelerator and self.site.sagemaker.accelerators_per_instance) or 0
        if self.model.gpu:
            return self.model.gpu.count
        return 1 if self.model.pool else 0

    @property
    def simulated_selector(self) -> dict[str, str]:
        """Labels of the simulated nodes that stand for its pool; none where there are none."""
        return {POOL_LABEL: self.site_key} if self.site.simulated_nodes else {}

    @property
    def most(self) -> int:
        """Replicas at the most."""
        return self.model.autoscaling.max if self.model.autoscaling else self.model.replicas or 1

    @property
    def surge(self) -> int:
        """Further replicas while it is updated, without which an update of the most could not begin."""
        rollout = self.model.rollout
        if rollout and rollout.max_unavailable:
            return 0
        return 1 if rollout is None or rollout.max_surge is None else rollout.max_surge


def placed(stack: Stack) -> list[Placed]:
    """Every model at every site that it names, as far as the sites exist."""
    return [
        _place(stack, site_key, key, model)
        for key, model in stack.models.items()
        for site_key in model.sites
        if site_key in stack.sites
    ]


def _place(stack: Stack, site_key: str, key: str, model: Model) -> Placed:
    model, router = afar.entered(stack, site_key, key, model)
    return Placed(site_key, stack.sites[site_key], key, model, router)


def namespace(stack: Stack, site: Site, name: str) -> str:
    """Where a site's model servers are, in the stack of a name."""
    return site.namespace or stack.namespace or f"berth-{name}"


def unpinned(model: str) -> Pins:
    """Stands in previews for weights that nobody has pinned yet: of the right size, with no real digest."""
    known = models()[model]
    size = known.parameters * BYTES.get(known.quantisation, 1)
    repo = known.weights.repo if isinstance(known.weights, HubWeights) else "unpinned/unpinned"
    return Pins(repo, "0" * 40, (PinnedFile("unpinned.safetensors", size, "0" * 64),))


def weights_args(at: Placed, pins: Mapping[str, Pins], image: str) -> dict[str, Any]:
    """Where a model's weights come from."""
    weights = models()[at.model.model].weights
    given = {key: value for key, value in _group(at.model.weights).items() if value != []}
    if isinstance(weights, Weights):
        # Another source of weights that are packaged is refused by the rules.
        found = {"source": weights.source, "file": weights.file, "sha256": weights.sha256}
        return {"image": image, **given, **found}
    known = pins.get(at.model.model) or unpinned(at.model.model)
    if at.site.sagemaker:
        return _on_an_endpoint(at, known, given, image)
    found = {"source": "hub", "repo": known.repo, "revision": known.revision}
    if given.pop("identity", False):
        found["identity"] = pools.ground_of(at.site)
    return {"image": image, **found, "files": known.entries(), **given}


def _on_an_endpoint(at: Placed, known: Pins, given: Mapping[str, Any], image: str) -> dict[str, Any]:
    """A folder that is there before the container starts, as a volume is that is filled already."""
    files = [one.path for one in known.files if one.path.endswith(".gguf")]
    gguf = models()[at.model.model].weights.format == "gguf"
    return {
        "image": image,
        "source": "volume",
        "storage": "claim",
        "claim_name": "endpoint",
        "repo": known.repo,
        "revision": known.revision,
        "files": known.entries(),
        "path": IN_S3 if at.site.sagemaker and at.site.sagemaker.weights else known.folder,
        **({"file": given.get("file") or (files or [""])[0]} if gguf else {}),
    }


def models_dir(at: Placed) -> str:
    """Where a model's weights lie in an endpoint's container."""
    weights = models()[at.model.model].weights
    image = load_images().images.get(at.image_roles[0])
    if isinstance(weights, Weights) and image and image.weights:
        return image.weights.path.rpartition("/")[0]
    return SAGEMAKER_DIR if at.site.sagemaker and at.site.sagemaker.weights else MODELS_DIR


def _volume(at: Placed, on: OnPool | None) -> dict[str, Any]:
    """What a volume that is made needs on the pool's machines, unless the settings say something else."""
    made = at.model.weights is None or at.model.weights.storage not in {"claim", "empty-dir"}
    return {"storage_class": on.storage_class} if on and on.storage_class and made else {}


def revision(at: Placed, pins: Mapping[str, Pins]) -> str:
    """What says exactly what is served."""
    weights = models()[at.model.model].weights
    if isinstance(weights, Weights):
        return f"sha256:{weights.sha256}"
    return (pins.get(at.model.model) or unpinned(at.model.model)).revision


def server_args(
    stack: Stack,
    at: Placed,
    namespace: pulumi.Input[str],
    given: Given,
    on: OnPool | None = None,
) -> ModelServerArgs:
    """Args of the `ModelServer` of a model at a site."""
    model, known = at.model, models()[at.model.model]
    roles = at.image_roles * 3 if at.site.sagemaker else at.image_roles
    gateway, engine, weights = (given.images[role] for role in roles)
    own = {
        **at.simulated_selector,
        **at.site.node_selector,
        **(model.placement.node_selector if model.placement else {}),
    }
    tolerations = [*at.site.tolerations, *(model.placement.tolerations if model.placement else [])]
    selector = combine(lambda pool: {**pool, **own}, on.node_selector) if on else own
    instance = {"resources": _INSTANCE} if at.site.sagemaker else {}
    args = {
        "name": at.model_key,
        "namespace": namespace,
        "model": {
            "key": at.model_key,
            "id": known.name,
            "revision": revision(at, given.pins),
            "format": known.weights.format,
        },
        "weights": {**_volume(at, on), **weights_args(at, given.pins, weights)},
        "engine": {"image": engine, **instance, **_group(model.engine)},
        "gateway": {"image": gateway, **monitoring_parts.gateway_args(stack, at.site, _group(model.gateway))},
        "concurrency": _group(model.concurrency),
        "tokens": _group(model.tokens),
        "access": {
            **_clients(stack, at),
            "metrics_namespaces": stack.metrics_namespaces,
            "adapter_namespace": stack.metrics_adapter.namespace if has_adapter(stack) else None,
            **asked_by(stack),
            "reporters": afar.reporters_of(stack, at.site_key, at.model_key),
        },
        "placement": {
            **_group(model.placement),
            "node_selector": selector,
            "tolerations": [*map(_group, tolerations), *(on.tolerations if on else ())],
        },
        "dns": dns_of(at.site),
        "service": _group(model.service),
        "termination": _group(model.termination),
        "probes": _group(model.probes),
        "rollout": _group(model.rollout),
        # On SageMaker something else counts instances; see endpoints.py.
        "replicas": 1 if at.site.sagemaker else model.replicas,
        "autoscaled": model.autoscaling is not None and not at.site.sagemaker,
        "sleeps": at.sleeps or None,
        "gpu": _gpu(stack, at),
        "api_keys": given.api_keys,
        "api_keys_secret": stack.api_keys_secret,
        "image_pull_secrets": stack.images.pull_secrets,
        "variant": model.variant,
    }
    # The components check every key and value of it; a TypedDict cannot say so about a dict that is built up.
    return cast("ModelServerArgs", args)


def routed_by(router: Router) -> list[str]:
    """Keys of the models that a router serves, in the order of their first mention."""
    hybrid = [router.hybrid.model] if router.hybrid else []
    named = [*hybrid, *router.weights, *(model for route in router.routes for model in route.weights)]
    return [*dict.fromkeys(named)]


def only_through(stack: Stack, at: Placed) -> list[str]:
    """Routers through which alone clients reach a model; none where it has an entrance of its own."""
    inside = at.model.service is None or at.model.service.type in {None, "ClusterIP"}
    return _routers(stack, at) if inside else []


def _routers(stack: Stack, at: Placed) -> list[str]:
    return [
        key
        for key, router in stack.routers.items()
        if router.site == at.site_key and at.model_key in routed_by(router)
    ]


def _clients(stack: Stack, at: Placed) -> dict[str, Any]:
    """Who may come in: routers, if there are any, and clients where there is none or a Service for them."""
    if beyond := afar.beyond_of(stack, at.beyond):
        return {"client_cidrs": beyond.cidrs}
    if inside := only_through(stack, at):
        return {"routers": inside}
    routers = _routers(stack, at)
    return {
        "client_cidrs": stack.clients.cidrs,
        "client_namespaces": stack.clients.namespaces,
        "public_reason": stack.clients.public_reason,
        **({"routers": routers} if routers else {}),
    }


def _gpu(stack: Stack, at: Placed) -> dict[str, Any] | None:
    if not at.gpus and at.model.gpu is None:
        return None
    resource = {"resource": accelerator(at.accelerator).resource} if at.accelerator in accelerators() else {}
    simulated = {"simulated": stack.environment == "local"}
    given = {} if at.site.sagemaker else _group(at.model.gpu)
    return {**simulated, **resource, "count": at.gpus, **given}


def autoscaler_args(
    at: Placed, namespace: pulumi.Input[str], deployment: pulumi.Input[str], server: pulumi.Input[str]
) -> AutoscalerArgs:
    """Args of the `Autoscaler` of a model at a site; only where the model has `autoscaling`."""
    scaling = _group(at.model.autoscaling)
    fewest = scaling.pop("min")
    for held_by_the_router in ("hold_seconds", "hold_most"):
        scaling.pop(held_by_the_router, None)
    running = {"running_target": float(at.model.concurrency.slots)} if at.by_queue else {}
    args = {
        "namespace": namespace,
        "deployment": deployment,
        "server": server,
        "min_replicas": fewest,
        "max_replicas": scaling.pop("max"),
        "gpu_count": at.gpus,
        **({"wakes": True} if fewest <= 0 else {}),
        **running,
        **scaling,
    }
    return cast("AutoscalerArgs", args)


_NO_PROMETHEUS = "http://prometheus.invalid"
"""Where none is named, which a rule of its own says."""


def keda_args(stack: Stack, args: AutoscalerArgs) -> KedaAutoscalerArgs:
    """Args of the `KedaAutoscaler` instead, from those of the `Autoscaler`."""
    kept = {key: value for key, value in args.items() if key not in {"metric", "gpu_count"}}
    return cast(
        "KedaAutoscalerArgs", {**kept, "prometheus": stack.metrics_adapter.prometheus or _NO_PROMETHEUS}
    )


def by_keda(stack: Stack, at: Placed) -> bool:
    """Whether KEDA scales a model: where the clusters have it, and the queue is what is followed."""
    return stack.metrics_adapter.mode == "keda" and at.by_queue


def has_adapter(stack: Stack) -> bool:
    """Whether a metrics adapter of ours is in the stack's clusters, this stack's or another's."""
    return stack.metrics_adapter.mode in {"owned", "existing"}


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
    if adapter.mode == "owned":
        args |= asked_by(stack)
    if adapter.api_server_cidrs:
        args["api_server_cidrs"] = adapter.api_server_cidrs
    return cast("MetricsAdapterArgs", args)


def asked_by(stack: Stack) -> dict[str, str]:
    """Which Prometheus reads metrics."""
    namespace = monitoring_parts.asking_namespace(stack)
    return {"prometheus_namespace": namespace} if namespace else {}


def _group(settings: Settings | None) -> dict[str, Any]:
    """A group of settings as args: the same keys in snake case, what is absent left out."""
    return settings.model_dump(exclude_none=True) if settings else {}
