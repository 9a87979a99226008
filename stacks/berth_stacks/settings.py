"""The settings of a stack, typed. Limits of single values are the components' own checks, said once.

Keys in `Pulumi.<stack>.yaml` are the camelCase of the fields here, as config keys of the namespace `berth`.
A group
that a component has too (service, termination, …) has the same keys as there. Quantities and times carry
their unit
in the name or, as Kubernetes writes them, in the value.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from berth_components import checks
from berth_components.arguments import Refusal
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


@dataclass(frozen=True)
class Allowed:
    """A check of the components, as a constraint of a field."""

    check: Callable[[Any], Any]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Run the check before pydantic's own."""
        return core_schema.no_info_before_validator_function(self._run, handler(source))

    @property
    def described(self) -> str:
        """What it allows, in words."""
        try:
            self.check(None)
        except Refusal as refusal:
            return refusal.allowed
        return "a value"

    def _run(self, value: Any) -> Any:
        try:
            return self.check(value)
        except Refusal as refusal:
            context = {"allowed": refusal.allowed, "remedy": refusal.remedy}
            raise PydanticCustomError("berth", "{allowed}", context) from None


def _node_address(value: Any) -> str:
    return checks.text(r"[A-Za-z0-9.:-]{1,253}", "an address or host name, without scheme and port")(value)


Name = Annotated[str, Allowed(checks.dns_label)]
Text = Annotated[str, Allowed(checks.plain_text)]
Flag = Annotated[bool, Allowed(checks.boolean)]
Quantity = Annotated[str, Allowed(checks.quantity)]
Cidr = Annotated[str, Allowed(checks.cidr)]
LabelKey = Annotated[str, Allowed(checks.qualified_name)]
LabelValue = Annotated[str, Allowed(checks.label_value)]
Labels = dict[LabelKey, LabelValue]
# Numbers with limits that depend on the component: the component checks them, see rules.py.
Whole = Annotated[int, Allowed(checks.whole_number(-(10**12), 10**12))]
Number = Annotated[float, Allowed(checks.number(-1e12, 1e12))]


class Settings(BaseModel):
    """A group of settings: unknown keys are errors, values keep their type."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, strict=True)


class Cluster(Settings):
    """How a cluster is reached. The key `connections` says the same for machines that write settings."""

    kubeconfig: Text
    """Path, or contents (then better as a secret in `connections`)."""
    context: Text | None = None
    """Default: the kubeconfig's current context."""


class Toleration(Settings):
    """A taint that pods accept."""

    key: LabelKey
    value: LabelValue | None = None
    effect: Text | None = None


class Site(Settings):
    """A place where models are served."""

    cluster: Cluster | None = None
    node_address: Annotated[str, Allowed(_node_address)] | None = None
    """Where clients reach NodePorts: the address or name of a node. Without it none may be used."""
    namespace: Name | None = None
    """Default: the stack's."""
    simulated_gpus: Whole | None = None
    """Accelerators that exist for the scheduler only. Environment local alone may have them."""
    node_selector: Labels = {}
    """Nodes for all models of the site."""
    tolerations: list[Toleration] = []
    """Taints that all models of the site accept."""


class Resources(Settings):
    """CPU and memory of one container."""

    cpu_request: Quantity
    memory_request: Quantity
    memory_limit: Quantity
    cpu_limit: Quantity | None = None


class Engine(Settings):
    """The engine and what it may use."""

    name: Text = "llama.cpp"
    resources: Resources
    threads: Whole | None = None


class Gateway(Settings):
    """The gateway and what it may use."""

    resources: Resources | None = None
    payload_limit_bytes: Whole | None = None
    max_stop_sequences: Whole | None = None
    log_level: Text | None = None


class Weights(Settings):
    """The volume that the weights lie on."""

    storage: Text | None = None
    size: Quantity | None = None
    storage_class: Text | None = None
    access_mode: Text | None = None
    claim_name: Text | None = None
    resources: Resources | None = None


class Gpu(Settings):
    """Accelerators of each replica."""

    count: Whole
    resource: LabelKey | None = None


class Concurrency(Settings):
    """Requests at a time."""

    slots: Whole
    max_concurrent_requests: Whole
    queue_timeout_seconds: Number | None = None


