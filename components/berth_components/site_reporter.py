"""A reporter: tells a hybrid controller, wherever that is, how busy a site is and what it runs."""

import base64
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

from berth_components import agent_pod, checks, network, pods, router_entrance
from berth_components import site_reporter_args as declared
from berth_components.agent_pod import Agent
from berth_components.arguments import Arguments, combine, filled
from berth_components.model_server_pod import METRICS_PORT as GATEWAY_METRICS_PORT
from berth_components.model_server_surroundings import Placement, read_placement
from berth_components.site_reporter_args import SiteReporterArgs

APP, CONTROLLER_APP = "site-reporter", "hybrid-controller"
PORT = 8080
TOKEN = "token"  # noqa: S105 - the name of an entry
ENTRY = "site.json"
_DOCUMENT_FOLDER, _TOKEN_FOLDER, _TLS_FOLDER = (
    "/etc/berth-site",
    "/etc/berth-site-token",
    "/etc/berth-site-tls",
)
_NOBODY: Sequence[str] = ()
MIN_TOKEN = 32
token_check = checks.text(
    rf"[\x21-\x7e]{{{MIN_TOKEN},256}}", f"{MIN_TOKEN} to 256 printable ASCII characters without blanks"
)


@dataclass(frozen=True, kw_only=True)
class ReporterSettings:
    """The args of a `SiteReporter`, checked."""

    name: pulumi.Input[str]
    namespace: pulumi.Input[str]
    image: pulumi.Input[str]
    site: pulumi.Input[str]
    models: Mapping[str, Mapping[str, Any]]
    token: pulumi.Input[str]
    service_type: str
    node_port: pulumi.Input[int] | None
    policy: pulumi.Input[str] | None
    annotations: pulumi.Input[Mapping[str, pulumi.Input[str]]]
    controllers: pulumi.Input[Sequence[str]]
    cidrs: pulumi.Input[Sequence[str]]
    api_servers: pulumi.Input[Sequence[str]] | None
    tls_secret: pulumi.Input[str] | None
    placement: Placement
    pull_secrets: pulumi.Input[Sequence[str]]


def read(given: Arguments, name: str) -> ReporterSettings:
    """Check the args of a `SiteReporter`.

    Raises:
        ArgumentError: one is unknown, missing, not allowed, or contradicts another.
    """
    service = given.group("service", declared.SiteReporterServiceArgs)
    kind = service.plain("type", checks.choice("ClusterIP", "NodePort", "LoadBalancer"), "ClusterIP")
    outside = kind != "ClusterIP"
    if "node_port" in service and kind != "NodePort":
        raise service.refuse("node_port", "given", "only with type NodePort", f"type is {kind}")
    if "external_traffic_policy" in service and not outside:
        raise service.refuse("external_traffic_policy", "given", "only with NodePort and LoadBalancer")
    access = given.group("access", declared.SiteReporterAccessArgs)
    controllers = access.read("controllers", checks.list_of(checks.server_name), _NOBODY)

    def somebody(cidrs: Sequence[str], controllers: Sequence[str]) -> Sequence[str]:
        if not cidrs and (outside or not controllers):
            allowed = "the ranges that controllers come from" if outside else "client_cidrs or controllers"
            raise access.refuse("client_cidrs", "empty", allowed)
        if checks.is_everybody(cidrs):
            given_all = ", ".join(cidrs) + ", which is everybody"
            raise access.refuse("client_cidrs", given_all, "the ranges that controllers come from")
        return cidrs

    return ReporterSettings(
        name=given.read("name", checks.server_name, name),
        namespace=given.read("namespace", checks.dns_label),
        image=given.read("image", checks.image),
        site=given.read("site", checks.dns_label),
        models=_models(given),
        token=given.read("token", token_check),
        service_type=kind,
        node_port=service.maybe("node_port", checks.whole_number(30000, 32767)),
        policy=(
            service.read("external_traffic_policy", checks.choice("Local", "Cluster"), "Local")
            if outside
            else None
        ),
        annotations=service.read(
            "annotations", checks.mapping_of(checks.qualified_name, checks.plain_text), {}
        ),
        controllers=controllers,
        cidrs=combine(
            somebody, access.read("client_cidrs", checks.list_of(checks.cidr), _NOBODY), controllers
        ),
        api_servers=access.maybe("api_server_cidrs", checks.list_of(checks.cidr, at_least=1)),
        tls_secret=given.maybe("tls_secret", checks.dns_label),
        placement=read_placement(given, 0, ""),
        pull_secrets=given.read("image_pull_secrets", checks.list_of(checks.dns_label), _NOBODY),
    )


