"""The hybrid controller: asks every site how busy it is, and tells a router which share each gets."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking
from pulumi_kubernetes.policy import v1 as policy
from pulumi_kubernetes.rbac import v1 as rbac

from berth_components import agent_pod, checks, network, pods, router_document, site_reporter
from berth_components import hybrid_controller_args as declared
from berth_components.agent_pod import Agent
from berth_components.arguments import Arguments, combine
from berth_components.hybrid_controller_args import HybridControllerArgs
from berth_components.model_server_surroundings import Placement, read_placement
from berth_components.site_reporter import CONTROLLER_APP as APP
from berth_components.site_reporter import PORT as REPORTER_PORT
from berth_components.site_reporter import TOKEN

ENTRY = "hybrid.json"
METRICS_PORT = 9000
ALL = "all"
_DOCUMENT_FOLDER, _TOKEN_FOLDER, _CA_FOLDER = (
    "/etc/berth-hybrid",
    "/etc/berth-hybrid-token",
    "/etc/berth-hybrid-ca",
)
_DOLLARS = 100_000
_DAY = 86_400
_NOBODY: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class ControllerSettings:
    """The args of a `HybridController`, checked."""

    namespace: pulumi.Input[str]
    image: pulumi.Input[str]
    router: pulumi.Input[str]
    document: Mapping[str, Any]
    token: pulumi.Input[str]
    reporters: Sequence[pulumi.Input[str]]
    ports_elsewhere: Sequence[pulumi.Input[int]]
    ca_secrets: Sequence[pulumi.Input[str]]
    metrics_namespaces: pulumi.Input[Sequence[str]]
    prometheus: pulumi.Input[str] | None
    api_servers: pulumi.Input[Sequence[str]] | None
    placement: Placement
    dns: str
    pull_secrets: pulumi.Input[Sequence[str]]


@dataclass(frozen=True)
class _Reached:
    """Where reporters are."""

    reporters: list[pulumi.Input[str]]
    ports: list[pulumi.Input[int]]
    secrets: list[pulumi.Input[str]]


def read(given: Arguments) -> ControllerSettings:
    """Check the args of a `HybridController`.

    Raises:
        ArgumentError: one is unknown, missing, not allowed, or contradicts another.
    """
    namespace = given.read("namespace", checks.dns_label)
    groups = given.groups("sites", declared.HybridSiteArgs)
    if not groups:
        raise given.refuse("sites", "empty", "at least one site")
    reached = _Reached([], [], [])
    sites: list[dict[str, Any]] = []
    for group in groups:
        site = _site(group, namespace, reached)
        if any(site["name"] == other["name"] for other in sites):
            raise group.refuse("name", f"{site['name']} again", "each site once")
        sites.append(site)
    names = [str(site["name"]) for site in sites]
    router = given.read("router", checks.server_name)
    access = given.group("access", declared.HybridAccessArgs)
    return ControllerSettings(
        namespace=namespace,
        image=given.read("image", checks.image),
        router=router,
        document={
            "version": 1,
            "router": router,
            "namespace": namespace,
            "model": given.read("model", checks.dns_label),
            "everySeconds": 1,
            "sites": sites,
            "policy": _policy(given.group("policy", declared.HybridPolicyArgs)),
            "routes": _routes(given, names),
        },
        token=given.read("token", site_reporter.token_check),
        reporters=reached.reporters,
        ports_elsewhere=reached.ports,
        ca_secrets=reached.secrets,
        metrics_namespaces=access.read("metrics_namespaces", checks.list_of(checks.dns_label), _NOBODY),
        prometheus=access.maybe("prometheus_namespace", checks.dns_label),
        api_servers=access.maybe("api_server_cidrs", checks.list_of(checks.cidr, at_least=1)),
        placement=read_placement(given, 0, ""),
        dns=given.plain("dns", checks.choice(*network.NAME_SERVERS), "pods"),
        pull_secrets=given.read("image_pull_secrets", checks.list_of(checks.dns_label), _NOBODY),
    )


def _site(group: Arguments, namespace: pulumi.Input[str], reached: _Reached) -> dict[str, Any]:
    if ("reporter" in group) == ("address" in group):
        said = "given beside address" if "address" in group else "missing"
        raise group.refuse("reporter", said, "either reporter or address")
    for key, needs in (("port", "address"), ("tls_server_name", "address"), ("ca_secret", "tls_server_name")):
        if key in group and needs not in group:
            raise group.refuse(key, "given", f"only with {needs}")
    name, ca = None, None
    if "tls_server_name" in group:
        name, ca = group.read("tls_server_name", router_document.host_check), router_document.SYSTEM_CA
        if "ca_secret" in group:
            ca = f"{_CA_FOLDER}/{len(reached.secrets)}/ca.crt"
            reached.secrets.append(group.read("ca_secret", checks.dns_label))
    return {
        "name": group.plain("name", router_document.name_check),
        "url": _url(group, namespace, reached, "http" if name is None else "https"),
        "costPerReplicaHour": group.read(
            "cost_per_replica_hour", checks.number(-1e-9, _DOLLARS, "dollars"), 0
        ),
        "mostReplicas": group.read("most_replicas", checks.whole_number(1, 1000, "replicas")),
        "caFile": ca,
        "serverName": name,
    }


def _url(group: Arguments, namespace: pulumi.Input[str], reached: _Reached, scheme: str) -> pulumi.Input[str]:
    if "reporter" in group:
        reporter = group.read("reporter", checks.server_name)
        reached.reporters.append(reporter)
        return combine(
            lambda name, room: f"http://{name}-report.{room}.svc:{REPORTER_PORT}", reporter, namespace
        )
    port = group.read("port", checks.whole_number(1, 65_535))
    reached.ports.append(port)

    def url(host: str, number: int) -> str:
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{int(number)}"

    return combine(url, group.read("address", router_document.host_check), port)


def _policy(group: Arguments) -> pulumi.Input[dict[str, Any]]:
    def whole(known: Mapping[str, Any]) -> dict[str, Any]:
        at, step, silent = (known[key] for key in ("overflowAt", "step", "silentSeconds"))
        for key, value, fits, allowed in (
            (
                "return_below",
                known["returnBelow"],
                known["returnBelow"] < at,
                f"less than overflow_at, {at:g}",
            ),
            (
                "return_step_percent",
                known["returnStep"],
                known["returnStep"] <= step,
                f"at most step_percent, {step:g}",
            ),
            (
                "hold_seconds",
                known["holdSeconds"],
                known["holdSeconds"] >= silent,
                f"at least silent_seconds, {silent:g}",
            ),
        ):
            if not fits:
                raise group.refuse(key, f"{value:g}", allowed)
        return dict(known)

    percent = checks.number(0.0099, 100, "percent")
    waiting = "waiting requests"
    return combine(
        whole,
        {
            "costCapPerHour": group.read("cost_cap_per_hour", checks.number(-1e-9, _DOLLARS, "dollars")),
            "overflowAt": group.read("overflow_at", checks.number(0, 10_000, waiting), 4),
            "returnBelow": group.read("return_below", checks.number(-1e-9, 10_000, waiting), 1),
            "step": group.read("step_percent", percent, 10),
            "returnStep": group.read("return_step_percent", percent, 5),
            "silentSeconds": group.read("silent_seconds", checks.whole_number(2, 600, "seconds"), 10),
            "holdSeconds": group.read("hold_seconds", checks.whole_number(2, _DAY, "seconds"), 60),
        },
    )


def _routes(given: Arguments, sites: Sequence[str]) -> dict[str, list[str]]:
    named = given.plain_mapping("routes")
    found: dict[str, list[str]] = {}
    for route, places in named.items():
        given.checked("routes", router_document.name_check, route)
        listed = given.checked(f"routes.{route}", checks.list_of(checks.plain_text, at_least=1), places)
        if not {*listed} <= {*sites} or len({*listed}) != len(listed):
            raise given.refuse(
                f"routes.{route}", ", ".join(listed), "some of " + ", ".join(sites) + ", each once"
            )
        if route == ALL and listed != [*sites]:
            raise given.refuse(f"routes.{route}", ", ".join(listed), "all sites in their order")
        found[route] = [*listed]
    return found | {ALL: [*sites]}


class HybridController(pulumi.ComponentResource):
    """Divides a router's requests among sites: what waits at one flows to the next, below a cost cap.

    Deployment of one replica, its document, the token, network policy, disruption budget, the ConfigMap of
    the router's weights, and an account that may write that one.
    """

    name: pulumi.Output[str]
    """Name of the objects."""
    namespace: pulumi.Output[str]
    """Where they are."""
    weights: pulumi.Output[str]
    """Name of the ConfigMap with the router's weights."""

    def __init__(
        self, name: str, args: HybridControllerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        settings = read(Arguments(f"HybridController '{name}'", args, HybridControllerArgs))
        super().__init__("berth:hybrid:HybridController", name, {}, opts)
        agent = _agent(settings)
        child = pulumi.ResourceOptions(parent=self)
        weights = combine(lambda router: f"{router}-weights", settings.router)
        rules = [
            rbac.PolicyRuleArgs(
                api_groups=[""], resources=["configmaps"], resource_names=[weights], verbs=["get", "patch"]
            )
        ]
        before = [
            *agent_pod.permitted(name, agent, rules, child),
            core.ConfigMap(
                f"{name}-document", metadata=agent.metadata(), data={ENTRY: _text(settings)}, opts=child
            ),
            site_reporter.token_secret(name, agent, settings.token, child),
            _network_policy(name, agent, settings, child),
            core.ConfigMap(
                f"{name}-weights",
                metadata=meta.ObjectMetaArgs(name=weights, namespace=settings.namespace, labels=agent.labels),
                # What is in it is the controller's.
                opts=pulumi.ResourceOptions(parent=self, ignore_changes=["data"]),
            ),
        ]
        deployed = agent_pod.deployment(name, agent, pulumi.ResourceOptions(parent=self, depends_on=before))
        policy.PodDisruptionBudget(
            f"{name}-disruption",
            metadata=agent.metadata(),
            spec=pods.disruption_budget(agent.selector),
            opts=child,
        )
        self.name = pulumi.Output.all(agent.object, deployed.urn).apply(lambda known: str(known[0]))
        self.namespace = pulumi.Output.from_input(settings.namespace)
        self.weights = pulumi.Output.from_input(weights)
        self.register_outputs({"name": self.name, "namespace": self.namespace, "weights": self.weights})


def _text(settings: ControllerSettings) -> pulumi.Input[str]:
    return combine(lambda known: json.dumps(known, indent=1), settings.document)


def _agent(settings: ControllerSettings) -> Agent:
    name = combine(lambda router: f"{router}-hybrid", settings.router)
    document = core.ConfigMapVolumeSourceArgs(name=name)
    authorities = [
        (
            core.VolumeArgs(
                name=f"ca-{i}",
                secret=pods.authority(secret),
            ),
            f"{_CA_FOLDER}/{i}",
        )
        for i, secret in enumerate(settings.ca_secrets)
    ]
    return Agent(
        app=APP,
        object=name,
        namespace=settings.namespace,
        labels=pods.labels(APP, settings.router, router=settings.router),
        selector=pods.selector(APP, settings.router),
        image=settings.image,
        command=["python3", "-m", "berth_agents.hybrid", "control"],
        environment={
            "BERTH_HYBRID_DOCUMENT": f"{_DOCUMENT_FOLDER}/{ENTRY}",
            "BERTH_HYBRID_TOKEN_FILE": f"{_TOKEN_FOLDER}/{TOKEN}",
            "BERTH_HYBRID_METRICS_PORT": str(METRICS_PORT),
            "BERTH_HYBRID_PROBES_PORT": str(agent_pod.PROBES_PORT),
        },
        checksum=router_document.checksum_of([settings.document]),
        ports={"metrics": METRICS_PORT},
        alone="two would move the same load twice; while it is away, sites keep their shares",
        serves=False,
        placement=settings.placement,
        pull_secrets=settings.pull_secrets,
        volumes=[
            (core.VolumeArgs(name="document", config_map=document), _DOCUMENT_FOLDER),
            (site_reporter.token_volume(name), _TOKEN_FOLDER),
            *authorities,
        ],
    )


def _network_policy(
    prefix: str, agent: Agent, settings: ControllerSettings, opts: pulumi.ResourceOptions
) -> networking.NetworkPolicy:
    def readers(
        namespaces: Sequence[str], prometheus: str | None
    ) -> list[networking.NetworkPolicyIngressRuleArgs]:
        peers = [
            *network.namespaces(namespaces),
            *([] if prometheus is None else [network.app_in(prometheus, "prometheus")]),
        ]
        ports = [network.port(METRICS_PORT)]
        return [networking.NetworkPolicyIngressRuleArgs(from_=peers, ports=ports)] if peers else []

    out = [network.names(settings.dns), agent_pod.to_api_servers(settings.api_servers)]
    out += [
        networking.NetworkPolicyEgressRuleArgs(
            to=[network.beside(pods.selector(site_reporter.APP, reporter))],
            ports=[network.port(REPORTER_PORT)],
        )
        for reporter in settings.reporters
    ]
    if settings.ports_elsewhere:
        ports = [
            networking.NetworkPolicyPortArgs(port=port, protocol="TCP") for port in settings.ports_elsewhere
        ]
        out.append(networking.NetworkPolicyEgressRuleArgs(to=network.everywhere_but_metadata(), ports=ports))
    return networking.NetworkPolicy(
        f"{prefix}-network",
        metadata=agent.metadata(),
        spec=networking.NetworkPolicySpecArgs(
            pod_selector=meta.LabelSelectorArgs(match_labels=agent.selector),
            policy_types=["Ingress", "Egress"],
            ingress=combine(readers, settings.metrics_namespaces, settings.prometheus),
            egress=out,
        ),
        opts=opts,
    )
