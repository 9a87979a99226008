"""What a model server can be told.

A value may be a `pulumi.Output`; one whose type is not `pulumi.Input` must be known when the program runs,
since it decides which objects there are.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import pulumi


class ResourcesArgs(TypedDict):
    """CPU and memory of one container, as Kubernetes quantities such as "500m" and "16Gi"."""

    cpu_request: pulumi.Input[str]
    """CPUs that the scheduler reserves. Without enough, a neighbour's burst slows the engine."""
    memory_request: pulumi.Input[str]
    """Memory that the scheduler reserves."""
    memory_limit: pulumi.Input[str]
    """Memory above which the container is killed."""
    cpu_limit: NotRequired[pulumi.Input[str]]
    """CPUs above which it is throttled; a CPU engine takes as many threads. Default: none."""


class GpuArgs(TypedDict):
    """Accelerators of each replica."""

    count: pulumi.Input[int]
    """How many per replica, 0 to 16; 0 is none."""
    resource: NotRequired[pulumi.Input[str]]
    """The device plugin's resource. Default: nvidia.com/gpu. Its NoSchedule taint is tolerated."""
    simulated: NotRequired[bool]
    """They exist for the scheduler only. Shown as a label; an engine for CPUs may hold them. Default:
    False."""


class ModelArgs(TypedDict):
    """The model that is served."""

    key: pulumi.Input[str]
    """Short name for labels, such as smollm2."""
    id: pulumi.Input[str]
    """Its published name, which clients ask for."""
    revision: pulumi.Input[str]
    """The exact revision; never a branch."""
    format: NotRequired[str]
    """Format of its weights: gguf or safetensors. Default: gguf for packaged weights, else safetensors.
    The engine must load it."""


class WeightsFileArgs(TypedDict):
    """One file of a repository, as `berth weights pin` writes it."""

    path: pulumi.Input[str]
    """Its path in the repository. No pickle, no code: .safetensors, .gguf, and what configuration and
    tokenizer are made of."""
    size: pulumi.Input[int]
    """Its size in bytes."""
    sha256: pulumi.Input[str]
    """Its SHA-256."""