def _models(given: Arguments) -> Mapping[str, Mapping[str, Any]]:
    groups = given.named("models", declared.ReportedModelArgs)
    if not groups:
        raise given.refuse("models", "empty", "at least one model")
    return {
        given.checked("models", checks.dns_label, name): {
            "service": group.read("service", checks.server_name),
            "selector": group.read("selector", checks.mapping_of(checks.qualified_name, checks.label_value)),
            "metricsPort": "metrics",
        }
        for name, group in groups.items()
    }


def _document(settings: ReporterSettings) -> pulumi.Input[str]:
    """What it counts, as it reads it (agents/berth_agents/hybrid)."""
    return combine(lambda known: json.dumps({"version": 1, "models": known}, indent=1), settings.models)


class SiteReporter(pulumi.ComponentResource):
    """Tells, to who has its token, how many requests wait and run at a site, and how many replicas cost.

    Deployment, Service, document, token, network policy, disruption budget, and an account that reads the
    namespace's pods and endpoints.
    """

    name: pulumi.Output[str]
    """Name of the objects."""
    namespace: pulumi.Output[str]
    """Where they are."""
    service: pulumi.Output[str]
    """Name of the Service, known once it has endpoints."""
    url: pulumi.Output[str]
    """Where it is in its cluster."""
    node_port: pulumi.Output[int]
    """The port on every node; 0 where there is none, or none yet."""
    address: pulumi.Output[str]
    """Host name or address of its load balancer; "" where there is none, or none yet."""

    def __init__(self, name: str, args: SiteReporterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        settings = read(Arguments(f"SiteReporter '{name}'", args, SiteReporterArgs), name)
        super().__init__("berth:hybrid:SiteReporter", name, {}, opts)
        agent = _agent(settings)
        child = pulumi.ResourceOptions(parent=self)
        rules = [
            rbac.PolicyRuleArgs(api_groups=[""], resources=["pods"], verbs=["list", "watch"]),
            rbac.PolicyRuleArgs(
                api_groups=["discovery.k8s.io"], resources=["endpointslices"], verbs=["list", "watch"]
            ),
        ]
        before = [
            *agent_pod.permitted(name, agent, rules, child),
            core.ConfigMap(
                f"{name}-document", metadata=agent.metadata(), data={ENTRY: _document(settings)}, opts=child
            ),
            token_secret(name, agent, settings.token, child),
            _network_policy(name, agent, settings, child),
        ]
        agent_pod.deployment(name, agent, pulumi.ResourceOptions(parent=self, depends_on=before))
        service = _service(name, agent, settings, child)
        policy.PodDisruptionBudget(
            f"{name}-disruption",
            metadata=agent.metadata(),
            spec=pods.disruption_budget(agent.selector),
            opts=child,
        )
        self.name = pulumi.Output.from_input(agent.object)
        self.namespace = pulumi.Output.from_input(settings.namespace)
        self.service = pulumi.Output.all(agent.object, service.urn).apply(lambda known: str(known[0]))
        self.url = pulumi.Output.format(
            "{0}://{1}.{2}.svc:{3}",
            "http" if settings.tls_secret is None else "https",
            agent.object,
            settings.namespace,
            str(PORT),
        )
        self.node_port = service.spec.apply(router_entrance.node_port)
        self.address = service.status.apply(router_entrance.address)
        self.register_outputs(
            {
                "name": self.name,
                "namespace": self.namespace,
                "service": self.service,
                "url": self.url,
                "nodePort": self.node_port,
                "address": self.address,
            }
        )


def _agent(settings: ReporterSettings) -> Agent:
    name = combine(lambda known: f"{known}-report", settings.name)
    volumes = [
        (
            core.VolumeArgs(name="document", config_map=core.ConfigMapVolumeSourceArgs(name=name)),
            _DOCUMENT_FOLDER,
        ),
        (token_volume(name), _TOKEN_FOLDER),
    ]
    environment = {
        "BERTH_SITE": settings.site,
        "BERTH_SITE_NAMESPACE": settings.namespace,
        "BERTH_SITE_DOCUMENT": f"{_DOCUMENT_FOLDER}/{ENTRY}",
        "BERTH_SITE_TOKEN_FILE": f"{_TOKEN_FOLDER}/{TOKEN}",
        "BERTH_SITE_PORT": str(PORT),
        "BERTH_SITE_PROBES_PORT": str(agent_pod.PROBES_PORT),
    }
    if settings.tls_secret is not None:
        environment["BERTH_SITE_TLS"] = _TLS_FOLDER
        tls = core.SecretVolumeSourceArgs(secret_name=settings.tls_secret, default_mode=0o440)
        volumes.append((core.VolumeArgs(name="tls", secret=tls), _TLS_FOLDER))
    return Agent(
        app=APP,
        object=name,
        namespace=settings.namespace,
        labels=pods.labels(APP, settings.name, site=settings.site),
        selector=pods.selector(APP, settings.name),
        image=settings.image,
        command=["python3", "-m", "berth_agents.hybrid", "report"],
        environment=environment,
        checksum=combine(lambda text, site: pods.checksum({"document": text, "site": site}),
                         _document(settings), settings.site),
        ports={"http": PORT},
        alone="a site that does not report keeps its share of the requests until it does again",
        serves=True,
        placement=settings.placement,
        pull_secrets=settings.pull_secrets,
        volumes=volumes,
    )  # fmt: skip


def token_secret(
    prefix: str, agent: Agent, token: pulumi.Input[str], opts: pulumi.ResourceOptions
) -> core.Secret:
    """The Secret with what a controller shows to reporters."""
    # `data`, not `stringData`, as in a model server's keys.
    encoded = pulumi.Output.secret(token).apply(lambda known: base64.b64encode(known.encode()).decode())
    return core.Secret(
        f"{prefix}-token", metadata=agent.metadata(), type="Opaque", data={TOKEN: encoded}, opts=opts
    )


def token_volume(secret: pulumi.Input[str]) -> core.VolumeArgs:
    """The same as a volume."""
    return core.VolumeArgs(
        name="token", secret=core.SecretVolumeSourceArgs(secret_name=secret, default_mode=0o440)
    )


def _network_policy(
    prefix: str, agent: Agent, settings: ReporterSettings, opts: pulumi.ResourceOptions
) -> networking.NetworkPolicy:
    def ways_in(
        cidrs: Sequence[str], controllers: Sequence[str]
    ) -> list[networking.NetworkPolicyIngressRuleArgs]:
        peers = [
            *network.ranges(cidrs),
            *(network.beside(pods.selector(CONTROLLER_APP, name)) for name in controllers),
        ]
        return [networking.NetworkPolicyIngressRuleArgs(from_=peers, ports=[network.port(PORT)])]

    gateways = [network.beside(one["selector"]) for one in settings.models.values()]
    return networking.NetworkPolicy(
        f"{prefix}-network",
        metadata=agent.metadata(),
        spec=networking.NetworkPolicySpecArgs(
            pod_selector=meta.LabelSelectorArgs(match_labels=agent.selector),
            policy_types=["Ingress", "Egress"],
            ingress=combine(ways_in, settings.cidrs, settings.controllers),
            egress=[
                agent_pod.to_api_servers(settings.api_servers),
                networking.NetworkPolicyEgressRuleArgs(
                    to=gateways, ports=[network.port(GATEWAY_METRICS_PORT)]
                ),
            ],
        ),
        opts=opts,
    )


def _service(
    prefix: str, agent: Agent, settings: ReporterSettings, opts: pulumi.ResourceOptions
) -> core.Service:
    return core.Service(
        f"{prefix}-service",
        metadata=agent.metadata(filled(settings.annotations)),
        spec=core.ServiceSpecArgs(
            type=settings.service_type,
            selector=agent.selector,
            external_traffic_policy=settings.policy,
            load_balancer_source_ranges=(
                filled(settings.cidrs) if settings.service_type == "LoadBalancer" else None
            ),
            ports=[
                core.ServicePortArgs(
                    name="http",
                    port=PORT,
                    target_port="http",
                    node_port=settings.node_port,
                    protocol="TCP",
                    app_protocol="http" if settings.tls_secret is None else "https",
                )
            ],
        ),
        opts=opts,
    )
