"""The args of a `HybridController`. Every default is here, with its unit."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi

from berth_components.model_server_args import PlacementArgs


class HybridSiteArgs(TypedDict):
    """A site: where its reporter is, and what a replica costs there."""

    name: str
    """Its name; a variant of the router is called so."""
    most_replicas: pulumi.Input[int]
    """It can have no more, 1 to 1000."""
    cost_per_replica_hour: NotRequired[pulumi.Input[float]]
    """US dollars, 0 to 100,000. Default: 0, for hardware that is paid anyway."""
    reporter: NotRequired[pulumi.Input[str]]
    """Name of a `SiteReporter` of the namespace. Either this or address."""
    address: NotRequired[pulumi.Input[str]]
    """DNS name or address of a reporter elsewhere."""
    port: NotRequired[pulumi.Input[int]]
    """Its TCP port. Needed with address, and only then."""
    tls_server_name: NotRequired[pulumi.Input[str]]
    """Name that its certificate carries. Default: it speaks plain HTTP. Only with address."""
    ca_secret: NotRequired[pulumi.Input[str]]
    """A Secret that exists, whose entry ca.crt signed it. Default: the public authorities. Only with
    tls_server_name."""


class HybridPolicyArgs(TypedDict):
    """How load is divided."""

    cost_cap_per_hour: pulumi.Input[float]
    """What all sites' replicas together may cost, in US dollars per hour, 0 to 100,000."""
    overflow_at: NotRequired[pulumi.Input[float]]
    """Waiting requests per replica, above which load leaves a site, above 0. Default: 4."""
    return_below: NotRequired[pulumi.Input[float]]
    """Waiting requests per replica, below which load comes back; less than overflow_at. Default: 1."""
    step_percent: NotRequired[pulumi.Input[float]]
    """Percent of the requests that move on at a time, at most once a second, 0.01 to 100. Default: 10."""
    return_step_percent: NotRequired[pulumi.Input[float]]
    """Percent that move back at a time; at most step_percent. Default: 5."""
    silent_seconds: NotRequired[pulumi.Input[int]]
    """A site that reports nothing for so long gets no more, 2 to 600. Default: 10."""
    hold_seconds: NotRequired[pulumi.Input[int]]
    """After so long in silence a site that costs loses its load; silent_seconds to 86400. Default: 60."""


class HybridAccessArgs(TypedDict):
    """Who may read its metrics, and where the API server is."""

    metrics_namespaces: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Namespaces that read metrics."""
    prometheus_namespace: NotRequired[pulumi.Input[str]]
    """Where a Prometheus is that reads metrics, as in `ModelServer`. Default: none."""
    api_server_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Where the API server is, which it tells the weights. Default: any address but the clouds' metadata
    servers'."""


class HybridControllerArgs(TypedDict):
    """Args of `HybridController`."""

    namespace: pulumi.Input[str]
    """The namespace, which exists; the router is there."""
    image: pulumi.Input[str]
    """Its image: the router's controller's."""
    router: pulumi.Input[str]
    """Name of the `Router` whose weights it sets; the objects are called <router>-hybrid."""
    model: pulumi.Input[str]
    """The model, as the reporters call it."""
    sites: Sequence[HybridSiteArgs]
    """In order of preference."""
    policy: HybridPolicyArgs
    """How load is divided."""
    token: pulumi.Input[str]
    """What it shows to the reporters: at least 32 printable characters. A secret."""
    routes: NotRequired[Mapping[str, Sequence[str]]]
    """The router's routes: the sites that each may go to, in order of preference. Default: all, to all."""
    access: NotRequired[HybridAccessArgs]
    """Who may read its metrics, and where the API server is."""
    placement: NotRequired[PlacementArgs]
    """Nodes."""
    dns: NotRequired[str]
    """Who answers names, as in `ModelServer`."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist, for the registry."""
