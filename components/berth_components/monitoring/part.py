"""What every part of monitoring is made with: names, labels, and the objects that most of them have."""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import pulumi
import yaml
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking
from pulumi_kubernetes.policy import v1 as policy
from pulumi_kubernetes.rbac import v1 as rbac

from berth_components import checks, network, pods
from berth_components import model_server_args as declared
from berth_components.arguments import Arguments, Check, Refusal, combine
from berth_components.model_server_resources import read_resources

INSTANCE = "berth"
"""Label app.kubernetes.io/instance of every part."""
LINUX: Mapping[str, str] = {"kubernetes.io/os": "linux"}
"""Which nodes an agent of every node runs on: there may be others in a cluster."""
ONE_REPLICA = f"{pods.PREFIX}one-replica-reason"
ROOT = f"{pods.PREFIX}root-reason"
"""Annotation that says why a second replica would be wrong; policies ask for two in production."""
NOBODY: Sequence[str] = ()
_LINE = 120
_NO_WAIT = {"pulumi.com/skipAwait": "true"}


class WatchedArgs(TypedDict):
    """A namespace in which pods are looked for."""

    name: str
    """A name of this program's for it, unique among them."""
    namespace: pulumi.Input[str]
    """The namespace, which exists."""


class Part(pulumi.ComponentResource):
    """One part of monitoring: its objects are called `berth-<app>` and carry the label of its app."""

    app: str
    """The label app.kubernetes.io/name of its pods."""

    def __init__(
        self,
        token: str,
        name: str,
        app: str,
        namespace: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None,
    ) -> None:
        """Declare nothing yet.

        Args:
            token: last part of the type token, such as Prometheus.
            name: the component's name.
            app: what it is.
            namespace: where it is; it exists.
            opts: options, with an explicit provider.
        """
        super().__init__(f"berth:monitoring:{token}", name, {}, opts)
        self.app = app
        self.object = f"berth-{app}"
        self._prefix = name
        self._namespace = namespace
        self._labels = pods.labels(app, INSTANCE)
        self._selector = pods.selector(app, INSTANCE)

    def _child(self, depends_on: Sequence[pulumi.Resource] = ()) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*depends_on])

    def _metadata(
        self,
        suffix: str = "",
        namespace: pulumi.Input[str] | None = None,
        annotations: Mapping[str, pulumi.Input[str]] | None = None,
    ) -> meta.ObjectMetaArgs:
        return meta.ObjectMetaArgs(
            name=self.object + suffix,
            namespace=namespace or self._namespace,
            labels=self._labels,
            annotations=annotations,
        )

    def _account(self) -> core.ServiceAccount:
        return core.ServiceAccount(
            f"{self._prefix}-account",
            metadata=self._metadata(),
            automount_service_account_token=False,
            opts=self._child(),
        )

    def _config(self, suffix: str, data: pulumi.Input[Mapping[str, pulumi.Input[str]]]) -> core.ConfigMap:
        return core.ConfigMap(
            f"{self._prefix}{suffix}", metadata=self._metadata(suffix), data=data, opts=self._child()
        )

    def _network_policy(
        self,
        ingress: Sequence[networking.NetworkPolicyIngressRuleArgs] = (),
        egress: Sequence[networking.NetworkPolicyEgressRuleArgs] = (),
        annotations: Mapping[str, pulumi.Input[str]] | None = None,
    ) -> networking.NetworkPolicy:
        return networking.NetworkPolicy(
            f"{self._prefix}-network",
            metadata=self._metadata(annotations=annotations),
            spec=networking.NetworkPolicySpecArgs(
                pod_selector=meta.LabelSelectorArgs(match_labels=self._selector),
                policy_types=["Ingress", "Egress"],
                ingress=[*ingress] or None,
                egress=[*egress] or None,
            ),
            opts=self._child(),
        )

    def _service(
        self, ports: Mapping[str, int], node_port: pulumi.Input[int] | None = None, *, headless: bool = False
    ) -> core.Service:
        return core.Service(
            f"{self._prefix}-service",
            metadata=self._metadata(),
            spec=core.ServiceSpecArgs(
                type="ClusterIP" if node_port is None else "NodePort",
                cluster_ip="None" if headless else None,
                selector=self._selector,
                # Its clients' addresses are seen by the network policy; see model servers.
                external_traffic_policy=None if node_port is None else "Cluster",
                ports=[
                    core.ServicePortArgs(
                        name=name, port=port, target_port=name, node_port=node_port, protocol="TCP"
                    )
                    for name, port in ports.items()
                ],
            ),
            opts=self._child(),
        )

    def _disruption_budget(self) -> policy.PodDisruptionBudget:
        return policy.PodDisruptionBudget(
            f"{self._prefix}-disruption",
            metadata=self._metadata(),
            spec=pods.disruption_budget(self._selector),
            opts=self._child(),
        )

    def _served(self, service: core.Service, workload: pulumi.Resource) -> pulumi.Output[str]:
        """Name of the Service, known once what is behind it is declared."""
        return pulumi.Output.all(service.urn, workload.urn).apply(lambda _: self.object)

    def _url(self, port: int) -> pulumi.Output[str]:
        """Where others in the cluster ask it."""
        return pulumi.Output.format("http://{0}.{1}.svc:{2}", self.object, self._namespace, str(port))

    def _claim(
        self, size: pulumi.Input[str], storage_class: pulumi.Input[str] | None
    ) -> core.PersistentVolumeClaim:
        return core.PersistentVolumeClaim(
            f"{self._prefix}-data",
            # A volume that binds when its first pod is scheduled would wait for a pod that waits for it.
            metadata=self._metadata("-data", annotations=_NO_WAIT),
            spec=core.PersistentVolumeClaimSpecArgs(
                access_modes=["ReadWriteOnce"],
                storage_class_name=storage_class,
                resources=core.VolumeResourceRequirementsArgs(requests={"storage": size}),
            ),
            opts=self._child(),
        )

    def _data_volume(self) -> core.VolumeArgs:
        claim = core.PersistentVolumeClaimVolumeSourceArgs(claim_name=f"{self.object}-data")
        return core.VolumeArgs(name="data", persistent_volume_claim=claim)

    def _cluster_role(self, rules: Sequence[rbac.PolicyRuleArgs]) -> list[pulumi.Resource]:
        labels = meta.ObjectMetaArgs(name=self.object, labels=self._labels)
        role = rbac.ClusterRole(
            f"{self._prefix}-cluster-role", metadata=labels, rules=[*rules], opts=self._child()
        )
        binding = rbac.ClusterRoleBinding(
            f"{self._prefix}-cluster-role-binding",
            metadata=labels,
            role_ref=_role("ClusterRole", self.object),
            subjects=[self._subject()],
            opts=self._child([role]),
        )
        return [role, binding]

    def _roles(
        self, namespaces: Mapping[str, pulumi.Input[str]], rules: Sequence[rbac.PolicyRuleArgs]
    ) -> list[pulumi.Resource]:
        """The same permissions in each of some namespaces, by a name for each."""
        found: list[pulumi.Resource] = []
        for key, namespace in namespaces.items():
            role = rbac.Role(
                f"{self._prefix}-role-{key}",
                metadata=self._metadata(namespace=namespace),
                rules=[*rules],
                opts=self._child(),
            )
            binding = rbac.RoleBinding(
                f"{self._prefix}-role-binding-{key}",
                metadata=self._metadata(namespace=namespace),
                role_ref=_role("Role", self.object),
                subjects=[self._subject()],
                opts=self._child([role]),
            )
            found += [role, binding]
        return found

    def _subject(self) -> rbac.SubjectArgs:
        return rbac.SubjectArgs(kind="ServiceAccount", name=self.object, namespace=self._namespace)

    def _pod(
        self,
        container: core.ContainerArgs,
        volumes: Sequence[core.VolumeArgs],
        *,
        pull_secrets: pulumi.Input[Sequence[str]],
        token: bool = False,
        grace: int = 30,
    ) -> core.PodSpecArgs:
        """A pod of one container that Pod Security "restricted" admits."""
        return core.PodSpecArgs(
            service_account_name=self.object,
            automount_service_account_token=token,
            enable_service_links=False,
            security_context=pods.restricted_pod(),
            termination_grace_period_seconds=grace,
            image_pull_secrets=pods.pull_secrets(pull_secrets),
            containers=[container],
            volumes=[*volumes],
        )

    def _template(
        self, spec: core.PodSpecArgs, checksum: pulumi.Input[str] | None = None, local: Sequence[str] = ()
    ) -> core.PodTemplateSpecArgs:
        """Its pods; those of a changed configuration replace the others. `local` are volumes that may go."""
        annotations: dict[str, pulumi.Input[str]] = {}
        if checksum is not None:
            annotations[f"{pods.PREFIX}config-checksum"] = checksum
        if local:
            annotations["cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"] = ",".join(local)
        return core.PodTemplateSpecArgs(
            metadata=meta.ObjectMetaArgs(labels=self._labels, annotations=annotations or None), spec=spec
        )