class Tokens(Settings):
    """Tokens per request."""

    max_input: Whole
    max_total: Whole


class Termination(Settings):
    """How a replica ends."""

    pre_stop_seconds: Whole | None = None
    drain_seconds: Whole | None = None
    grace_seconds: Whole | None = None


class Probes(Settings):
    """When a replica counts as started, ready and alive."""

    startup_seconds: Whole | None = None
    measured_load_seconds: Number | None = None
    readiness_period_seconds: Whole | None = None
    liveness_period_seconds: Whole | None = None


class Rollout(Settings):
    """How new pods replace old ones."""

    max_surge: Whole | None = None
    max_unavailable: Whole | None = None


class Placement(Settings):
    """Which nodes the pods run on, besides what the site says."""

    node_selector: Labels = {}
    tolerations: list[Toleration] = []
    priority_class: Text | None = None
    runtime_class: Text | None = None
    spread: Text | None = None


class Service(Settings):
    """How clients reach the gateway."""

    type: Text | None = None
    port: Whole | None = None
    node_port: Whole | None = None
    external_traffic_policy: Text | None = None
    annotations: dict[LabelKey, Text] = {}


class Scaling(Settings):
    """Speed of scaling in one direction."""

    window_seconds: Whole | None = None
    pods: Whole | None = None
    period_seconds: Whole | None = None


class Autoscaling(Settings):
    """A number of replicas that follows the load."""

    max: Whole
    min: Whole = 1
    metric: Text | None = None
    target: Number | None = None
    running_target: Number | None = None
    """Default, with metric queue_depth: the engine's slots, so that busy replicas are not taken away."""
    scale_up: Scaling | None = None
    scale_down: Scaling | None = None


class Model(Settings):
    """One model, served at one site or more."""

    model: Text
    """Its name in the catalogue."""
    sites: list[Text]
    """Where it is served: keys of `sites`."""
    engine: Engine
    concurrency: Concurrency
    tokens: Tokens
    replicas: Whole | None = None
    autoscaling: Autoscaling | None = None
    gateway: Gateway | None = None
    gpu: Gpu | None = None
    weights: Weights | None = None
    placement: Placement | None = None
    service: Service | None = None
    termination: Termination | None = None
    probes: Probes | None = None
    rollout: Rollout | None = None
    variant: Name | None = None


class Clients(Settings):
    """Who may send requests; everybody else is kept out."""

    cidrs: list[Cidr] = []
    namespaces: list[Name] = []
    public_reason: Text | None = None


class Images(Settings):
    """Which images run; `./berth up local` and `./berth images pin` say so."""

    refs: dict[str, Annotated[str, Allowed(checks.image)]] = {}
    """By role, such as model-server."""
    registry: Text | None = None
    """Where `./berth images push` and `pin` find them; the references say it again."""
    pull_secrets: list[Name] = []
    """Secrets that exist in the namespaces, for the registry."""


class MetricsAdapter(Settings):
    """Who brings queue depths to the autoscalers of the sites' clusters."""

    mode: Literal["owned", "existing", "none"] = "owned"
    """owned: this stack, one per cluster. existing: another stack. none: nothing scales by queue depth."""
    namespace: Name = "berth-metrics"
    replicas: Whole | None = None
    """Only with owned. Default: 1, in production 2."""
    api_server_cidrs: list[Cidr] = []
    """Only with owned: who may call it and be called. Default: any address but the clouds' metadata
    servers'."""


class Stack(Settings):
    """Everything that a stack says, except `apiKeys` and `connections`, which may be secret."""

    environment: Literal["local", "development", "production"]
    """What is allowed: local alone simulates hardware, production refuses tags, single replicas and the
    like."""
    sites: dict[str, Site]
    models: dict[str, Model]
    clients: Clients
    images: Images = Images()
    metrics_adapter: MetricsAdapter = MetricsAdapter()
    namespace: Name | None = None
    """Namespace of the model servers at every site. Default: berth-<stack>."""
    metrics_namespaces: list[Name] = []
    """Further namespaces that may read metrics, such as Prometheus'."""
    api_keys_secret: Text | None = None
    """A Secret that exists in the namespaces, instead of `apiKeys`."""
