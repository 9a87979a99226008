"""The settings of a stack, typed.

Keys in `Pulumi.<stack>.yaml` are the camelCase of the fields here, as config keys of the namespace `berth`.
A group that a component has too (service, termination, …) has the same keys as there. Quantities and times
carry their unit in the name or, as Kubernetes writes them, in the value.
"""

from typing import Annotated, Any, Literal

from berth_components import checks
from pydantic import Field

from berth_stacks.containers import Egress, Resources
from berth_stacks.fields import (
    Allowed,
    Cidr,
    Flag,
    Image,
    LabelKey,
    Labels,
    Name,
    NodeAddress,
    Number,
    Quantity,
    Settings,
    Text,
    Whole,
    limits,
    within,
    words,
)
from berth_stacks.grounds import Cluster, DevicePlugins, Pool, Toleration
from berth_stacks.grounds_aws import Eks, SageMaker
from berth_stacks.grounds_gcp import Gke
from berth_stacks.hybrid_settings import Domain
from berth_stacks.monitoring_settings import Monitoring
from berth_stacks.plan_settings import Override, PlannedLoad
from berth_stacks.router_settings import Router

_HOUR = 3600
_SUFFIX = "at most 20 lower-case letters, digits and '-', with neither end '-'"


class SimulatedNodes(Settings):
    """Nodes that stand for a pool, on a local cluster: their accelerators exist for the scheduler only."""

    gpus: Annotated[Whole, within(1, 16)]
    """Accelerators of each. They are tainted as GPU nodes are, so that nothing else runs there."""
    count: Annotated[Whole, within(1, 8)] = 1
    """How many. Default: 1."""


class Site(Settings):
    """A place where models are served: on exactly one ground."""

    cluster: Cluster | None = None
    """Ground: a cluster that is there, own hardware or any other, or one that another stack makes."""
    eks: Eks | None = None
    """Ground: a cluster on EKS."""
    gke: Gke | None = None
    """Ground: a cluster on GKE."""
    sagemaker: SageMaker | None = None
    """Ground: endpoints on SageMaker, without a cluster."""
    pools: dict[Name, Pool] = Field(default_factory=dict)
    """Nodes with accelerators, by name. Default: none; models without a pool run on any node."""
    device_plugins: DevicePlugins | None = None
    """What makes the pools' accelerators known to the scheduler. Default: managed on EKS, else existing."""
    node_address: NodeAddress | None = None
    """Where clients reach NodePorts: the address or name of a node. Default: none, so none may be used."""
    namespace: Name | None = None
    """Namespace of the site's model servers. Default: the stack's."""
    simulated_gpus: Annotated[Whole, limits(0, 1000)] | None = None
    """Accelerators that exist for the scheduler only, in environment local alone. Default: none."""
    simulated_nodes: SimulatedNodes | None = None
    """Nodes that `./berth up` adds, in environment local alone; the site's models run on them. Default: none;
    models run on the cluster's first node."""
    local_cluster: (
        Annotated[Text, Allowed(checks.text(r"[a-z0-9]([-a-z0-9]{0,18}[a-z0-9])?", _SUFFIX))] | None
    ) = None
    """Which cluster of this machine, in environment local alone: it is called as the usual one, with '-' and
    this behind. Default: the usual one."""
    scale_to_zero: Flag | None = None
    """Whether API server and controller manager of the cluster run with the feature gate HPAScaleToZero,
    which autoscaling.min 0 needs without KEDA. Not on EKS and GKE. Default: true in environment local, whose
    clusters do; else false."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels of the nodes that all models of the site run on. Default: any node."""
    tolerations: list[Toleration] = Field(default_factory=list)
    """Taints that all models of the site accept. Default: none but the accelerator's own."""


