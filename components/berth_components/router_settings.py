"""A router's args, checked, with their defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.core import v1 as core

from berth_components import checks, network, router_document
from berth_components import router_args as declared
from berth_components.arguments import Arguments, combine
from berth_components.model_server_resources import read_resources
from berth_components.model_server_surroundings import Placement, read_placement
from berth_components.router_document import Part

AFTER_DRAIN_SECONDS = 5
_NOBODY: Sequence[str] = ()
_DEFAULT_RESOURCES = {"cpu_request": "200m", "memory_request": "128Mi", "memory_limit": "512Mi"}
_hostname = checks.text(
    r"(\*\.)?[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)+", "a DNS name"
)


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """How clients reach it."""

    via: str
    type: str
    port: pulumi.Input[int]
    node_port: pulumi.Input[int] | None
    policy: pulumi.Input[str] | None
    hostname: pulumi.Input[str] | None
    certificate: pulumi.Input[str] | None
    class_name: pulumi.Input[str] | None
    gateway: pulumi.Input[str] | None
    gateway_namespace: pulumi.Input[str] | None
    annotations: pulumi.Input[Mapping[str, str]]
    trusted_hops: pulumi.Input[int]

    @property
    def own_tls(self) -> bool:
        """Whether Envoy itself shows the certificate."""
        return self.via == "service" and self.certificate is not None


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may come in, and where it may go."""

    cidrs: pulumi.Input[Sequence[str]]
    namespaces: pulumi.Input[Sequence[str]]
    metrics_namespaces: pulumi.Input[Sequence[str]]
    prometheus: pulumi.Input[str] | None
    adapter: pulumi.Input[str] | None
    public_reason: pulumi.Input[str] | None
    api_servers: pulumi.Input[Sequence[str]] | None


@dataclass(frozen=True, kw_only=True)
class RouterSettings:
    """The args of a `Router`, checked."""

    name: pulumi.Input[str]
    namespace: pulumi.Input[str]
    image: pulumi.Input[str]
    envoy_image: pulumi.Input[str]
    replicas: pulumi.Input[int]
    document: Part
    static: Sequence[Any]
    services: Sequence[pulumi.Input[str]]
    needs: router_document.Found
    entrance: Entrance
    access: Access
    pre_stop: pulumi.Input[int]
    drain: pulumi.Input[int]
    resources: core.ResourceRequirementsArgs
    placement: Placement
    dns: str
    pull_secrets: pulumi.Input[Sequence[str]]

    @property
    def grace(self) -> pulumi.Input[int]:
        """Kubernetes kills after this long."""
        return combine(
            lambda pre_stop, drain: int(pre_stop) + int(drain) + AFTER_DRAIN_SECONDS,
            self.pre_stop,
            self.drain,
        )


def read(given: Arguments, name: str) -> RouterSettings:
    """Check the args of a `Router`.

    Raises:
        ArgumentError: one is unknown, missing, not allowed, or contradicts another.
    """
    namespace = given.read("namespace", checks.dns_label)
    entrance = _entrance(given)
    listener = router_document.listener(given, tls=entrance.own_tls, trusted_hops=entrance.trusted_hops)
    limit, own = router_document.limits(given)
    backends, variants, needs = router_document.backends(given, namespace, listener)
    routes, named = router_document.routes(given, variants)
    keys = router_document.keys(given, named, own)
    document: dict[str, Any] = {"version": 1, "listener": listener}
    if limit is not None:
        document["limit"] = limit
    if named or own:
        document["keys"] = keys
    document |= {
        "backends": backends,
        "variants": variants,
        "routes": routes,
        "retries": router_document.retries(given),
        "ejection": router_document.ejection(given),
        "connectSeconds": router_document.connect_seconds(given),
    }
    termination = given.group("termination", declared.RouterTerminationArgs)
    usual = 35 if (entrance.type, entrance.policy) == ("LoadBalancer", "Local") else 10
    return RouterSettings(
        name=given.read("name", checks.server_name, name),
        namespace=namespace,
        image=given.read("image", checks.image),
        envoy_image=given.read("envoy_image", checks.image),
        replicas=given.read("replicas", checks.whole_number(1, 100, "replicas"), 2),
        document=document,
        static=[listener, limit or {}, dict(own)],
        services=[one["service"]["name"] for one in backends.values() if "service" in one],
        needs=needs,
        entrance=entrance,
        access=_access(given, entrance, wakes=bool(needs.wakes)),
        pre_stop=termination.read("pre_stop_seconds", checks.whole_number(0, 300, "seconds"), usual),
        drain=termination.read("drain_seconds", checks.whole_number(1, 3600, "seconds"), 60),
        resources=read_resources(given, _DEFAULT_RESOURCES),
        placement=read_placement(given, 0, ""),
        dns=given.plain("dns", checks.choice(*network.NAME_SERVERS), "pods"),
        pull_secrets=given.read("image_pull_secrets", checks.list_of(checks.dns_label), _NOBODY),
    )


