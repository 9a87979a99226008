"""The args of a `Router`. Every default is here, with its unit."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi

from berth_components.model_server_args import PlacementArgs, ResourcesArgs


class RouterHostArgs(TypedDict):
    """Gateways outside of the cluster."""

    address: pulumi.Input[str]
    """DNS name or address."""
    port: pulumi.Input[int]
    """TCP port."""


class RouterWakesArgs(TypedDict):
    """A model server that may have no replica: the router holds what arrives until it has one again.

    Bodies of all that waits are at most 128 MiB in each replica of the router; more get 503 at once.
    """

    hold_seconds: NotRequired[pulumi.Input[int]]
    """Each request at most so long, then 503 with retry-after; less than timeouts.stream_idle and
    timeouts.request. Default: 300."""
    most: NotRequired[pulumi.Input[int]]
    """So many at once in each replica of the router, 1 to 1000; more get 503 at once. Default: 100."""
    body_bytes: NotRequired[pulumi.Input[int]]
    """Larger bodies of requests are not kept: they wake it, and are asked to come again. 1,048,576 to
    8,388,608. Default: 2,000,000, the most that a `ModelServer` takes by default."""
    keys_secret: NotRequired[pulumi.Input[str]]
    """A Secret of the namespace with the keys that its gateways ask for, one per entry: nobody without one
    wakes it. Either this or allow_anonymous."""
    allow_anonymous: NotRequired[bool]
    """Instead: whoever reaches the router wakes it, as its gateways ask for no key. Default: False."""


class RouterBackendArgs(TypedDict):
    """The gateways of one model server: a Service of the namespace, or hosts elsewhere."""

    name: NotRequired[str]
    """One of the router's `backends`; nothing else is said beside it. Only among a variant's."""
    service: NotRequired[pulumi.Input[str]]
    """Name of a `ModelServer`; its ready pods are followed. Either this or hosts."""
    hosts: NotRequired[Sequence[RouterHostArgs]]
    """Gateways elsewhere, asked for their health every second."""
    tls_server_name: NotRequired[pulumi.Input[str]]
    """Name that their certificate carries. Default: they speak plain HTTP."""
    ca_secret: NotRequired[pulumi.Input[str]]
    """A Secret that exists, whose entry ca.crt signed it. Default: the public authorities. Only with
    tls_server_name."""
    asked: NotRequired[pulumi.Input[bool]]
    """Whether each gateway is asked for its health every second, beside what Kubernetes says, so that nobody
    waits for a lost node. Default: True of hosts, False of a Service."""
    wakes: NotRequired[RouterWakesArgs]
    """What is held while it has no ready pod, as the signal of its `Autoscaler` with min_replicas 0. Only
    with service. Default: nothing is held, requests get 503."""


class RouterVariantArgs(TypedDict):
    """One variant of a model."""

    backends: Sequence[RouterBackendArgs]
    """Who serves it; the later ones while the former cannot."""


class RouterRouteArgs(TypedDict):
    """How the requests that it takes are divided."""

    name: str
    """Its name."""
    weights: Mapping[str, pulumi.Input[float]]
    """Percent by variant, with at most two decimals; together 100."""
    headers: NotRequired[Mapping[str, pulumi.Input[str]]]
    """Takes requests with these headers, by exact value. Default: all."""
    keys: NotRequired[Sequence[str]]
    """Takes requests with one of these API keys, by name. Default: all."""
    sticky: NotRequired[pulumi.Input[str]]
    """key: a client's key stays with its variant. Or the name of a header that names the user. Default: each
    request for itself."""
    experiment: NotRequired[pulumi.Input[str]]
    """Salts the assignment, so that those of two experiments are independent. Default: the route's name."""


class RouterLimitArgs(TypedDict):
    """Requests of one key, in each replica of the router."""

    requests_per_minute: pulumi.Input[int]
    """1 to 1,000,000."""
    burst: NotRequired[pulumi.Input[int]]
    """So many at once. Default: those of a minute."""


class RouterEntranceArgs(TypedDict):
    """How clients reach it."""

    via: NotRequired[str]
    """service (default): its Service is the entrance. gateway-api: an HTTPRoute of a Gateway. ingress: an
    Ingress."""
    type: NotRequired[str]
    """Of the Service: ClusterIP (default), NodePort or LoadBalancer. Only with service."""
    port: NotRequired[pulumi.Input[int]]
    """The Service's port. Default: 80, with a certificate 443."""
    node_port: NotRequired[pulumi.Input[int]]
    """Port on every node, 30000 to 32767. Only with NodePort. Default: the API server picks one."""
    external_traffic_policy: NotRequired[pulumi.Input[str]]
    """Local (default): the client's address is kept, so that the network policy sees it. Cluster: every node
    answers. Only with NodePort and LoadBalancer."""
    hostname: NotRequired[pulumi.Input[str]]
    """DNS name. Of a LoadBalancer it is an annotation that external-dns reads. Needed with gateway-api and
    ingress."""
    certificate_secret: NotRequired[pulumi.Input[str]]
    """A Secret that exists, of type kubernetes.io/tls. The router itself, the Gateway that is made, or the
    Ingress shows it. Default: plain HTTP."""
    class_name: NotRequired[pulumi.Input[str]]
    """With gateway-api: a GatewayClass, of which a Gateway is made here. With ingress: the IngressClass.
    Default: the cluster's, with ingress."""
    gateway: NotRequired[pulumi.Input[str]]
    """Instead of class_name: a Gateway that exists."""
    gateway_namespace: NotRequired[pulumi.Input[str]]
    """Its namespace. Default: the router's."""
    annotations: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """Of the Service, the Gateway that is made, or the Ingress: for a cloud's load balancer."""
    trusted_hops: NotRequired[pulumi.Input[int]]
    """Proxies in front whose x-forwarded-for is believed, 0 to 10. Default: 0, with gateway-api and ingress
    1."""


