"""A device plugin: tells a cluster's scheduler which accelerators its nodes have.

One per cluster and kind of accelerator, whatever the number of pools: it runs on the nodes of all of them
(`node_selectors` holds one entry for each pool). Clouds and the NVIDIA GPU operator bring their own; a second
one on the same node makes the kubelet's list of devices depend on who registered last.

Left out, because a model server fills the GPUs that it holds: time slicing and MPS.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NotRequired, TypedDict

import pulumi
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking
from pulumi_kubernetes.rbac import v1 as rbac

from berth_components import checks, network, pods
from berth_components.arguments import Arguments, Refusal, combine
from berth_components.device_plugin_kinds import KINDS, NEURON_NODES, NVIDIA_NODES, SOCKETS, Kind
from berth_components.model_server_args import ResourcesArgs, TolerationArgs

REASON = (
    f"a device plugin registers with the kubelet by a socket in {SOCKETS} of the host, as root; Pod Security "
    "baseline and restricted allow neither"
)
REASON_KEY = f"{pods.PREFIX}pod-security-reason"
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
# A device plugin holds a few hundred devices at most; the project's own charts set no limits.
_RESOURCES = {"cpu_request": "50m", "memory_request": "128Mi", "memory_limit": "256Mi"}


class DevicePluginArgs(TypedDict):
    """Args of `DevicePlugin`."""

    kind: str
    """nvidia (resource nvidia.com/gpu) or neuron (aws.amazon.com/neuron)."""
    node_selectors: NotRequired[Sequence[Mapping[str, pulumi.Input[str]]]]
    """Which nodes have accelerators: labels for each pool; a node that has all labels of one entry counts.
    Default: what the project's own chart takes: for nvidia the labels of node feature discovery or
    nvidia.com/gpu.present=true, for neuron the instance types that have one."""
    tolerations: NotRequired[Sequence[TolerationArgs]]
    """Taints of those nodes besides the accelerator's own (any value, effect NoSchedule)."""
    image: NotRequired[pulumi.Input[str]]
    """Its image. Default: the version that this component was written for; neuron's has no digest yet."""
    namespace: NotRequired[pulumi.Input[str]]
    """A namespace of its own, created with it. Default: berth-nvidia-device-plugin, or neuron's."""
    runtime_class: NotRequired[pulumi.Input[str]]
    """Only nvidia: the RuntimeClass that brings the driver into a container, such as nvidia on k3s and RKE2.
    Default: none, which is right where NVIDIA's runtime is the node's default."""
    mig_strategy: NotRequired[pulumi.Input[str]]
    """Only nvidia: none (default), single (each slice counts as a nvidia.com/gpu) or mixed (a resource per
    size of slice). Slices cost the plugin the capability SYS_ADMIN. The catalogue's accelerators are
    whole ones."""
    api_server_cidrs: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Only neuron, which reads its node: address ranges of the API servers. Default: any address but the
    clouds' metadata servers'."""
    priority_class: NotRequired[pulumi.Input[str]]
    """A PriorityClass that exists. Default: system-node-critical, since without it a node serves nothing."""
    resources: NotRequired[ResourcesArgs]
    """CPU and memory. Default: 50m and 128Mi, at most 256Mi."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for the registry."""


@dataclass(frozen=True, kw_only=True)
class _Settings:
    kind: Kind
    app: str
    namespace: pulumi.Input[str]
    image: pulumi.Input[str]
    affinity: core.NodeAffinityArgs
    tolerations: Sequence[core.TolerationArgs]
    runtime_class: pulumi.Input[str] | None
    mig: pulumi.Input[str]
    api_servers: pulumi.Input[Sequence[str]] | None
    priority_class: pulumi.Input[str]
    resources: core.ResourceRequirementsArgs
    pull_secrets: pulumi.Input[Sequence[str]]