class Engine(Settings):
    """The engine and what it may use."""

    name: Text = "llama.cpp"
    """Its name in the catalogue. Default: llama.cpp, which needs no accelerator."""
    resources: Resources | None = None
    """CPU and memory of the engine's container. Needed but on SageMaker, where nobody shares."""
    threads: Annotated[Whole, limits(0, 1024)] | None = None
    """Threads it computes with. Default: as many as its CPU limit. Only llama.cpp."""
    tensor_parallel: Annotated[Whole, limits(1, 512)] | None = None
    """Devices that each layer is cut over; a NeuronCore is a device. Default: all of the replica's. Not
    llama.cpp."""
    dtype: Annotated[Text, words("auto", "bfloat16", "float16")] | None = None
    """Type it computes in. Default: the weights'. Not llama.cpp."""
    quantisation: Text | None = None
    """How the weights are, or are to be, quantised, such as fp8. Default: as the weights say."""
    kv_cache_dtype: Text | None = None
    """Type of the cache of keys and values, such as fp8. Default: the one it computes in."""
    memory_fraction: Annotated[Number, limits(0, 1, "a number")] | None = None
    """Share of the accelerator's memory that it takes, above 0. Default: the engine's own."""
    prefix_caching: Flag | None = None
    """Whether prompts that begin alike share their cache. Default: the engine's own."""
    shared_memory: Quantity | None = None
    """Size of /dev/shm; counts as its memory. Default: the engine's own. Not llama.cpp."""
    scratch: Quantity | None = None
    """Size of its writable /scratch, for compiled kernels. Default: the engine's own. Not llama.cpp."""


class Gateway(Settings):
    """The gateway and what it may use."""

    resources: Resources | None = None
    """Its CPU and memory. Default: 100m and 128Mi, at most 512Mi."""
    payload_limit_bytes: Annotated[Whole, limits(1024, 1_000_000_000)] | None = None
    """Largest body of a request, in bytes. Default: 2,000,000, as TGI's."""
    max_stop_sequences: Annotated[Whole, limits(0, 64)] | None = None
    """Most stop sequences in one request. Default: 4, as TGI's."""
    log_level: Annotated[Text, words("debug", "info", "warning", "error")] | None = None
    """How much it logs. Default: info."""
    log_content: Flag | None = None
    """Whether prompts and answers are in logs and traces, redacted. Default: false."""
    cost_per_hour: Annotated[Number, limits(0.0001, 100_000)] | None = None
    """What a replica costs, in US dollars per hour, for the metrics of cost. Default: not told."""
    filters: list[dict[str, Any]] | None = None
    """What may not come in or go out, as serving/README.md describes. Default: nothing is filtered."""
    otlp_endpoint: Text | None = None
    """Collector of traces: its base URL, OTLP over HTTP. Needs egress. Default: no traces."""
    trace_sample: Annotated[Number, limits(0.0001, 1)] | None = None
    """Share of the traces that begin here and are recorded. Default: 1."""
    tls_secret: Name | None = None
    """A Secret that exists, of type kubernetes.io/tls: clients and probes speak HTTPS then. Default: HTTP."""
    tls_ca_secret: Name | None = None
    """Behind a router, with tlsSecret: a Secret that exists, whose entry ca.crt signed that certificate; it
    may be the same Secret. Needed for a name of the cluster. Default: the public authorities."""
    tls_server_name: Domain | None = None
    """Behind a router, with tlsSecret: the DNS name that its certificate carries. Default: the Service's,
    <model>.<namespace>.svc."""
    egress: list[Egress] | None = None
    """Where the pod may go beside its weights: a collector, a moderation service. Default: nowhere."""