class RouterAccessArgs(TypedDict):
    """Who may come in; everybody else is kept out."""

    client_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Address ranges of clients. Needed with NodePort and LoadBalancer."""
    client_namespaces: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Namespaces of clients in the cluster, a Gateway's or Ingress controller's proxies among them."""
    metrics_namespaces: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Namespaces that read metrics."""
    prometheus_namespace: NotRequired[pulumi.Input[str]]
    """Where the Prometheus is that reads metrics, as for model servers. Default: none."""
    adapter_namespace: NotRequired[pulumi.Input[str]]
    """Where the metrics adapter is that asks how many requests are held. Only with a backend that wakes.
    Default: none."""
    public_reason: NotRequired[pulumi.Input[str]]
    """Why the whole internet may come in. Without it 0.0.0.0/0 and ::/0 are refused."""
    api_server_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Where the API server is, which the controller asks. Default: any address but the clouds' metadata
    servers'."""


class RouterTimeoutsArgs(TypedDict):
    """How long things may take, in seconds."""

    connect: NotRequired[pulumi.Input[float]]
    """To connect to a gateway, 0.1 to 60. Default: 2."""
    body: NotRequired[pulumi.Input[int]]
    """A client has so long to send all of a request, 1 to 3600. Default: 60."""
    stream_idle: NotRequired[pulumi.Input[int]]
    """A request on which nothing moves is ended, 1 to 86400. Longer than a gateway may keep one waiting.
    Default: 600."""
    request: NotRequired[pulumi.Input[int]]
    """No request takes longer, streams included, 1 to 86400. Default: 3600."""


class RouterRetriesArgs(TypedDict):
    """Another attempt, only where nothing was begun: no connection, refused, or 503 for an answer."""

    attempts: NotRequired[pulumi.Input[int]]
    """Further attempts, 0 to 5. Default: 2."""
    budget_percent: NotRequired[pulumi.Input[float]]
    """Share of the requests in flight that may be such attempts. Default: 20."""
    resets: NotRequired[pulumi.Input[bool]]
    """Whether a request is tried elsewhere, too, whose connection broke before the first byte of an answer;
    it may be computed twice then. Default: False."""


class RouterEjectionArgs(TypedDict):
    """A pod that fails again and again is left out for a while."""

    failures: NotRequired[pulumi.Input[int]]
    """In a row, 1 to 100. Default: 5."""
    seconds: NotRequired[pulumi.Input[int]]
    """For so long at first, 1 to 3600. Default: 10."""
    most_percent: NotRequired[pulumi.Input[int]]
    """Of a backend's pods at once. Default: 50."""


class RouterTerminationArgs(TypedDict):
    """How a replica ends, in whole seconds."""

    pre_stop_seconds: NotRequired[pulumi.Input[int]]
    """It serves on so long after it was taken out of the Service, 0 to 300. Default: 10; 35 with type
    LoadBalancer and policy Local."""
    drain_seconds: NotRequired[pulumi.Input[int]]
    """Then requests in flight may take this long, 1 to 3600. Default: 60."""


class RouterArgs(TypedDict):
    """Args of `Router`."""

    namespace: pulumi.Input[str]
    """The namespace, which exists; the model servers are there, too."""
    image: pulumi.Input[str]
    """Its controller's image."""
    envoy_image: pulumi.Input[str]
    """Envoy's image."""
    variants: Mapping[str, RouterVariantArgs]
    """By name."""
    routes: Sequence[RouterRouteArgs]
    """The first that takes a request has it; the last one takes everything."""
    access: RouterAccessArgs
    """Who may come in."""
    name: NotRequired[pulumi.Input[str]]
    """Name of the objects. Default: the component's name."""
    backends: NotRequired[Mapping[str, RouterBackendArgs]]
    """Backends that several variants have, by name. Default: each variant has its own."""
    replicas: NotRequired[pulumi.Input[int]]
    """How many, 1 to 100. Default: 2."""
    entrance: NotRequired[RouterEntranceArgs]
    """How clients reach it. Default: a Service in the cluster."""
    api_keys: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """Keys of clients by name, as the model servers have them; of those that a route or a limit names, the
    SHA-256 is told to Envoy."""
    limit: NotRequired[RouterLimitArgs]
    """Of each key. Default: none but the gateways' own."""
    key_limits: NotRequired[Mapping[str, RouterLimitArgs]]
    """Of single keys, by name, instead."""
    timeouts: NotRequired[RouterTimeoutsArgs]
    """Timeouts."""
    retries: NotRequired[RouterRetriesArgs]
    """Retries."""
    ejection: NotRequired[RouterEjectionArgs]
    """Outlier ejection."""
    termination: NotRequired[RouterTerminationArgs]
    """End of a replica."""
    access_log: NotRequired[pulumi.Input[bool]]
    """Whether each request is a line of JSON in Envoy's log, never with content. Default: True."""
    resources: NotRequired[ResourcesArgs]
    """CPU and memory of Envoy. Default: 200m and 128Mi, at most 512Mi."""
    placement: NotRequired[PlacementArgs]
    """Nodes."""
    dns: NotRequired[str]
    """Who answers names, as in `ModelServer`; only where backends are elsewhere."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist, for the registry."""
