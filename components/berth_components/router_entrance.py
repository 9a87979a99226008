"""A router's entrance: its Service, and an HTTPRoute with its Gateway, or an Ingress, in front of it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pulumi
from pulumi_kubernetes.apiextensions import CustomResource
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking

from berth_components import pods
from berth_components.arguments import combine, filled
from berth_components.router_settings import RouterSettings

_GATEWAY_API = "gateway.networking.k8s.io/v1"
_EXTERNAL_DNS = "external-dns.alpha.kubernetes.io/hostname"
Metadata = Callable[[pulumi.Input[Mapping[str, pulumi.Input[str]]] | None], meta.ObjectMetaArgs]


def service(
    prefix: str,
    settings: RouterSettings,
    metadata: Metadata,
    selector: Mapping[str, pulumi.Input[str]],
    opts: pulumi.ResourceOptions,
) -> core.Service:
    """The Service in front of the router's pods."""
    entrance, access = settings.entrance, settings.access
    annotations: pulumi.Input[Mapping[str, str]] = entrance.annotations if entrance.via == "service" else {}
    if entrance.via == "service" and entrance.hostname is not None:
        annotations = combine(lambda own, name: {**own, _EXTERNAL_DNS: name}, annotations, entrance.hostname)
    annotations = combine(lambda own, reason: {**own, **reason}, annotations, public_reason(settings))
    return core.Service(
        f"{prefix}-service",
        metadata=metadata(filled(annotations)),
        spec=core.ServiceSpecArgs(
            type=entrance.type,
            selector=selector,
            external_traffic_policy=entrance.policy,
            load_balancer_source_ranges=filled(access.cidrs) if entrance.type == "LoadBalancer" else None,
            ports=[
                core.ServicePortArgs(
                    name="http",
                    port=entrance.port,
                    target_port="http",
                    node_port=entrance.node_port,
                    protocol="TCP",
                    app_protocol="https" if entrance.own_tls else "http",
                )
            ],
        ),
        opts=opts,
    )


def public_reason(settings: RouterSettings) -> pulumi.Input[Mapping[str, str]]:
    """Why everybody may reach it, as an annotation; nothing where its clients are named."""
    reason = settings.access.public_reason
    return {} if reason is None else combine(lambda words: {f"{pods.PREFIX}public-reason": words}, reason)


def entrance(
    prefix: str, settings: RouterSettings, metadata: Metadata, opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """What is in front of the Service, if anything is."""
    if settings.entrance.via == "gateway-api":
        return _by_gateway(prefix, settings, metadata, opts)
    if settings.entrance.via == "ingress":
        return [_by_ingress(prefix, settings, metadata, opts)]
    return []


def _by_gateway(
    prefix: str, settings: RouterSettings, metadata: Metadata, opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    given = settings.entrance
    made: list[pulumi.Resource] = []
    parent: dict[str, Any] = {"name": given.gateway or settings.name}
    if given.gateway_namespace is not None:
        parent["namespace"] = given.gateway_namespace
    if given.class_name is not None:
        listener: dict[str, Any] = {
            "name": "http",
            "hostname": given.hostname,
            "port": 80,
            "protocol": "HTTP",
            "allowedRoutes": {"namespaces": {"from": "Same"}},
        }
        if given.certificate is not None:
            secured = {"mode": "Terminate", "certificateRefs": [{"name": given.certificate}]}
            listener |= {"name": "https", "port": 443, "protocol": "HTTPS", "tls": secured}
        made.append(
            CustomResource(
                f"{prefix}-gateway",
                api_version=_GATEWAY_API,
                kind="Gateway",
                metadata=metadata(filled(given.annotations)),
                spec={"gatewayClassName": given.class_name, "listeners": [listener]},
                opts=opts,
            )
        )
    route = CustomResource(
        f"{prefix}-route",
        api_version=_GATEWAY_API,
        kind="HTTPRoute",
        metadata=metadata(None),
        spec={
            "parentRefs": [parent],
            "hostnames": [given.hostname],
            "rules": [
                {
                    "matches": [{"path": {"type": "PathPrefix", "value": "/"}}],
                    "backendRefs": [{"name": settings.name, "port": given.port}],
                    # A stream has no end known beforehand; the router says how long it may take.
                    "timeouts": {"request": "0s"},
                }
            ],
        },
        opts=opts,
    )
    return [*made, route]


def _by_ingress(
    prefix: str, settings: RouterSettings, metadata: Metadata, opts: pulumi.ResourceOptions
) -> networking.Ingress:
    given = settings.entrance
    hosts: Sequence[Any] = [given.hostname]
    return networking.Ingress(
        f"{prefix}-ingress",
        metadata=metadata(filled(given.annotations)),
        spec=networking.IngressSpecArgs(
            ingress_class_name=given.class_name,
            tls=(
                None
                if given.certificate is None
                else [networking.IngressTLSArgs(hosts=hosts, secret_name=given.certificate)]
            ),
            rules=[
                networking.IngressRuleArgs(
                    host=given.hostname,
                    http=networking.HTTPIngressRuleValueArgs(
                        paths=[
                            networking.HTTPIngressPathArgs(
                                path="/",
                                path_type="Prefix",
                                backend=networking.IngressBackendArgs(
                                    service=networking.IngressServiceBackendArgs(
                                        name=settings.name,
                                        port=networking.ServiceBackendPortArgs(number=given.port),
                                    )
                                ),
                            )
                        ]
                    ),
                )
            ],
        ),
        opts=opts,
    )


def url(settings: RouterSettings) -> pulumi.Output[str]:
    """Where clients reach it."""
    given = settings.entrance
    scheme = "http" if given.certificate is None and given.gateway is None else "https"
    if given.hostname is not None:
        usual = 443 if scheme == "https" else 80
        behind = given.via != "service"
        return pulumi.Output.all(given.hostname, given.port).apply(
            lambda known: (
                f"{scheme}://{known[0]}" + ("" if behind or known[1] == usual else f":{int(known[1])}")
            )
        )
    return pulumi.Output.format(
        "{0}://{1}.{2}.svc:{3}", scheme, settings.name, settings.namespace, pods.whole(given.port)
    )


def node_port(spec: core.outputs.ServiceSpec) -> int:
    """The port on every node."""
    ports = spec.ports or []
    return int(ports[0].node_port or 0) if ports else 0


def address(status: core.outputs.ServiceStatus | None) -> str:
    """Host name or address of the load balancer."""
    balancer = status.load_balancer if status else None
    entries = (balancer.ingress if balancer else None) or []
    return (entries[0].hostname or entries[0].ip or "") if entries else ""