class WeightsArgs(TypedDict):
    """Where the weights come from and where they lie, mounted at /models (read-only for the engine).

    packaged: an image of ours carries the one file. hub: the fetcher downloads the files of one revision and
    compares each digest; what is there already is not downloaded again. volume: a claim that was filled
    before; nothing is written, every digest is compared. s3, gcs, oci: as hub, from a folder of a bucket, or
    from an artifact in a registry with one layer per file.
    """

    image: pulumi.Input[str]
    """Image of the fetcher."""
    source: str
    """packaged:<what>, such as packaged:smollm2-135m-instruct-q4_1; hub; s3, gcs or oci; or volume."""
    file: NotRequired[pulumi.Input[str]]
    """Name of the weights' file: needed where the format is gguf, refused elsewhere."""
    sha256: NotRequired[pulumi.Input[str]]
    """The file's SHA-256, compared before the engine starts. Only, and needed, with packaged."""
    repo: NotRequired[pulumi.Input[str]]
    """Repository of the hub, <owner>/<name>. Not with packaged."""
    revision: NotRequired[pulumi.Input[str]]
    """Its commit, 40 hexadecimal digits. Not with packaged."""
    files: NotRequired[pulumi.Input[Sequence[WeightsFileArgs]]]
    """Every file that is served, with size and digest: the keys of stacks/weights/<model>.yaml. Not with
    packaged."""
    url: NotRequired[pulumi.Input[str]]
    """s3://<bucket>/<folder>, gs://<bucket>/<folder>, or oci://<host>/<repository>@sha256:<digest>. Only, and
    needed, with s3, gcs and oci."""
    endpoint: NotRequired[pulumi.Input[str]]
    """Another server than the cloud's that speaks its store's API. Only with s3 and gcs."""
    region: NotRequired[pulumi.Input[str]]
    """Of the bucket. Only, and needed, with s3."""
    credentials_secret: NotRequired[pulumi.Input[str]]
    """A Secret that exists: for s3 with entries AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, for gcs with
    key.json of a service account, for oci of type kubernetes.io/dockerconfigjson. Default: none."""
    identity: NotRequired[str]
    """eks or gke: the service account's own identity in the cloud; opens the way to the one address that
    hands it out. Only with s3 and gcs, without credentials_secret. Default: the bucket is public."""
    path: NotRequired[pulumi.Input[str]]
    """Folder of the files in the volume. Only, and needed, with volume."""
    hub_url: NotRequired[pulumi.Input[str]]
    """The hub, or a mirror that speaks its API. Default: https://huggingface.co. Only with hub."""
    hub_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Where the hub and its storage are. Default: every public address, since a hub tells none of its own. A
    network policy is the whole pod's, so the engine and the gateway may go there too; clouds' metadata
    servers and private networks stay closed. Not with packaged and volume."""
    token_secret: NotRequired[pulumi.Input[str]]
    """A Secret that exists, whose entry `token` is the hub's token: for models behind a licence. Only with
    hub."""
    fetch_seconds: NotRequired[pulumi.Input[int]]
    """How long the download may take, 60 to 86400 s; a rollout waits as long. Default: 3600. Not with
    packaged and volume."""
    storage: NotRequired[str]
    """ephemeral (a volume per pod, default), empty-dir (a part of the node's own disk, which needs no volume
    to be made and attached: a pod starts sooner), claim (one that exists), or new-claim (made here, shared by
    the pods)."""
    size: NotRequired[pulumi.Input[str]]
    """Size of the volume that is made; of empty-dir also what the pod asks of a node's disk. Default: 1Gi, or
    room for the files. Not with claim."""
    storage_class: NotRequired[pulumi.Input[str]]
    """Its storage class. Default: the cluster's. Not with claim and empty-dir."""
    access_mode: NotRequired[pulumi.Input[str]]
    """Of new-claim: ReadWriteMany (default), or ReadWriteOnce, which only one replica can use."""
    claim_name: NotRequired[pulumi.Input[str]]
    """Name of the PersistentVolumeClaim that exists. Only with claim."""
    resources: NotRequired[ResourcesArgs]
    """Of the fetcher. Default: 100m and 64Mi, at most 256Mi."""


class EngineArgs(TypedDict):
    """The engine, which runs beside the gateway and listens on loopback."""

    name: str
    """Its name in the catalogue, such as llama.cpp."""
    image: pulumi.Input[str]
    """Its image."""
    resources: ResourcesArgs
    """Its CPU and memory."""
    threads: NotRequired[pulumi.Input[int]]
    """Threads it computes with, 0 to 1024. Default: 0, as many as its CPU limit. Only llama.cpp."""
    tensor_parallel: NotRequired[pulumi.Input[int]]
    """Devices that each layer is cut over; a NeuronCore is a device. Default: all of the replica's. Fewer
    where the number does not divide the model's heads: layers are spread over the rest (vLLM on GPUs,
    SGLang). Not llama.cpp."""
    dtype: NotRequired[pulumi.Input[str]]
    """Type it computes in: bfloat16, float16, or auto (vLLM, SGLang). Default: the weights'. Not
    llama.cpp."""
    quantisation: NotRequired[pulumi.Input[str]]
    """How the weights are, or are to be, quantised, such as fp8 or awq; the catalogue names what each engine
    takes. Default: as the weights say."""
    kv_cache_dtype: NotRequired[pulumi.Input[str]]
    """Type of the cache of keys and values, such as fp8_e5m2. Default: the one it computes in."""
    memory_fraction: NotRequired[pulumi.Input[float]]
    """Share of the accelerator's memory that it takes, above 0 to 1. Default: the engine's own."""
    prefix_caching: NotRequired[pulumi.Input[bool]]
    """Whether prompts that begin alike share their cache. Default: the engine's own."""
    shared_memory: NotRequired[pulumi.Input[str]]
    """Size of /dev/shm, which its processes talk over; counts as its memory. Default: by engine. Not
    llama.cpp."""
    scratch: NotRequired[pulumi.Input[str]]
    """Size of its writable /scratch: compiled kernels. Default: by engine. Not llama.cpp."""


