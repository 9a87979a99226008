"""The settings of routers: Envoy in front of several models of a site, or of one model at several sites.

Groups and keys are those of the component `Router`.
"""

from typing import Annotated

from pydantic import Field

from berth_stacks.fields import Flag, LabelKey, Name, Number, Settings, Text, Whole, limits, words
from berth_stacks.hybrid_settings import Hybrid

_DAY = 86_400
_MILLION = 1_000_000
Percent = Annotated[Number, limits(0, 100)]


class RouterRoute(Settings):
    """Requests that are divided in another way than the rest, or stay with some variants."""

    name: Name
    """Its name."""
    weights: dict[Name, Percent]
    """Percent by model, with at most two decimals; together 100."""
    headers: dict[LabelKey, Text] = Field(default_factory=dict)
    """Takes requests with these headers, by exact value. Default: none is asked for."""
    keys: list[Name] = Field(default_factory=list)
    """Takes requests with one of these API keys, by name. Default: none is asked for."""
    sticky: Text | None = None
    """key, or the name of a header that names the user: who stays with a variant. Default: nobody."""
    experiment: Name | None = None
    """Salts the assignment, so that those of two experiments are independent. Default: the route's name."""


class RouterEntrance(Settings):
    """How clients reach it."""

    via: Annotated[Text, words("service", "gateway-api", "ingress")] | None = None
    """service: its Service is the entrance. gateway-api: an HTTPRoute of a Gateway. ingress: an Ingress.
    Default: service."""
    type: Annotated[Text, words("ClusterIP", "NodePort", "LoadBalancer")] | None = None
    """Kind of Service. Default: ClusterIP."""
    port: Annotated[Whole, limits(1, 65535)] | None = None
    """The Service's port. Default: 80, with a certificate of its own 443."""
    node_port: Annotated[Whole, limits(30000, 32767)] | None = None
    """Port on every node. Only with NodePort. Default: the API server picks one."""
    external_traffic_policy: Annotated[Text, words("Local", "Cluster")] | None = None
    """Local keeps the client's address, so that the network policy sees it. Default: Local."""
    hostname: Text | None = None
    """DNS name; of a LoadBalancer for external-dns. Needed with gateway-api and ingress."""
    certificate_secret: Name | None = None
    """A Secret that exists, of type kubernetes.io/tls, which the entrance shows. Default: plain HTTP."""
    class_name: Text | None = None
    """With gateway-api: a GatewayClass, of which a Gateway is made. With ingress: the IngressClass."""
    gateway: Name | None = None
    """Instead of className: a Gateway that exists."""
    gateway_namespace: Name | None = None
    """Its namespace. Default: the router's."""
    annotations: dict[LabelKey, Text] = Field(default_factory=dict)
    """For a cloud's load balancer, such as an internal one. Default: none."""
    trusted_hops: Annotated[Whole, limits(0, 10)] | None = None
    """Proxies in front whose x-forwarded-for is believed. Default: 0, with gateway-api and ingress 1."""


class RouterLimit(Settings):
    """Requests of one key, in each replica of the router."""

    requests_per_minute: Annotated[Whole, limits(1, _MILLION)]
    """How many a minute."""
    burst: Annotated[Whole, limits(1, _MILLION)] | None = None
    """How many at once. Default: those of a minute."""


class RouterTimeouts(Settings):
    """How long things may take, in seconds."""

    connect: Annotated[Number, limits(0.1, 60)] | None = None
    """To connect to a gateway. Default: 2."""
    body: Annotated[Whole, limits(1, 3600)] | None = None
    """A client has so long to send all of a request. Default: 60."""
    stream_idle: Annotated[Whole, limits(1, _DAY)] | None = None
    """A request on which nothing moves is ended. Default: 600."""
    request: Annotated[Whole, limits(1, _DAY)] | None = None
    """No request takes longer, streams included. Default: 3600."""


class RouterRetries(Settings):
    """Another attempt, only where nothing was begun."""

    attempts: Annotated[Whole, limits(0, 5)] | None = None
    """Further attempts. Default: 2."""
    budget_percent: Percent | None = None
    """Share of the requests in flight that may be such attempts. Default: 20."""
    resets: Flag | None = None
    """Whether a request is tried elsewhere whose connection broke before the first byte of an answer; it may
    be computed twice then. Default: false; with hybrid true, or a lost site would fail what it had not begun
    to answer."""


class RouterEjection(Settings):
    """A pod that fails again and again is left out for a while."""

    failures: Annotated[Whole, limits(1, 100)] | None = None
    """In a row. Default: 5."""
    seconds: Annotated[Whole, limits(1, 3600)] | None = None
    """For so long at first. Default: 10."""
    most_percent: Annotated[Whole, limits(0, 100)] | None = None
    """Of a model's pods at once. Default: 50."""


class RouterTermination(Settings):
    """How a replica ends."""

    pre_stop_seconds: Annotated[Whole, limits(0, 300)] | None = None
    """It serves on so long after it left the Service. Default: 10; behind a LoadBalancer that asks each node,
    35."""
    drain_seconds: Annotated[Whole, limits(1, 3600)] | None = None
    """Then requests in flight may take this long. Default: 60."""


class Router(Settings):
    """Envoy in front of models of one site, each a variant, or of one model at several sites."""

    site: Text
    """Where it is: a key of `sites`, on a cluster."""
    weights: dict[Name, Percent] = Field(default_factory=dict)
    """Percent of the requests by model, with at most two decimals; together 100. What grows is best named
    last: then only its new users move. Either this or hybrid."""
    hybrid: Hybrid | None = None
    """One model at several sites, whose shares follow the load. Either this or weights."""
    sticky: Text | None = None
    """key: a client's key stays with its model. Or the name of a header that names the user. Default: each
    request for itself."""
    experiment: Name | None = None
    """Salts the assignment; another name assigns anew. Default: all."""
    routes: list[RouterRoute] = Field(default_factory=list)
    """Requests that are divided in another way; the first that takes one has it. Default: none."""
    replicas: Annotated[Whole, limits(1, 100)] | None = None
    """How many. Default: 2."""
    entrance: RouterEntrance | None = None
    """How clients reach it. Default: a Service in the cluster."""
    limit: RouterLimit | None = None
    """Requests of each key. Default: none but the gateways' own."""
    key_limits: dict[Name, RouterLimit] = Field(default_factory=dict)
    """Of single keys, by name. Default: none."""
    timeouts: RouterTimeouts | None = None
    """Timeouts."""
    retries: RouterRetries | None = None
    """Retries."""
    ejection: RouterEjection | None = None
    """Outlier ejection."""
    termination: RouterTermination | None = None
    """End of a replica."""
    access_log: Flag | None = None
    """Whether each request is a line of JSON in Envoy's log, never with content. Default: true."""