class Weights(Settings):
    """Where the weights come from, and the volume that they lie on."""

    source: Annotated[Text, words("hub", "s3", "gcs", "oci", "volume")] | None = None
    """Of models from a hub: hub downloads the pinned files; s3 and gcs take them from a bucket's folder, oci
    from an artifact with a layer per file; volume takes a claim that was filled before. Every digest is
    compared. Default: hub."""
    url: Text | None = None
    """Only, and needed, with s3, gcs and oci: s3://<bucket>/<folder>, gs://<bucket>/<folder>, or
    oci://<host>/<repository>@sha256:<digest>."""
    region: Text | None = None
    """Only, and needed, with s3: the bucket's."""
    endpoint: Text | None = None
    """Only with s3 and gcs: another server that speaks the store's API. Default: the cloud's."""
    credentials_secret: Name | None = None
    """With s3, gcs and oci: a Secret that exists, with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or
    key.json, or of type kubernetes.io/dockerconfigjson. Default: none, the files are public."""
    identity: Flag | None = None
    """With s3 on EKS, with gcs on GKE: whether the pods get an identity of their own, made here, that
    reads the folder, or the bucket. Default: false."""
    path: Text | None = None
    """With source volume: folder of the files in it."""
    hub_url: Text | None = None
    """With hub: the hub, or a mirror that speaks its API. Default: https://huggingface.co."""
    hub_cidrs: list[Cidr] = Field(default_factory=list)
    """With all but volume: where the hub, store or registry is. Default: every public address."""
    token_secret: Name | None = None
    """With hub: a Secret that exists, with the hub's token as entry `token`, for models behind a licence.
    Default: none."""
    fetch_seconds: Annotated[Whole, limits(60, 86_400)] | None = None
    """With all but volume: how long the download may take, in seconds. Default: 3600."""
    storage: Annotated[Text, words("ephemeral", "empty-dir", "claim", "new-claim")] | None = None
    """ephemeral: a volume per pod. empty-dir: the node's own disk, where a pod starts sooner. claim: one that
    exists. new-claim: made here, shared by the pods. Default: ephemeral, which every cluster has."""
    size: Quantity | None = None
    """Size of the volume that is made; with empty-dir also what is asked of a node's disk. Default: 1Gi, or
    room for the files. Not with claim."""
    storage_class: Text | None = None
    """Its storage class. Default: the cluster's; on TPU v6e and H200 of a GKE cluster that is made here its
    class for Hyperdisk, since they take no other disk. Not with claim and empty-dir."""
    access_mode: Annotated[Text, words("ReadWriteMany", "ReadWriteOnce")] | None = None
    """Of new-claim. Default: ReadWriteMany; ReadWriteOnce can be used by one replica only."""
    claim_name: Text | None = None
    """Name of the claim that exists. Only with claim."""
    resources: Resources | None = None
    """CPU and memory of the fetcher. Default: 100m and 64Mi, at most 256Mi."""


class Gpu(Settings):
    """Accelerators of each replica."""

    count: Annotated[Whole, limits(0, 16)]
    """How many per replica; 0 is none."""
    resource: LabelKey | None = None
    """The device plugin's resource. Default: the pool's accelerator's; without a pool nvidia.com/gpu."""


class Concurrency(Settings):
    """Requests at a time."""

    slots: Annotated[Whole, limits(1, 1024)]
    """Requests that the engine works on at once."""
    max_concurrent_requests: Annotated[Whole, limits(1, 100_000)]
    """Requests in the gateway, working plus waiting. One more gets 429 at once. At least slots."""
    queue_timeout_seconds: Annotated[Number, limits(0, _HOUR, "a number")] | None = None
    """How long a request may wait for a slot, in seconds above 0. Default: 60."""


class Tokens(Settings):
    """Tokens per request."""

    max_input: Annotated[Whole, limits(1, 10_000_000)]
    """Longest prompt, in tokens. Less than maxTotal."""
    max_total: Annotated[Whole, limits(2, 10_000_000)]
    """Prompt and answer together, in tokens: the engine's context per slot."""


class Termination(Settings):
    """How a replica ends."""

    pre_stop_seconds: Annotated[Whole, limits(0, 300)] | None = None
    """Serving goes on this long after the pod left the Service, until every proxy knows. Default: 10;
    behind a LoadBalancer that asks each node, 35."""
    drain_seconds: Annotated[Whole, limits(1, _HOUR)] | None = None
    """Then requests in flight may take this long. Default: the queue timeout, at least 60."""
    grace_seconds: Annotated[Whole, limits(1, 2 * _HOUR)] | None = None
    """Kubernetes kills after this long. Default and minimum: preStop + drain + 5 seconds."""


class Probes(Settings):
    """When a replica counts as started, ready and alive."""

    startup_seconds: Annotated[Whole, limits(10, 4 * _HOUR)] | None = None
    """Budget for loading the model, in seconds. Default: twice the measured load, at least what the engine
    usually needs."""
    measured_load_seconds: Annotated[Number, limits(0, 2 * _HOUR, "a number")] | None = None
    """How long loading took where it was measured; a budget below twice that is refused. Default: unknown."""
    readiness_period_seconds: Annotated[Whole, limits(1, 60)] | None = None
    """How often /ready is asked, in seconds. Default: 2."""
    liveness_period_seconds: Annotated[Whole, limits(1, 15)] | None = None
    """How often gateway and engine must show that they are alive. Default: 10: a wedged one restarts within
    60 s."""


class Rollout(Settings):
    """How new pods replace old ones."""

    max_surge: Annotated[Whole, limits(0, 100)] | None = None
    """Pods above the wanted number. Default: 1. Set 0 where no spare accelerator exists."""
    max_unavailable: Annotated[Whole, limits(0, 100)] | None = None
    """Pods below the wanted number. Default: 0. Must be 1 or more where maxSurge is 0."""