class EgressArgs(TypedDict):
    """A place outside the pod that it may go to."""

    namespace: NotRequired[pulumi.Input[str]]
    """A namespace, all of whose pods are meant unless app says which. Either this or cidr."""
    app: NotRequired[pulumi.Input[str]]
    """With namespace: only pods whose label app.kubernetes.io/name is this. Default: all of them."""
    cidr: NotRequired[pulumi.Input[str]]
    """An address range, without the clouds' metadata addresses."""
    port: pulumi.Input[int]
    """TCP port."""


class GatewayArgs(TypedDict):
    """The gateway, which speaks to clients."""

    image: pulumi.Input[str]
    """Its image."""
    resources: NotRequired[ResourcesArgs]
    """Its CPU and memory. Default: 100m and 128Mi, at most 512Mi."""
    payload_limit_bytes: NotRequired[pulumi.Input[int]]
    """Largest body of a request, in bytes. Default: 2,000,000, as TGI's."""
    max_stop_sequences: NotRequired[pulumi.Input[int]]
    """Most stop sequences in one request. Default: 4, as TGI's."""
    log_level: NotRequired[pulumi.Input[str]]
    """debug, info (default), warning or error."""
    log_content: NotRequired[pulumi.Input[bool]]
    """Whether prompts and answers are in logs and traces, redacted. Default: no."""
    cost_per_hour: NotRequired[pulumi.Input[float]]
    """What a replica costs, in US dollars per hour, for the metrics of cost. Default: not told."""
    filters: NotRequired[pulumi.Input[Sequence[Mapping[str, Any]]]]
    """What may not come in or go out; see "Filters" in serving/README.md. Default: none."""
    otlp_endpoint: NotRequired[pulumi.Input[str]]
    """Collector of traces: its base URL, OTLP over HTTP. Needs egress. Default: no traces."""
    trace_sample: NotRequired[pulumi.Input[float]]
    """Share of the traces that begin here and are recorded, above 0, at most 1. Default: 1."""
    egress: NotRequired[Sequence[EgressArgs]]
    """Where the pod may go beside its weights: a collector, a moderation service. Default: nowhere."""
    tls_secret: NotRequired[pulumi.Input[str]]
    """A Secret that exists, of type kubernetes.io/tls: clients and probes speak HTTPS then; a new certificate
    counts without a restart. Metrics stay plain, behind the network policy. Default: HTTP."""


class ConcurrencyArgs(TypedDict):
    """How many requests a replica takes on."""

    slots: pulumi.Input[int]
    """Requests that the engine works on at once, 1 to 1024."""
    max_concurrent_requests: pulumi.Input[int]
    """Requests in the gateway: working plus waiting. One more gets 429 at once. At least slots."""
    queue_timeout_seconds: NotRequired[pulumi.Input[float]]
    """How long a request may wait for a slot. Default: 60."""


class TokensArgs(TypedDict):
    """Limits of one request, in tokens."""

    max_input: pulumi.Input[int]
    """Longest prompt. Less than max_total."""
    max_total: pulumi.Input[int]
    """Prompt and answer together: the engine's context per slot."""


