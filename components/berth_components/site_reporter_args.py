"""The args of a `SiteReporter`. Every default is here, with its unit."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi

from berth_components.model_server_args import PlacementArgs


class ReportedModelArgs(TypedDict):
    """A model server that is counted."""

    service: pulumi.Input[str]
    """Name of its Service, in the namespace."""
    selector: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    """Labels of its pods."""


class SiteReporterServiceArgs(TypedDict):
    """How controllers reach it."""

    type: NotRequired[str]
    """ClusterIP (default), NodePort or LoadBalancer."""
    node_port: NotRequired[pulumi.Input[int]]
    """Port on every node, 30000 to 32767. Only with NodePort. Default: the API server picks one."""
    external_traffic_policy: NotRequired[pulumi.Input[str]]
    """Local (default) or Cluster. Only with NodePort and LoadBalancer."""
    annotations: NotRequired[pulumi.Input[Mapping[str, pulumi.Input[str]]]]
    """For a cloud's load balancer, such as an internal one."""


class SiteReporterAccessArgs(TypedDict):
    """Who may ask it; everybody else is kept out."""

    controllers: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Names of `HybridController`s of the namespace."""
    client_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Address ranges that controllers elsewhere come from. Needed with NodePort and LoadBalancer; never
    everybody."""
    api_server_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Where the API server is, which it asks. Default: any address but the clouds' metadata servers'."""


class SiteReporterArgs(TypedDict):
    """Args of `SiteReporter`."""

    namespace: pulumi.Input[str]
    """The namespace, which exists; the model servers are there."""
    image: pulumi.Input[str]
    """Its image: the router's controller's."""
    site: pulumi.Input[str]
    """What the site is called."""
    models: Mapping[str, ReportedModelArgs]
    """What it counts, by the model's name."""
    token: pulumi.Input[str]
    """What controllers show it: at least 32 printable characters. A secret."""
    access: SiteReporterAccessArgs
    """Who may ask it."""
    name: NotRequired[pulumi.Input[str]]
    """Whose it is: the objects are called <name>-report. Default: the component's name."""
    service: NotRequired[SiteReporterServiceArgs]
    """How controllers reach it. Default: a Service in the cluster."""
    tls_secret: NotRequired[pulumi.Input[str]]
    """A Secret that exists, of type kubernetes.io/tls: it serves HTTPS then. Default: plain HTTP."""
    placement: NotRequired[PlacementArgs]
    """Nodes."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist, for the registry."""
