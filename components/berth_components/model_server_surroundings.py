"""Around a model server: who may come in through which Service, and on which nodes it runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from pulumi_kubernetes.core import v1 as core

from berth_components import checks
from berth_components import model_server_args as declared
from berth_components.arguments import Arguments, combine

NOBODY: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may come in, and through which Service."""

    service_type: str
    port: pulumi.Input[int]
    grpc_port: int | None
    node_port: pulumi.Input[int] | None
    external_traffic_policy: pulumi.Input[str] | None
    annotations: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    cidrs: pulumi.Input[Sequence[str]]
    namespaces: pulumi.Input[Sequence[str]]
    routers: pulumi.Input[Sequence[str]]
    reporters: pulumi.Input[Sequence[str]]
    metrics_namespaces: pulumi.Input[Sequence[str]]
    adapter: pulumi.Input[str] | None
    prometheus: pulumi.Input[str] | None
    public_reason: pulumi.Input[str] | None


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Which nodes the pods run on."""

    node_selector: pulumi.Input[Mapping[str, str]]
    tolerations: pulumi.Input[Sequence[core.TolerationArgs]]
    priority_class: pulumi.Input[str] | None
    runtime_class: pulumi.Input[str] | None
    spread: pulumi.Input[str]


def read_entrance(given: Arguments) -> tuple[str, pulumi.Input[str] | None]:
    """Check the Service's type, and its policy for traffic from outside: None where none comes."""
    service = given.group("service", declared.ServiceArgs)
    kind = service.plain("type", checks.choice("ClusterIP", "NodePort", "LoadBalancer"), "ClusterIP")
    if kind == "ClusterIP":
        if "external_traffic_policy" in service:
            raise service.refuse("external_traffic_policy", "given", "only with NodePort and LoadBalancer")
        return kind, None
    return kind, service.read("external_traffic_policy", checks.choice("Local", "Cluster"), "Local")


def read_access(given: Arguments) -> Access:
    """Check who may come in."""
    service = given.group("service", declared.ServiceArgs)
    access = given.group("access", declared.AccessArgs)
    kind, policy = read_entrance(given)
    if "node_port" in service and kind != "NodePort":
        raise service.refuse("node_port", "given", "only with type NodePort", f"type is {kind}")
    reason = access.maybe("public_reason", checks.plain_text)
    names = checks.list_of(checks.dns_label)

    def somebody(
        cidrs: Sequence[str], namespaces: Sequence[str], routers: Sequence[str], reason: str | None
    ) -> Sequence[str]:
        if not cidrs and not namespaces and not routers:
            raise access.refuse("client_cidrs", [], "at least one of client_cidrs and client_namespaces")
        if checks.is_everybody(cidrs) and not reason:
            raise access.refuse(
                "client_cidrs",
                ", ".join(cidrs) + ", which is everybody",
                "the ranges of the clients",
                "or say why in public_reason",
            )
        # A load balancer without ranges takes the whole internet. Behind either, a client from outside is in
        # no namespace.
        if kind != "ClusterIP" and not cidrs and not reason:
            raise access.refuse(
                "client_cidrs",
                "empty",
                f"the ranges of the clients where the Service's type is {kind}",
                "or say in public_reason why everybody may reach it",
            )
        return cidrs

    namespaces = access.read("client_namespaces", names, NOBODY)
    routers = access.read("routers", checks.list_of(checks.server_name), NOBODY)
    port = service.read("port", checks.whole_number(1, 65535), 80)
    grpc_port = None
    if "grpc_port" in service:
        grpc_port = int(service.plain("grpc_port", checks.whole_number(1, 65535)))
        if grpc_port == port:
            raise service.refuse("grpc_port", grpc_port, f"another port than port, which is {port}")
    return Access(
        service_type=kind,
        port=port,
        grpc_port=grpc_port,
        node_port=service.maybe("node_port", checks.whole_number(30000, 32767)),
        external_traffic_policy=policy,
        annotations=service.read(
            "annotations", checks.mapping_of(checks.qualified_name, checks.plain_text), {}
        ),
        cidrs=combine(
            somebody,
            access.read("client_cidrs", checks.list_of(checks.cidr), NOBODY),
            namespaces,
            routers,
            reason,
        ),
        namespaces=namespaces,
        routers=routers,
        reporters=access.read("reporters", checks.list_of(checks.server_name), NOBODY),
        metrics_namespaces=access.read("metrics_namespaces", names, NOBODY),
        adapter=access.maybe("adapter_namespace", checks.dns_label),
        prometheus=access.maybe("prometheus_namespace", checks.dns_label),
        public_reason=reason,
    )


def read_placement(
    given: Arguments, gpu_count: pulumi.Input[int], gpu_resource: pulumi.Input[str]
) -> Placement:
    """Check where the pods may run; the taint of their accelerators is tolerated without being named."""
    args = given.group("placement", declared.PlacementArgs)
    named = _tolerations(args)

    def with_accelerator(
        named: Sequence[core.TolerationArgs], count: int, resource: str
    ) -> list[core.TolerationArgs]:
        own = core.TolerationArgs(key=resource, operator="Exists", effect="NoSchedule")
        there = any(
            (one.key, one.operator, one.effect) == (resource, "Exists", "NoSchedule") for one in named
        )
        return [*named, own] if count and not there else [*named]

    if isinstance(named, list):
        # Not as inputs: an output of them would take the objects apart.
        tolerations = combine(
            lambda count, resource: with_accelerator(named, count, resource), gpu_count, gpu_resource
        )
    else:
        tolerations = combine(with_accelerator, named, gpu_count, gpu_resource)
    return Placement(
        node_selector=args.read(
            "node_selector", checks.mapping_of(checks.qualified_name, checks.label_value), {}
        ),
        tolerations=tolerations,
        priority_class=args.maybe("priority_class", checks.plain_text),
        runtime_class=args.maybe("runtime_class", checks.plain_text),
        spread=args.read("spread", checks.choice("preferred", "required"), "preferred"),
    )


def _tolerations(args: Arguments) -> pulumi.Input[list[core.TolerationArgs]]:
    """The tolerations that are named. A pool gives them as one output, so they may be known later only."""

    def read(group: Arguments) -> list[core.TolerationArgs]:
        return [read_toleration(one) for one in group.groups("tolerations", declared.PodTolerationArgs)]

    whole = args.read("tolerations", lambda value: value, NOBODY)
    if not isinstance(whole, pulumi.Output):
        return read(args)
    component = args.refuse("tolerations", "", "").component
    return whole.apply(
        lambda known: read(Arguments(component, {"tolerations": known}, declared.PlacementArgs, "placement"))
    )


def read_toleration(taint: Arguments) -> core.TolerationArgs:
    """A toleration, checked."""
    usual = "Equal" if "value" in taint else "Exists"

    def fits(operator: str) -> str:
        if (operator == "Equal") != ("value" in taint):
            raise taint.refuse(
                "operator", operator, f"{usual} here", "Equal goes with a value, Exists without"
            )
        return operator

    return core.TolerationArgs(
        key=taint.read("key", checks.qualified_name),
        operator=combine(fits, taint.read("operator", checks.choice("Equal", "Exists"), usual)),
        value=taint.maybe("value", checks.label_value),
        effect=taint.maybe("effect", checks.choice("NoSchedule", "PreferNoSchedule", "NoExecute")),
    )