class TerminationArgs(TypedDict):
    """How a replica ends, in whole seconds."""

    pre_stop_seconds: NotRequired[pulumi.Input[int]]
    """Serving goes on this long after the pod was taken out of the Service, until every proxy knows. Default:
    10. With type LoadBalancer and policy Local 35: a balancer drops a node only after its health check's
    interval times its threshold; set more where your cloud's takes longer."""
    drain_seconds: NotRequired[pulumi.Input[int]]
    """Then requests in flight may take this long to finish. Default: the queue timeout, at least
    60. Where it is shorter than the queue timeout, requests still queued then get 503 with Retry-After."""
    grace_seconds: NotRequired[pulumi.Input[int]]
    """Kubernetes kills after this long. Default and minimum: pre_stop + drain + 5."""


class ProbesArgs(TypedDict):
    """When a replica counts as started, ready and alive, in seconds."""

    startup_seconds: NotRequired[pulumi.Input[int]]
    """Budget for loading the model. Default: twice the measured load, at least what the engine's entry in the
    catalogue says (llama.cpp: 60). `pulumi up` waits as long
    as all replicas (10 where autoscaled) may take to be replaced with it, at least 600, at most a day."""
    measured_load_seconds: NotRequired[pulumi.Input[float]]
    """How long loading took where it was measured; a budget below twice that is refused."""
    readiness_period_seconds: NotRequired[pulumi.Input[int]]
    """How often /ready is asked, 1 to 60. Default: 2."""
    liveness_period_seconds: NotRequired[pulumi.Input[int]]
    """How often gateway and engine must show that they are alive, 1 to 15 (a wedged one restarts in 60 s at
    most). Default: 10."""


class RolloutArgs(TypedDict):
    """How new pods replace old ones."""

    max_surge: NotRequired[pulumi.Input[int]]
    """Pods above the wanted number. Default: 1. Set 0 where no spare accelerator exists."""
    max_unavailable: NotRequired[pulumi.Input[int]]
    """Pods below the wanted number. Default: 0. Must be 1 or more where max_surge is 0."""


class TolerationArgs(TypedDict):
    """A node taint that the pods accept."""

    key: pulumi.Input[str]
    """The taint's key."""
    value: NotRequired[pulumi.Input[str]]
    """The taint's value. Default: any."""
    effect: NotRequired[pulumi.Input[str]]
    """NoSchedule, PreferNoSchedule or NoExecute. Default: all."""


class PodTolerationArgs(TolerationArgs):
    """A toleration of a pod, as a pool gives it."""

    operator: NotRequired[pulumi.Input[str]]
    """Equal or Exists. Default: Equal where there is a value."""


class PlacementArgs(TypedDict):
    """Which nodes the pods run on."""

    node_selector: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """Labels that a node must have, such as a pool's node_selector."""
    tolerations: NotRequired[pulumi.Input[Sequence[PodTolerationArgs]]]
    """Taints that the pods accept, besides the accelerator's own, such as a pool's tolerations."""
    priority_class: NotRequired[pulumi.Input[str]]
    """A PriorityClass that exists. Default: the cluster's."""
    runtime_class: NotRequired[pulumi.Input[str]]
    """A RuntimeClass that exists, such as nvidia. Default: the node's."""
    spread: NotRequired[pulumi.Input[str]]
    """Replicas over nodes: preferred (default), or required (a pod waits rather than unbalance them). Over
    zones always preferred: required, a node without a zone label could take no pod."""


class ServiceArgs(TypedDict):
    """How clients reach the gateway."""

    type: NotRequired[str]
    """ClusterIP (default), NodePort or LoadBalancer."""
    port: NotRequired[pulumi.Input[int]]
    """The Service's port. Default: 80."""
    grpc_port: NotRequired[int]
    """The Service's port for gRPC (Open Inference Protocol). Default: none, and gRPC is not served."""
    node_port: NotRequired[pulumi.Input[int]]
    """Port on every node, 30000 to 32767. Only with NodePort. Default: the API server picks one."""
    external_traffic_policy: NotRequired[pulumi.Input[str]]
    """Local (default): the client's address is kept, so that the network policy sees it. Cluster: every node
    answers, but with its own address. Not with ClusterIP."""
    annotations: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """For a cloud's load balancer, such as an internal one."""