def resources(given: Arguments, cpu: str, memory: str, limit: str) -> core.ResourceRequirementsArgs:
    """The group `resources` of a part, with its defaults."""
    default = {"cpu_request": cpu, "memory_request": memory, "memory_limit": limit}
    return read_resources(given, default)


def probe(path: str, port: str, *, period: int, failures: int) -> core.ProbeArgs:
    """Asks a path of a named port."""
    return core.ProbeArgs(
        http_get=core.HTTPGetActionArgs(path=path, port=port),
        period_seconds=period,
        timeout_seconds=5,
        failure_threshold=failures,
    )


def config_volume(name: str, config_map: pulumi.Input[str]) -> core.VolumeArgs:
    """A ConfigMap as files."""
    return core.VolumeArgs(name=name, config_map=core.ConfigMapVolumeSourceArgs(name=config_map))


def mount(name: str, path: str, *, read_only: bool = True) -> core.VolumeMountArgs:
    """A volume at a path."""
    return core.VolumeMountArgs(name=name, mount_path=path, read_only=read_only or None)


def admit(
    peers: pulumi.Input[Sequence[networking.NetworkPolicyPeerArgs]], *ports: int
) -> networking.NetworkPolicyIngressRuleArgs:
    """A way in."""
    return networking.NetworkPolicyIngressRuleArgs(from_=peers, ports=[network.port(one) for one in ports])