class Placement(Settings):
    """Which nodes the pods run on, besides what the pool and the site say."""

    node_selector: Labels = Field(default_factory=dict)
    """Labels that a node must have. Default: the pool's and the site's."""
    tolerations: list[Toleration] = Field(default_factory=list)
    """Taints that the pods accept. Default: the pool's and the site's."""
    priority_class: Text | None = None
    """A PriorityClass that exists. Default: the cluster's."""
    runtime_class: Text | None = None
    """A RuntimeClass that exists, such as nvidia. Default: the node's."""
    spread: Annotated[Text, words("preferred", "required")] | None = None
    """Replicas over nodes. Default: preferred; required lets a pod wait rather than unbalance them."""


class Service(Settings):
    """How clients reach the gateway."""

    type: Annotated[Text, words("ClusterIP", "NodePort", "LoadBalancer")] | None = None
    """Kind of Service. Default: ClusterIP: clients in the cluster only."""
    port: Annotated[Whole, limits(1, 65535)] | None = None
    """The Service's port. Default: 80."""
    grpc_port: Annotated[Whole, limits(1, 65535)] | None = None
    """The Service's port for gRPC (Open Inference Protocol). Default: none, and gRPC is not served."""
    node_port: Annotated[Whole, limits(30000, 32767)] | None = None
    """Port on every node. Only with NodePort. Default: the API server picks one."""
    external_traffic_policy: Annotated[Text, words("Local", "Cluster")] | None = None
    """Local keeps the client's address, so that the network policy sees it. Default: Local. Not with
    ClusterIP."""
    annotations: dict[LabelKey, Text] = Field(default_factory=dict)
    """For a cloud's load balancer, such as an internal one. Default: none."""


class Scaling(Settings):
    """Speed of scaling in one direction."""

    window_seconds: Annotated[Whole, limits(0, _HOUR)] | None = None
    """The signal must hold this long. Default: up 30, so that a blip starts no GPU; down 300."""
    pods: Annotated[Whole, limits(1, 1000)] | None = None
    """Most pods per period. Default: up 2, down 1."""
    period_seconds: Annotated[Whole, limits(1, 1800)] | None = None
    """The period, in seconds. Default: up 60, down 120."""


class Autoscaling(Settings):
    """A number of replicas that follows the load."""

    max: Annotated[Whole, limits(1, 1000)]
    """Most replicas."""
    min: Annotated[Whole, limits(0, 1000)] = 1
    """Fewest replicas. Default: 1; production needs 2. 0 for a model behind a router of its site, which holds
    what arrives until a replica is ready; needs metricsAdapter.mode keda, or a site's scaleToZero."""
    hold_seconds: Annotated[Whole, limits(1, 86_400)] | None = None
    """Only with min 0: each request waits at most so long for the first replica, in seconds. Longer than one
    takes to start, with its node. Default: 300."""
    hold_most: Annotated[Whole, limits(1, 1000)] | None = None
    """Only with min 0: so many wait at once in each replica of the router. Default: what the gateway of one
    replica takes (maxConcurrentRequests), shared by the router's replicas, at most 100."""
    metric: Annotated[Text, words("queue_depth", "cpu")] | None = None
    """What it follows. Default: queue_depth; CPU load of GPU engines says little of their load."""
    target: Number | None = None
    """Waiting requests per replica, or percent of the CPU request. Default: 4 waiting, or 70 %."""
    running_target: Number | None = None
    """With queue_depth: running requests per replica. Default: the engine's slots, so that busy replicas are
    not taken away."""
    scale_up: Scaling | None = None
    """Upwards. Default: fast."""
    scale_down: Scaling | None = None
    """Downwards. Default: slow."""