class DevicePlugin(pulumi.ComponentResource):
    """A device plugin as a DaemonSet, in a namespace of its own that says why it is not restricted.

    It runs as root without any capability (but see `mig_strategy`), sees only the folders of the host that it
    needs, and no packet gets in or out, but for neuron's to the API server.
    """

    namespace: pulumi.Output[str]
    """Its namespace."""
    daemon_set: pulumi.Output[str]
    """Name of the DaemonSet; known once it is declared."""
    resource_key: pulumi.Output[str]
    """The resource that nodes offer through it, such as nvidia.com/gpu."""

    def __init__(self, name: str, args: DevicePluginArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        settings = _read(Arguments(f"DevicePlugin '{name}'", args, DevicePluginArgs))
        super().__init__("berth:accelerators:DevicePlugin", name, {}, opts)
        self._prefix = name
        self._settings = settings
        self._labels = pods.labels(settings.app, settings.app)
        self._selector = pods.selector(settings.app, settings.app)
        created = self._namespace()
        before: list[pulumi.Resource] = [
            created,
            network.deny_all(name, settings.namespace, self._labels, self._child([created])),
            self._account(created),
        ]
        if settings.kind.reads_api:
            before += [self._network_policy(created), *self._permissions(created)]
        daemon_set = self._daemon_set(before)
        self.namespace = pulumi.Output.all(settings.namespace, created.urn).apply(lambda known: str(known[0]))
        self.daemon_set = daemon_set.urn.apply(lambda _: settings.app)
        self.resource_key = daemon_set.urn.apply(lambda _: settings.kind.resource)
        self.register_outputs(
            {
                "namespace": self.namespace,
                "daemonSet": self.daemon_set,
                "resourceKey": self.resource_key,
            }
        )

    def _child(self, depends_on: Sequence[pulumi.Resource] = ()) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*depends_on])

    def _metadata(self, annotations: Mapping[str, str] | None = None) -> meta.ObjectMetaArgs:
        return meta.ObjectMetaArgs(
            name=self._settings.app,
            namespace=self._settings.namespace,
            labels=self._labels,
            annotations=annotations,
        )

    def _cluster_wide(self) -> meta.ObjectMetaArgs:
        return meta.ObjectMetaArgs(name=self._settings.app, labels=self._labels)

    def _namespace(self) -> core.Namespace:
        levels = {f"pod-security.kubernetes.io/{mode}": "privileged" for mode in ("enforce", "audit", "warn")}
        return core.Namespace(
            f"{self._prefix}-namespace",
            metadata=meta.ObjectMetaArgs(
                name=self._settings.namespace,
                labels={**self._labels, **levels},
                annotations={REASON_KEY: REASON},
            ),
            opts=self._child(),
        )

    def _account(self, created: core.Namespace) -> core.ServiceAccount:
        return core.ServiceAccount(
            f"{self._prefix}-account",
            metadata=self._metadata(),
            automount_service_account_token=False,
            opts=self._child([created]),
        )

    def _permissions(self, created: core.Namespace) -> list[pulumi.Resource]:
        """What Neuron's chart gives its plugin; which of it could go, only its makers know."""

        def rule(resource: str, *verbs: str) -> rbac.PolicyRuleArgs:
            return rbac.PolicyRuleArgs(api_groups=[""], resources=[resource], verbs=[*verbs])

        role = rbac.ClusterRole(
            f"{self._prefix}-cluster-role",
            metadata=self._cluster_wide(),
            rules=[
                rule("nodes", "get", "list", "watch"),
                rule("events", "create", "patch"),
                rule("pods", "update", "patch", "get", "list", "watch"),
                rule("nodes/status", "patch", "update"),
                rule("nodes/proxy", "get", "list"),
            ],
            opts=self._child(),
        )
        binding = rbac.ClusterRoleBinding(
            f"{self._prefix}-cluster-role-binding",
            metadata=self._cluster_wide(),
            role_ref=rbac.RoleRefArgs(
                api_group="rbac.authorization.k8s.io", kind="ClusterRole", name=self._settings.app
            ),
            subjects=[
                rbac.SubjectArgs(
                    kind="ServiceAccount", name=self._settings.app, namespace=self._settings.namespace
                )
            ],
            opts=self._child([role, created]),
        )
        return [role, binding]

    def _network_policy(self, created: core.Namespace) -> networking.NetworkPolicy:
        def peers(cidrs: Sequence[str] | None) -> list[networking.NetworkPolicyPeerArgs]:
            return network.ranges(cidrs) if cidrs else network.everywhere_but_metadata()

        return networking.NetworkPolicy(
            f"{self._prefix}-network",
            metadata=self._metadata(),
            spec=networking.NetworkPolicySpecArgs(
                pod_selector=meta.LabelSelectorArgs(match_labels=self._selector),
                policy_types=["Ingress", "Egress"],
                egress=[
                    networking.NetworkPolicyEgressRuleArgs(
                        to=combine(peers, self._settings.api_servers),
                        ports=[network.port(443), network.port(6443)],
                    )
                ],
            ),
            opts=self._child([created]),
        )

    def _daemon_set(self, before: Sequence[pulumi.Resource]) -> apps.DaemonSet:
        settings = self._settings
        return apps.DaemonSet(
            f"{self._prefix}-daemon-set",
            metadata=self._metadata(_reasons(settings.kind)),
            spec=apps.DaemonSetSpecArgs(
                selector=meta.LabelSelectorArgs(match_labels=self._selector),
                # Running pods keep their accelerators while it is replaced; new ones wait, on one node.
                update_strategy=apps.DaemonSetUpdateStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=apps.RollingUpdateDaemonSetArgs(max_unavailable=1),
                ),
                template=core.PodTemplateSpecArgs(
                    metadata=meta.ObjectMetaArgs(labels=self._labels),
                    spec=core.PodSpecArgs(
                        service_account_name=settings.app,
                        automount_service_account_token=settings.kind.reads_api,
                        enable_service_links=False,
                        priority_class_name=settings.priority_class,
                        runtime_class_name=settings.runtime_class,
                        image_pull_secrets=pods.pull_secrets(settings.pull_secrets),
                        affinity=core.AffinityArgs(node_affinity=settings.affinity),
                        tolerations=[*settings.tolerations],
                        security_context=core.PodSecurityContextArgs(
                            run_as_user=0,
                            run_as_group=0,
                            seccomp_profile=core.SeccompProfileArgs(type="RuntimeDefault"),
                        ),
                        containers=[self._container()],
                        volumes=[
                            core.VolumeArgs(
                                name=folder.name,
                                host_path=core.HostPathVolumeSourceArgs(path=folder.path, type=folder.type),
                            )
                            for folder in settings.kind.folders
                        ],
                    ),
                ),
            ),
            opts=self._child(before),
        )

    def _container(self) -> core.ContainerArgs:
        settings = self._settings
        return core.ContainerArgs(
            name=settings.app,
            image=settings.image,
            image_pull_policy="IfNotPresent",
            env=combine(lambda mig: _environment(settings.kind, mig), settings.mig),
            resources=settings.resources,
            security_context=combine(
                lambda mig: _security_context(settings.kind, slices=mig != "none"), settings.mig
            ),
            volume_mounts=[
                core.VolumeMountArgs(
                    name=folder.name, mount_path=folder.path, read_only=folder.read_only or None
                )
                for folder in settings.kind.folders
            ],
        )


