"""The settings of a router in front of several sites: which has which share, and what it may cost."""

from typing import Annotated

from berth_components import checks
from pydantic import Field

from berth_stacks.fields import (
    Allowed,
    Cidr,
    LabelKey,
    Name,
    Number,
    Settings,
    Text,
    Whole,
    limits,
    one_of,
    words,
)

Domain = Annotated[
    str,
    Allowed(
        checks.text(
            r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+", "a DNS name"
        )
    ),
]
Dollars = Annotated[Number, limits(0, 100_000, "a number")]
Waiting = Annotated[Number, limits(0, 10_000, "a number")]
Step = Annotated[Number, limits(0.01, 100, "a number")]


class Residency(Settings):
    """Requests that only some sites may serve, even while those cannot."""

    name: Name
    """Its name."""
    sites: list[Text]
    """Where they may go, in order of preference: some of the router's sites."""
    keys: list[Name] = Field(default_factory=list)
    """Requests with one of these API keys, by name. Default: none is asked for."""
    headers: dict[LabelKey, Text] = Field(default_factory=dict)
    """Requests with these headers, by exact value. Default: none is asked for."""


class BeyondService(Settings):
    """How the router reaches a site that it is not at."""

    type: Annotated[str, one_of("NodePort", "LoadBalancer")]
    """Kind of Service, for the model's gateways and for the reporter."""
    node_port: Annotated[Whole, limits(30000, 32767)] | None = None
    """The model's port on every node. Needed with NodePort."""
    report_node_port: Annotated[Whole, limits(30000, 32767)] | None = None
    """The reporter's port on every node. Needed with NodePort."""
    external_traffic_policy: Annotated[Text, words("Local", "Cluster")] | None = None
    """Local keeps the router's address, so that the network policy sees it. Default: Local."""
    annotations: dict[LabelKey, Text] = Field(default_factory=dict)
    """For a cloud's load balancer, such as an internal one. Default: none."""
    domain: Domain | None = None
    """With LoadBalancer: the names `<site>.<domain>` and `report-<site>.<domain>` are asked of external-dns
    by annotation, and looked up by the router. Default: the load balancers' own addresses, which only a
    deployment knows."""


class BeyondTls(Settings):
    """How gateways and reporters of sites beyond prove who they are. Production needs it."""

    secret: Name
    """A Secret that exists in the namespace at each site beyond, of type kubernetes.io/tls."""
    server_name: Domain
    """The DNS name that its certificate carries."""
    ca_secret: Name | None = None
    """A Secret that exists in the router's namespace, whose entry ca.crt signed it. Default: the public
    authorities."""


class Beyond(Settings):
    """Sites that the router is not at."""

    cidrs: list[Cidr]
    """The addresses that the router comes from: nobody else gets in there."""
    service: BeyondService
    """How the router reaches them."""
    services: dict[Text, BeyondService] = Field(default_factory=dict)
    """How it reaches single ones, by site, instead of service: of another cloud, or on own hardware.
    Default: service for all."""
    tls: BeyondTls | None = None
    """How they prove who they are. Default: plain HTTP, which production does not take."""

    def service_at(self, site: str) -> BeyondService:
        """How the router reaches a site."""
        return self.services.get(site, self.service)

    def where(self, site: str) -> tuple[str, ...]:
        """Path of what says so, below these settings."""
        return ("services", site) if site in self.services else ("service",)


class Hybrid(Settings):
    """One model at several sites: the first has all requests, the next ones what it cannot serve."""

    model: Name
    """A key of `models`, which is at each of the sites."""
    sites: list[Text]
    """In order of preference, the router's own among them: keys of `sites`, on clusters."""
    cost_cap_per_hour: Dollars
    """What all sites' replicas together may cost, in US dollars per hour, before load stays where it
    waits."""
    cost_per_replica_hour: dict[Text, Dollars] = Field(default_factory=dict)
    """What a replica costs, by site, in US dollars per hour. Default: 0 on own hardware, which is paid
    anyway; on a cloud the price of the pool's machine divided by the replicas on it."""
    overflow_at: Waiting = 4
    """Waiting requests per replica, above which load leaves a site. Default: 4."""
    return_below: Waiting = 1
    """Waiting requests per replica, below which load comes back. Less than overflowAt. Default: 1."""
    step_percent: Step = 10
    """Percent of the requests that move on at a time, at most once a second. Default: 10."""
    return_step_percent: Step = 5
    """Percent that move back at a time. At most stepPercent, so that it does not swing. Default: 5."""
    silent_seconds: Annotated[Whole, limits(2, 600)] = 10
    """A site that reports nothing for so long keeps what it has and gets no more. Default: 10."""
    hold_seconds: Annotated[Whole, limits(0, 86_400)] = 60
    """After so long in silence a site that costs loses its load step by step, for nobody can watch the cap.
    At least silentSeconds. Default: 60."""
    residency: list[Residency] = Field(default_factory=list)
    """Requests that only some sites may serve; the first that takes one has it. Default: none."""
    beyond: Beyond | None = None
    """Sites that the router is not at. Needed, since there is at least one."""
