"""Cluster Autoscaler: adds nodes to managed node groups when pods find no room, and removes idle ones.

Without it the minimum and maximum of a pool are inert, whatever they say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi
from pulumi_aws import eks, iam
from pulumi_kubernetes.apps import v1 as apps
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.networking import v1 as networking
from pulumi_kubernetes.policy import v1 as policy

from berth_components import checks, network, pod_identity, pods
from berth_components.arguments import ArgumentError, Arguments, combine
from berth_components.aws import autoscaler_rbac
from berth_components.aws import checks as aws_checks
from berth_components.aws.nodes import AUTOSCALER_TAG
from berth_components.aws.shared import (
    POD_IDENTITY_ADDRESS,
    ROLE_NAME,
    Json,
    Place,
    check_name,
    needed_input,
    pod_trust,
    require_kubernetes,
    role,
)

IMAGE = "registry.k8s.io/autoscaling/cluster-autoscaler"
RELEASES = {
    "1.32": "v1.32.5",
    "1.33": "v1.33.5",
    "1.34": "v1.34.5",
    "1.35": "v1.35.1",
    "1.36": "v1.36.1",
}
"""The release for each minor version of Kubernetes, which must be the cluster's. Sources: kubernetes/k8s.io
pull requests 8815 (2025) and 9676 (2026-07-02), releases cluster-autoscaler-1.34.5 and -1.36.1 of
kubernetes/autoscaler (2026-07-23)."""
APP = "cluster-autoscaler"
PORT = 8085
DEFAULT_NAMESPACE = "berth-autoscaler"
_SELECTOR: Mapping[str, pulumi.Input[str]] = pods.selector(APP, APP)


class ClusterAutoscalerArgs(TypedDict):
    """Args of `ClusterAutoscaler`. Options: an AWS provider and the cluster's Kubernetes provider."""

    cluster_name: pulumi.Input[str]
    """The cluster: `EksCluster.cluster_name`."""
    kubernetes_version: NotRequired[pulumi.Input[str]]
    """The cluster's Kubernetes version, such as 1.34, which chooses the release. Exactly one of it and
    image."""
    image: NotRequired[pulumi.Input[str]]
    """Its image, such as a mirror's, by digest in production."""
    namespace: NotRequired[pulumi.Input[str]]
    """The namespace of its own, created with it. Default: berth-autoscaler."""
    replicas: NotRequired[pulumi.Input[int]]
    """How many, 1 to 3; one leads, the others wait. Default: 2."""
    unneeded_seconds: NotRequired[pulumi.Input[int]]
    """How long a node must be idle before it is removed, 60 to 86400 seconds. Default: 600. A GPU node takes
    minutes to come back."""
    expander: NotRequired[pulumi.Input[str]]
    """Which pool grows where several fit: least-waste (default), most-pods or random."""
    metrics_namespaces: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Namespaces that may read its metrics. Default: none."""
    image_pull_secrets: NotRequired[pulumi.Input[Sequence[pulumi.Input[str]]]]
    """Secrets that exist in its namespace, for a registry of your own. Default: none."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """AWS tags of its role. Default: none."""


@dataclass(frozen=True, kw_only=True)
class _Settings:
    cluster: pulumi.Input[str]
    image: pulumi.Input[str]
    namespace: pulumi.Input[str]
    replicas: pulumi.Input[int]
    unneeded: pulumi.Input[int]
    expander: pulumi.Input[str]
    metrics: pulumi.Input[Sequence[str]]
    pull_secrets: pulumi.Input[Sequence[str]]
    tags: pulumi.Input[Mapping[str, str]]


class ClusterAutoscaler(pulumi.ComponentResource):
    """The autoscaler of a cluster's nodes, with the permissions for that cluster's node groups alone."""

    namespace: pulumi.Output[str]
    """Where it runs."""
    role_arn: pulumi.Output[str]
    """The IAM role that it works with."""

    def __init__(
        self, name: str, args: ClusterAutoscalerArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        who = f"ClusterAutoscaler '{name}'"
        settings = _read(Arguments(who, args, ClusterAutoscalerArgs), who)
        check_name(who, name, "-role", ROLE_NAME)
        super().__init__("berth:aws:ClusterAutoscaler", name, {}, opts)
        self._name = name
        self._namespace = settings.namespace
        self._labels = pods.labels(APP, APP)
        place = Place(self, who)
        require_kubernetes(self, who)
        created = network.restricted_namespace(name, settings.namespace, self._labels, self._child())
        made, ready = role(
            f"{name}-role",
            "Cluster Autoscaler: sizes the node groups of one EKS cluster",
            pod_trust(settings.namespace, APP),
            {},
            settings.tags,
            self._child(),
        )
        permissions = iam.RolePolicy(
            f"{name}-policy", role=made.name, policy=_permissions(settings.cluster, place), opts=self._child()
        )
        account = core.ServiceAccount(
            f"{name}-account",
            metadata=self._metadata(),
            automount_service_account_token=False,
            opts=self._child(created),
        )
        association = eks.PodIdentityAssociation(
            f"{name}-identity",
            cluster_name=settings.cluster,
            namespace=settings.namespace,
            service_account=APP,
            role_arn=made.arn,
            tags=settings.tags,
            opts=self._child(*ready, permissions),
        )
        before = [
            created,
            account,
            association,
            network.deny_all(name, settings.namespace, self._labels, self._child(created)),
            self._network_policy(settings, created),
            *autoscaler_rbac.declare(name, APP, settings.namespace, self._labels, self._child(account)),
        ]
        deployment = self._deployment(settings, place, before)
        self._disruption_budget(created)
        self.role_arn = made.arn
        self.namespace = pulumi.Output.all(settings.namespace, deployment.urn).apply(_first)
        self.register_outputs({"namespace": self.namespace, "roleArn": self.role_arn})

    def _child(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*depends_on])

    def _metadata(self) -> meta.ObjectMetaArgs:
        return meta.ObjectMetaArgs(name=APP, namespace=self._namespace, labels=self._labels)

    def _network_policy(self, settings: _Settings, created: core.Namespace) -> networking.NetworkPolicy:
        def readers(names: Sequence[str]) -> list[networking.NetworkPolicyIngressRuleArgs]:
            if not names:
                return []
            return [
                networking.NetworkPolicyIngressRuleArgs(
                    from_=network.namespaces(names), ports=[network.port(PORT)]
                )
            ]

        dns = [networking.NetworkPolicyPortArgs(port=53, protocol=protocol) for protocol in ("UDP", "TCP")]
        return networking.NetworkPolicy(
            f"{self._name}-network",
            metadata=self._metadata(),
            spec=networking.NetworkPolicySpecArgs(
                pod_selector=meta.LabelSelectorArgs(match_labels=_SELECTOR),
                policy_types=["Ingress", "Egress"],
                ingress=combine(readers, settings.metrics),
                egress=[
                    networking.NetworkPolicyEgressRuleArgs(to=network.namespaces(["kube-system"]), ports=dns),
                    # The Kubernetes API and AWS's, whose addresses change.
                    networking.NetworkPolicyEgressRuleArgs(
                        to=network.everywhere_but_metadata(), ports=[network.port(443)]
                    ),
                    # The one link-local address that it needs: EKS' Pod Identity agent, not the metadata.
                    networking.NetworkPolicyEgressRuleArgs(
                        to=network.ranges([POD_IDENTITY_ADDRESS]), ports=[network.port(80)]
                    ),
                ],
            ),
            opts=self._child(created),
        )

    def _deployment(
        self, settings: _Settings, place: Place, before: Sequence[pulumi.Resource]
    ) -> apps.Deployment:
        def discovery(cluster: str) -> str:
            tags = f"{AUTOSCALER_TAG}enabled,{AUTOSCALER_TAG}{cluster}"
            return f"--node-group-auto-discovery=asg:tag={tags}"

        def expander(known: str) -> str:
            return f"--expander={known}"

        def unneeded(known: int) -> str:
            return f"--scale-down-unneeded-time={int(known)}s"

        container = core.ContainerArgs(
            name=APP,
            image=settings.image,
            image_pull_policy="IfNotPresent",
            command=["./cluster-autoscaler"],
            args=[
                "--cloud-provider=aws",
                combine(discovery, settings.cluster),
                combine(expander, settings.expander),
                combine(unneeded, settings.unneeded),
                pulumi.Output.concat("--namespace=", self._namespace),
                # Pools that differ in their zone only grow evenly.
                "--balance-similar-node-groups=true",
                # Model servers keep their weights in an emptyDir, which must not hold an idle node for ever.
                "--skip-nodes-with-local-storage=false",
                "--skip-nodes-with-system-pods=false",
                # A scale-up that AWS cannot serve is given up, so that another pool is tried.
                "--max-node-provision-time=15m",
                "--logging-format=json",
            ],
            env=pods.environment({"AWS_REGION": place.region, **pod_identity.ENVIRONMENT}),
            volume_mounts=[pod_identity.token_mount()],
            ports=[core.ContainerPortArgs(name="http", container_port=PORT, protocol="TCP")],
            resources=core.ResourceRequirementsArgs(
                requests={"cpu": "100m", "memory": "600Mi"}, limits={"memory": "1Gi"}
            ),
            security_context=pods.restricted_container(),
            startup_probe=pods.startup_probe(120, path="/health-check"),
            # Also of the one that waits for the lead: a rollout and the budget count those that are alive.
            readiness_probe=pods.http_probe("/health-check", 10, failures=3),
            liveness_probe=pods.http_probe("/health-check", 10, failures=6),
        )
        spec = core.PodSpecArgs(
            service_account_name=APP,
            automount_service_account_token=True,
            enable_service_links=False,
            priority_class_name="system-cluster-critical",
            security_context=pods.restricted_pod(),
            image_pull_secrets=pods.pull_secrets(settings.pull_secrets),
            topology_spread_constraints=[pods.spread(_SELECTOR, "kubernetes.io/hostname", "preferred")],
            containers=[container],
            volumes=[pod_identity.token_volume()],
        )
        return apps.Deployment(
            f"{self._name}-deployment",
            metadata=self._metadata(),
            spec=apps.DeploymentSpecArgs(
                replicas=settings.replicas,
                selector=meta.LabelSelectorArgs(match_labels=_SELECTOR),
                strategy=apps.DeploymentStrategyArgs(
                    type="RollingUpdate",
                    rolling_update=apps.RollingUpdateDeploymentArgs(max_surge=1, max_unavailable=0),
                ),
                template=core.PodTemplateSpecArgs(
                    metadata=meta.ObjectMetaArgs(labels=self._labels), spec=spec
                ),
            ),
            opts=self._child(*before),
        )

    def _disruption_budget(self, created: core.Namespace) -> policy.PodDisruptionBudget:
        return policy.PodDisruptionBudget(
            f"{self._name}-disruption",
            metadata=self._metadata(),
            spec=pods.disruption_budget(_SELECTOR),
            opts=self._child(created),
        )


def _read(given: Arguments, who: str) -> _Settings:
    if ("kubernetes_version" in given) == ("image" in given):
        raise given.refuse(
            "image",
            "given besides kubernetes_version"
            if "image" in given
            else "missing, and so is kubernetes_version",
            "exactly one of image and kubernetes_version",
        )

    def release(version: str) -> str:
        if version not in RELEASES:
            allowed = "one of " + ", ".join(RELEASES)
            raise ArgumentError(
                who, "kubernetes_version", f"is {version!r}", allowed, "for another one name the image"
            )
        return f"{IMAGE}:{RELEASES[version]}"

    image: pulumi.Input[str]
    if "image" in given:
        image = needed_input(given, "image", checks.image)
    else:
        image = combine(release, needed_input(given, "kubernetes_version", aws_checks.kubernetes_version))
    nothing: Sequence[str] = ()
    untagged: Mapping[str, str] = {}
    return _Settings(
        cluster=needed_input(given, "cluster_name", aws_checks.cluster_name),
        image=image,
        namespace=given.read("namespace", checks.dns_label, DEFAULT_NAMESPACE),
        replicas=given.read("replicas", checks.whole_number(1, 3, "replicas"), 2),
        unneeded=given.read("unneeded_seconds", checks.whole_number(60, 86400, "seconds"), 600),
        expander=given.read("expander", checks.choice("least-waste", "most-pods", "random"), "least-waste"),
        metrics=given.read("metrics_namespaces", checks.list_of(checks.dns_label), nothing),
        pull_secrets=given.read("image_pull_secrets", checks.list_of(checks.dns_label), nothing),
        tags=given.read("tags", aws_checks.tags, untagged),
    )


def _permissions(cluster: pulumi.Input[str], place: Place) -> pulumi.Output[str]:
    """What upstream's README asks for; what changes anything is limited to this cluster's groups."""
    owned = pulumi.Output.concat("aws:ResourceTag/", AUTOSCALER_TAG, cluster)

    def statements(known: Sequence[str]) -> list[Json]:
        tag, name, partition, region = known
        return [
            {
                "Sid": "Look",
                "Effect": "Allow",
                # None of these can be limited to a resource (AWS's service authorization reference).
                "Action": [
                    "autoscaling:DescribeAutoScalingGroups",
                    "autoscaling:DescribeAutoScalingInstances",
                    "autoscaling:DescribeLaunchConfigurations",
                    "autoscaling:DescribeScalingActivities",
                    "autoscaling:DescribeTags",
                    "ec2:DescribeImages",
                    "ec2:DescribeInstanceTypes",
                    "ec2:DescribeLaunchTemplateVersions",
                    "ec2:GetInstanceTypesFromInstanceRequirements",
                ],
                "Resource": "*",
            },
            {
                "Sid": "ReadNodeGroups",
                "Effect": "Allow",
                "Action": ["eks:DescribeNodegroup"],
                "Resource": f"arn:{partition}:eks:{region}:*:nodegroup/{name}/*",
            },
            {
                "Sid": "SizeOwnGroups",
                "Effect": "Allow",
                "Action": [
                    "autoscaling:SetDesiredCapacity",
                    "autoscaling:TerminateInstanceInAutoScalingGroup",
                ],
                "Resource": f"arn:{partition}:autoscaling:{region}:*:autoScalingGroup:*",
                "Condition": {"StringEquals": {tag: "owned"}},
            },
        ]

    known = pulumi.Output.all(owned, cluster, place.partition, place.region)
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": known.apply(statements)})


def _first(known: Sequence[str]) -> str:
    return known[0]