def _entrance(given: Arguments) -> Entrance:
    group = given.group("entrance", declared.RouterEntranceArgs)
    via = group.plain("via", checks.choice("service", "gateway-api", "ingress"), "service")
    kind = group.plain("type", checks.choice("ClusterIP", "NodePort", "LoadBalancer"), "ClusterIP")
    outside = kind != "ClusterIP"
    for key, fits, allowed in (
        ("type", via == "service", "only with via service"),
        ("node_port", kind == "NodePort", "only with type NodePort"),
        ("external_traffic_policy", outside, "only with NodePort and LoadBalancer"),
        ("hostname", via != "service" or kind == "LoadBalancer", "only with a LoadBalancer or another via"),
        ("class_name", via != "service", "only with gateway-api and ingress"),
        ("gateway", via == "gateway-api", "only with gateway-api"),
        ("gateway_namespace", "gateway" in group, "only with gateway"),
    ):
        if key in group and not fits:
            raise group.refuse(key, "given", allowed)
    if via != "service" and "hostname" not in group:
        raise group.refuse("hostname", "missing", f"the DNS name of the entrance, via {via}")
    if via == "gateway-api" and ("class_name" in group) == ("gateway" in group):
        given_both = "given beside gateway" if "gateway" in group else "missing"
        raise group.refuse("class_name", given_both, "either class_name or gateway")
    if "certificate_secret" in group and "gateway" in group:
        raise group.refuse("certificate_secret", "given", "nothing with gateway", "the Gateway has its own")
    certificate = group.maybe("certificate_secret", checks.dns_label)
    own_tls = via == "service" and certificate is not None
    return Entrance(
        via=via,
        type=kind,
        port=group.read("port", checks.whole_number(1, 65_535), 443 if own_tls else 80),
        node_port=group.maybe("node_port", checks.whole_number(30000, 32767)),
        policy=(
            group.read("external_traffic_policy", checks.choice("Local", "Cluster"), "Local")
            if outside
            else None
        ),
        hostname=group.maybe("hostname", _hostname),
        certificate=certificate,
        class_name=group.maybe("class_name", checks.plain_text),
        gateway=group.maybe("gateway", checks.dns_label),
        gateway_namespace=group.maybe("gateway_namespace", checks.dns_label),
        annotations=group.read(
            "annotations", checks.mapping_of(checks.qualified_name, checks.plain_text), {}
        ),
        trusted_hops=group.read("trusted_hops", checks.whole_number(0, 10), 0 if via == "service" else 1),
    )


def _access(given: Arguments, entrance: Entrance, *, wakes: bool) -> Access:
    group = given.group("access", declared.RouterAccessArgs)
    if "adapter_namespace" in group and not wakes:
        raise group.refuse("adapter_namespace", "given", "only with a backend that wakes", "nothing is held")
    reason = group.maybe("public_reason", checks.plain_text)
    names = checks.list_of(checks.dns_label)
    namespaces = group.read("client_namespaces", names, _NOBODY)

    def somebody(cidrs: Sequence[str], namespaces: Sequence[str], reason: str | None) -> Sequence[str]:
        if not cidrs and not namespaces:
            raise group.refuse("client_cidrs", [], "at least one of client_cidrs and client_namespaces")
        if checks.is_everybody(cidrs) and not reason:
            given_all = ", ".join(cidrs) + ", which is everybody"
            raise group.refuse(
                "client_cidrs", given_all, "the ranges of the clients", "or say why in public_reason"
            )
        if entrance.type != "ClusterIP" and not cidrs and not reason:
            allowed = f"the ranges of the clients where the Service's type is {entrance.type}"
            raise group.refuse(
                "client_cidrs", "empty", allowed, "or say in public_reason why everybody may reach it"
            )
        return cidrs

    return Access(
        cidrs=combine(
            somebody, group.read("client_cidrs", checks.list_of(checks.cidr), _NOBODY), namespaces, reason
        ),
        namespaces=namespaces,
        metrics_namespaces=group.read("metrics_namespaces", names, _NOBODY),
        prometheus=group.maybe("prometheus_namespace", checks.dns_label),
        adapter=group.maybe("adapter_namespace", checks.dns_label),
        public_reason=reason,
        api_servers=group.maybe("api_server_cidrs", checks.list_of(checks.cidr, at_least=1)),
    )