def reach(
    peers: pulumi.Input[Sequence[networking.NetworkPolicyPeerArgs]], *ports: int
) -> networking.NetworkPolicyEgressRuleArgs:
    """A way out."""
    return networking.NetworkPolicyEgressRuleArgs(to=peers, ports=[network.port(one) for one in ports])


def api_servers(cidrs: pulumi.Input[Sequence[str]] | None) -> networking.NetworkPolicyEgressRuleArgs:
    """The way to the API servers: their ranges, or every address but the metadata servers'."""

    def peers(known: Sequence[str] | None) -> list[networking.NetworkPolicyPeerArgs]:
        return network.ranges(known) if known else network.everywhere_but_metadata()

    return reach(combine(peers, cidrs), 443, 6443)


def read_clients(given: Arguments) -> Sequence[networking.NetworkPolicyPeerArgs]:
    """Who may come in from outside: the args `client_cidrs` and `client_namespaces`, known to the program."""
    cidrs = given.plain("client_cidrs", checks.list_of(_not_everybody), NOBODY)
    names = given.plain("client_namespaces", checks.list_of(checks.dns_label), NOBODY)
    return [*network.ranges(cidrs), *network.namespaces(names)]


def _not_everybody(value: Any) -> str:
    found = checks.cidr(value)
    if checks.is_everybody([found]):
        raise Refusal(
            "the ranges of the people who look", "monitoring shows prompts' sizes, keys' names and costs"
        )
    return found


def read_storage(
    given: Arguments, default: str
) -> tuple[pulumi.Input[str], pulumi.Input[str] | None, pulumi.Input[Sequence[str]]]:
    """Size and class of its volume, and the Secrets of its registry."""
    return (
        given.read("storage", checks.quantity, default),
        given.maybe("storage_class", checks.plain_text),
        given.read("image_pull_secrets", checks.list_of(checks.dns_label), NOBODY),
    )


def watched(given: Arguments) -> dict[str, pulumi.Input[str]]:
    """The argument `watched`: namespaces by the program's names."""
    return {
        one.plain("name", checks.dns_label): one.read("namespace", checks.dns_label)
        for one in given.groups("watched", WatchedArgs)
    }


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping that something else made and judges."""
    if not isinstance(value, Mapping):
        raise Refusal("a mapping")
    return value


NODE_PORT: Check[int] = checks.whole_number(30000, 32767)
ResourcesArgs = declared.ResourcesArgs
EgressArgs = declared.EgressArgs
TolerationArgs = declared.TolerationArgs


def file_names(names: Sequence[str]) -> list[str]:
    """Names as objects and files may have them; those that would be the same are numbered."""
    plain = [re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") for name in names]
    return [
        name if name not in plain[:i] else f"{name}-{plain[:i].count(name) + 1}"
        for i, name in enumerate(plain)
    ]


def checksum(text: str) -> str:
    """Changes when a configuration does."""
    return pods.checksum({"config": text})


def encoded(text: pulumi.Input[str]) -> pulumi.Output[str]:
    """A secret as a Secret's data has it: `stringData` would keep what is taken away."""
    return pulumi.Output.secret(text).apply(base64_of)


def base64_of(text: str) -> str:
    """Text as a Secret's data has it."""
    return base64.b64encode(str(text).encode()).decode()


def text_of(config: Any) -> str:
    """A configuration as YAML, in the order that it was made in."""
    return yaml.safe_dump(config, sort_keys=False, allow_unicode=True, width=_LINE)


def _role(kind: str, name: str) -> rbac.RoleRefArgs:
    return rbac.RoleRefArgs(api_group="rbac.authorization.k8s.io", kind=kind, name=name)