def _read(given: Arguments) -> _Settings:
    kind_name = given.plain("kind", checks.choice(*KINDS))
    for key, kind_of_key in (
        ("runtime_class", "nvidia"),
        ("mig_strategy", "nvidia"),
        ("api_server_cidrs", "neuron"),
    ):
        if key in given and kind_name != kind_of_key:
            raise given.refuse(key, "given", f"only with kind {kind_of_key}", "remove it")
    kind = KINDS[kind_name]
    no_secrets: Sequence[str] = ()
    return _Settings(
        kind=kind,
        app=f"{kind_name}-device-plugin",
        namespace=given.read("namespace", checks.dns_label, f"berth-{kind_name}-device-plugin"),
        image=given.read("image", checks.image, kind.image),
        affinity=node_affinity(given, kind_name),
        tolerations=_tolerations(given, kind),
        runtime_class=given.maybe("runtime_class", checks.dns_label),
        mig=given.read("mig_strategy", checks.choice("none", "single", "mixed"), "none"),
        api_servers=given.maybe("api_server_cidrs", checks.list_of(checks.cidr, at_least=1)),
        priority_class=given.read("priority_class", checks.dns_label, "system-node-critical"),
        resources=_resources(given),
        pull_secrets=given.read("image_pull_secrets", checks.list_of(checks.dns_label), no_secrets),
    )


