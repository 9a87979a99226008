"""A small agent of ours: one pod with one container that follows the API server."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking
from pulumi_kubernetes.rbac import v1 as rbac

from berth_components import network, pods
from berth_components.arguments import combine, filled
from berth_components.model_server_surroundings import Placement

PROBES_PORT = 9001
Metadata = Callable[[], meta.ObjectMetaArgs]


@dataclass(frozen=True, kw_only=True)
class Agent:
    """What tells one from another.

    Attributes:
        app: its kind, as the label app.kubernetes.io/name says it; also the container's name.
        object: name of its objects.
        labels: of all of them.
        selector: of its pods.
        checksum: changes with what it reads once, so that a change makes a new pod.
        ports: by name, besides that of the probes.
        alone: why there is one replica, for those who ask.
        serves: whether others ask it: the new one is there before the old one goes.
        volumes: besides its /tmp, each mounted read-only at the path.
    """

    app: str
    object: pulumi.Input[str]
    namespace: pulumi.Input[str]
    labels: Mapping[str, pulumi.Input[str]]
    selector: Mapping[str, pulumi.Input[str]]
    image: pulumi.Input[str]
    command: Sequence[str]
    environment: Mapping[str, pulumi.Input[str]]
    checksum: pulumi.Input[str]
    ports: Mapping[str, int]
    alone: str
    serves: bool
    placement: Placement
    pull_secrets: pulumi.Input[Sequence[str]]
    volumes: Sequence[tuple[core.VolumeArgs, str]] = field(default=())

    def metadata(
        self, annotations: pulumi.Input[Mapping[str, pulumi.Input[str]]] | None = None
    ) -> meta.ObjectMetaArgs:
        """Of every object of it."""
        return meta.ObjectMetaArgs(
            name=self.object, namespace=self.namespace, labels=self.labels, annotations=annotations
        )


def permitted(
    prefix: str, agent: Agent, rules: Sequence[rbac.PolicyRuleArgs], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """Its account, and what that may do in the namespace."""
    account = core.ServiceAccount(
        f"{prefix}-account", metadata=agent.metadata(), automount_service_account_token=False, opts=opts
    )
    role = rbac.Role(f"{prefix}-role", metadata=agent.metadata(), rules=[*rules], opts=opts)
    binding = rbac.RoleBinding(
        f"{prefix}-role-binding",
        metadata=agent.metadata(),
        role_ref=rbac.RoleRefArgs(api_group="rbac.authorization.k8s.io", kind="Role", name=agent.object),
        subjects=[rbac.SubjectArgs(kind="ServiceAccount", name=agent.object, namespace=agent.namespace)],
        opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[role, account])),
    )
    return [account, role, binding]


def to_api_servers(
    cidrs: pulumi.Input[Sequence[str]] | None,
) -> networking.NetworkPolicyEgressRuleArgs:
    """The way to API servers, which listen on one of two ports; their name is not looked up."""

    def servers(known: Sequence[str] | None) -> list[networking.NetworkPolicyPeerArgs]:
        return network.ranges(known) if known else network.everywhere_but_metadata()

    return networking.NetworkPolicyEgressRuleArgs(
        to=combine(servers, cidrs), ports=[network.port(443), network.port(6443)]
    )


def deployment(prefix: str, agent: Agent, opts: pulumi.ResourceOptions) -> apps.Deployment:
    """One replica of it."""
    rolling = apps.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0)
    return apps.Deployment(
        f"{prefix}-deployment",
        metadata=agent.metadata({f"{pods.PREFIX}one-replica-reason": agent.alone}),
        spec=apps.DeploymentSpecArgs(
            replicas=1,
            selector=meta.LabelSelectorArgs(match_labels=agent.selector),
            strategy=(
                apps.DeploymentStrategyArgs(type="RollingUpdate", rolling_update=rolling)
                if agent.serves
                else apps.DeploymentStrategyArgs(type="Recreate")
            ),
            template=core.PodTemplateSpecArgs(
                metadata=meta.ObjectMetaArgs(
                    labels=agent.labels,
                    annotations={
                        f"{pods.PREFIX}config-checksum": agent.checksum,
                        "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": f"tmp-{agent.app}",
                    },
                ),
                spec=_pod(agent),
            ),
        ),
        opts=opts,
    )


def _pod(agent: Agent) -> core.PodSpecArgs:
    placement = agent.placement
    return core.PodSpecArgs(
        service_account_name=agent.object,
        automount_service_account_token=True,
        enable_service_links=False,
        security_context=pods.restricted_pod(),
        termination_grace_period_seconds=30,
        image_pull_secrets=pods.pull_secrets(agent.pull_secrets),
        node_selector=filled(placement.node_selector),
        tolerations=filled(placement.tolerations),
        priority_class_name=placement.priority_class,
        runtime_class_name=placement.runtime_class,
        containers=[_container(agent)],
        volumes=[pods.tmp_volume(agent.app), *(volume for volume, _ in agent.volumes)],
    )


def _container(agent: Agent) -> core.ContainerArgs:
    def probe(path: str, period: int, failures: int) -> core.ProbeArgs:
        return core.ProbeArgs(
            http_get=core.HTTPGetActionArgs(path=path, port="probes"),
            period_seconds=period,
            timeout_seconds=5,
            failure_threshold=failures,
        )

    mounts = [
        core.VolumeMountArgs(name=volume.name, mount_path=path, read_only=True)
        for volume, path in agent.volumes
    ]
    ports = {**agent.ports, "probes": PROBES_PORT}
    return core.ContainerArgs(
        name=agent.app,
        image=agent.image,
        image_pull_policy="IfNotPresent",
        command=[*agent.command],
        env=pods.environment(agent.environment),
        ports=[
            core.ContainerPortArgs(name=name, container_port=port, protocol="TCP")
            for name, port in ports.items()
        ],
        resources=core.ResourceRequirementsArgs(
            requests={"cpu": "20m", "memory": "64Mi"}, limits={"cpu": "500m", "memory": "192Mi"}
        ),
        security_context=pods.restricted_container(),
        startup_probe=probe("/ready", 1, 120),
        readiness_probe=probe("/ready", 5, 2),
        liveness_probe=probe("/live", 10, 3),
        volume_mounts=[pods.tmp_mount(agent.app), *mounts],
    )