class AccessArgs(TypedDict):
    """Who may come in; everybody else is kept out."""

    client_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Address ranges of clients. Needed with NodePort and LoadBalancer, whose clients are in no namespace."""
    client_namespaces: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Namespaces of clients in the cluster."""
    routers: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Names of `Router`s of the namespace, whose pods may come in."""
    reporters: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Names of `SiteReporter`s of the namespace, whose pods may read metrics."""
    metrics_namespaces: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Namespaces that read metrics, any pod of theirs: such as that of a collector of your own."""
    adapter_namespace: NotRequired[pulumi.Input[str]]
    """Where the `MetricsAdapter` is: of its namespace only the adapter's pods may read. Default: none."""
    prometheus_namespace: NotRequired[pulumi.Input[str]]
    """Where a Prometheus is that reads metrics: of its namespace only pods with the label
    app.kubernetes.io/name: prometheus may, which the operator's carry as well. Default: none."""
    public_reason: NotRequired[pulumi.Input[str]]
    """Why the whole internet may come in. Without it 0.0.0.0/0 and ::/0 are refused, in pieces too, and so is
    a NodePort or LoadBalancer without client_cidrs."""


class ServiceAccountArgs(TypedDict):
    """The pods' identity. Its token is mounted nowhere."""

    annotations: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """For clouds that bind identities by annotation (GKE: iam.gke.io/gcp-service-account). Pod Identity of
    EKS needs none."""


class ModelServerArgs(TypedDict):
    """Args of `ModelServer`."""

    namespace: pulumi.Input[str]
    """The namespace, which exists."""
    model: ModelArgs
    """The model."""
    weights: WeightsArgs
    """Its weights."""
    engine: EngineArgs
    """The engine."""
    gateway: GatewayArgs
    """The gateway."""
    concurrency: ConcurrencyArgs
    """Requests at a time."""
    tokens: TokensArgs
    """Tokens per request."""
    access: AccessArgs
    """Who may come in."""
    name: NotRequired[pulumi.Input[str]]
    """Name of the objects. Default: the component's name."""
    replicas: NotRequired[pulumi.Input[int]]
    """How many, 1 to 1000. Not together with autoscaled."""
    autoscaled: NotRequired[bool]
    """An Autoscaler owns the number of replicas, so the Deployment does not say one. Default: False."""
    sleeps: NotRequired[bool]
    """That Autoscaler may take the last replica away: Pulumi does not wait for an endpoint of the Service.
    Default: False."""
    gpu: NotRequired[GpuArgs]
    """Accelerators. Default: none."""
    placement: NotRequired[PlacementArgs]
    """Nodes."""
    dns: NotRequired[str]
    """Who answers the names of what the pods may reach: pods of kube-system or a cache on each node (pods,
    default), or besides these EKS Auto Mode's nodes (eks) or Cloud DNS for GKE (gke), which answers at the
    metadata server's address, port 53."""
    service: NotRequired[ServiceArgs]
    """Entrance."""
    termination: NotRequired[TerminationArgs]
    """End of a replica."""
    probes: NotRequired[ProbesArgs]
    """Start and health of a replica."""
    rollout: NotRequired[RolloutArgs]
    """Updates."""
    api_keys: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """Keys of clients by name, kept as a secret. A change needs no new pods: it works after the kubelet's
    sync, up to about 90 s later. Until then a revoked key still works; deleting the pods is immediate."""
    api_keys_secret: NotRequired[pulumi.Input[str]]
    """Instead: a Secret that exists in the namespace, one key per entry."""
    allow_anonymous: NotRequired[bool]
    """Instead: no key at all, for trials. Default: False."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist, for the registry."""
    service_account: NotRequired[ServiceAccountArgs]
    """Identity."""
    variant: NotRequired[pulumi.Input[str]]
    """Name of this variant of the model, in labels and metrics. Default: main."""