class Model(Settings):
    """One model, served at one site or more."""

    model: Text
    """Its name in the catalogue."""
    sites: list[Text]
    """Where it is served: keys of `sites`."""
    engine: Engine
    """What computes it."""
    concurrency: Concurrency
    """Requests at a time."""
    tokens: Tokens
    """Tokens per request."""
    replicas: Annotated[Whole, limits(1, 1000)] | None = None
    """How many. Default: none; give this or autoscaling."""
    autoscaling: Autoscaling | None = None
    """A number that follows the load. Default: none; give this or replicas."""
    pool: Text | None = None
    """The pool that it runs on: a key of `pools` at each of its sites. Default: any node."""
    gateway: Gateway | None = None
    """What speaks to clients. Default: as the gateway's own."""
    gpu: Gpu | None = None
    """Accelerators of each replica. Default: with a pool 1, else none."""
    weights: Weights | None = None
    """The volume of the weights. Default: one per pod."""
    placement: Placement | None = None
    """Further nodes. Default: the pool's and the site's."""
    service: Service | None = None
    """Entrance. Default: for clients in the cluster."""
    termination: Termination | None = None
    """End of a replica. Default: 10 s, then as long as a request may wait, at least 60 s."""
    probes: Probes | None = None
    """Start and health. Default: 60 s to start."""
    rollout: Rollout | None = None
    """Updates. Default: one new pod before an old one goes."""
    load: PlannedLoad | None = None
    """What the plan is for, at each of its sites. Default: none, and neither replicas nor their cost are
    predicted."""
    variant: Name | None = None
    """Name of this variant of the model, in labels and metrics. Default: main."""


class Clients(Settings):
    """Who may send requests; everybody else is kept out."""

    cidrs: list[Cidr] = Field(default_factory=list)
    """Address ranges of clients. Default: none; needed with NodePort and LoadBalancer."""
    namespaces: list[Name] = Field(default_factory=list)
    """Namespaces of clients in the cluster. Default: none."""
    public_reason: Text | None = None
    """Why the whole internet may come in. Default: none, and so it may not."""


class Images(Settings):
    """Which images run; `./berth up local` and `./berth images pin` say so."""

    refs: dict[str, Image] = Field(default_factory=dict)
    """References by role, such as model-server. Default: none; what lacks one is an open finding."""
    registry: Text | None = None
    """Where `./berth images push` and `pin` find them; the references say it again. Default: any."""
    pull_secrets: list[Name] = Field(default_factory=list)
    """Secrets that exist in the namespaces, for the registry. Default: none."""


class MetricsAdapter(Settings):
    """Who brings queue depths to the autoscalers of the sites' clusters."""

    mode: Literal["owned", "existing", "keda", "none"] = "owned"
    """owned: this stack, one per cluster. existing: another stack. keda: the clusters have KEDA, which claims
    the same API, so ours is left out. none: nothing scales by queue depth. Default: owned."""
    prometheus: Text | None = None
    """Only with keda, which needs it: address of the Prometheus that KEDA asks, http:// or https://."""
    namespace: Name = "berth-metrics"
    """Where it is. Default: berth-metrics."""
    replicas: Whole | None = None
    """Only with owned. Default: 1, in production 2."""
    api_server_cidrs: list[Cidr] = Field(default_factory=list)
    """Only with owned: who may call it and be called. Default: any address but the clouds' metadata
    servers'."""


class Stack(Settings):
    """Everything that a stack says, except what may be secret: `apiKeys`, `connections` and the like."""

    environment: Literal["local", "development", "production"]
    """What is allowed: local alone simulates hardware, production refuses tags, single replicas and the
    like."""
    sites: dict[str, Site]
    """Places where models are served, by name."""
    models: dict[str, Model] = Field(default_factory=dict)
    """What is served, by name. Default: nothing, for a stack that makes clusters for others."""
    clients: Clients = Clients()
    """Who may send requests. Default: nobody."""
    images: Images = Images()
    """Which images run. Default: none is known, which is an open finding."""
    metrics_adapter: MetricsAdapter = MetricsAdapter()
    """Who measures queue depths. Default: this stack."""
    monitoring: Monitoring = Monitoring()
    """Who watches, what counts as well, who is told. Default: nobody."""
    routers: dict[Name, Router] = Field(default_factory=dict)
    """Routers in front of several models of a site, by name. Default: none; clients ask each model."""
    namespace: Name | None = None
    """Namespace of the model servers at every site. Default: berth-<stack>."""
    metrics_namespaces: list[Name] = Field(default_factory=list)
    """Further namespaces that may read metrics, such as Prometheus'. Default: none."""
    api_keys_secret: Text | None = None
    """A Secret that exists in the namespaces, instead of `apiKeys`. Default: none."""
    overrides: list[Override] = Field(default_factory=list)
    """Findings of the plan that do not hold a deployment back, each with reason and last day. Default:
    none."""