def node_affinity(given: Arguments, kind: str) -> core.NodeAffinityArgs:
    """Nodes that have all labels of one of the selectors: a plain nodeSelector cannot say "one of"."""
    default = NVIDIA_NODES if kind == "nvidia" else NEURON_NODES
    asked = given.maybe("node_selectors", checks.list_of(_labels, at_least=1))

    def terms(selectors: Sequence[Mapping[str, str]] | None) -> list[core.NodeSelectorTermArgs]:
        if selectors is None:
            return [_term(one) for one in default]
        # Pools whose nodes have the same labels need one term.
        return [_term({key: (value,) for key, value in one.items()}) for one in _distinct(selectors)]

    return core.NodeAffinityArgs(
        required_during_scheduling_ignored_during_execution=core.NodeSelectorArgs(
            node_selector_terms=combine(terms, asked)
        )
    )


def _term(values: Mapping[str, Sequence[str]]) -> core.NodeSelectorTermArgs:
    return core.NodeSelectorTermArgs(
        match_expressions=[
            core.NodeSelectorRequirementArgs(key=key, operator="In", values=[*allowed])
            for key, allowed in sorted(values.items())
        ]
    )


def _distinct(selectors: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    return [one for number, one in enumerate(selectors) if one not in selectors[:number]]


def _labels(value: Any) -> Mapping[str, str]:
    found = checks.mapping_of(checks.qualified_name, checks.label_value)(value)
    if not found:
        raise Refusal("at least one label", "without one the plugin would run on every node")
    return found


def _tolerations(given: Arguments, kind: Kind) -> list[core.TolerationArgs]:
    found = [core.TolerationArgs(key=kind.resource, operator="Exists", effect="NoSchedule")]
    for one in given.groups("tolerations", TolerationArgs):
        value = one.maybe("value", checks.label_value)
        found.append(
            core.TolerationArgs(
                key=one.read("key", checks.qualified_name),
                operator="Exists" if value is None else "Equal",
                value=value,
                effect=one.maybe("effect", checks.choice(*_EFFECTS)),
            )
        )
    return found


def _resources(given: Arguments) -> core.ResourceRequirementsArgs:
    group = given.group("resources", ResourcesArgs, _RESOURCES)
    requests = {unit: group.read(f"{unit}_request", checks.quantity) for unit in ("cpu", "memory")}
    limits = {"memory": group.read("memory_limit", checks.quantity)}
    if "cpu_limit" in group:
        limits["cpu"] = group.read("cpu_limit", checks.quantity)
    for unit, limit in limits.items():

        def at_least_request(limit: str, request: str, unit: str = unit) -> str:
            if checks.amount(limit) < checks.amount(request):
                raise group.refuse(f"{unit}_limit", limit, f"at least {unit}_request, which is {request}")
            return limit

        limits[unit] = combine(at_least_request, limit, requests[unit])
    return core.ResourceRequirementsArgs(requests=requests, limits=limits)


def _environment(kind: Kind, mig: str) -> list[core.EnvVarArgs]:
    values = dict(kind.environment)
    if kind is KINDS["nvidia"]:
        values["MIG_STRATEGY"] = mig
        if mig != "none":
            values["NVIDIA_MIG_MONITOR_DEVICES"] = "all"
    found = pods.environment(values)
    if kind.reads_api:
        node = core.ObjectFieldSelectorArgs(field_path="spec.nodeName")
        found.append(core.EnvVarArgs(name="NODE_NAME", value_from=core.EnvVarSourceArgs(field_ref=node)))
    return found


def _reasons(kind: Kind) -> dict[str, str]:
    """Why it is what a pod should not be, as annotations."""
    root = "the kubelet's folder of sockets belongs to root, and nobody else may enter it"
    found = {f"{pods.PREFIX}root-reason": root}
    if kind.writes_because:
        found[f"{pods.PREFIX}writable-root-reason"] = kind.writes_because
    return found


def _security_context(kind: Kind, *, slices: bool) -> core.SecurityContextArgs:
    # NVIDIA's chart adds SYS_ADMIN for slices: without it a container cannot watch MIG devices. Kubernetes
    # counts a container with SYS_ADMIN as one that may escalate.
    return core.SecurityContextArgs(
        privileged=False,
        allow_privilege_escalation=slices,
        read_only_root_filesystem=not kind.writes_because,
        capabilities=core.CapabilitiesArgs(drop=["ALL"], add=["SYS_ADMIN"] if slices else None),
    )
