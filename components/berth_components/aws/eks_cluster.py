"""A Kubernetes cluster on EKS, made here or looked up."""

from collections.abc import Callable, Mapping, Sequence

import pulumi
import pulumi_kubernetes as kubernetes
from pulumi_aws import cloudwatch, eks, kms
from pulumi_kubernetes.core import v1 as core
from pulumi_kubernetes.meta import v1 as meta
from pulumi_kubernetes.storage import v1 as storage

from berth_components.arguments import Arguments, combine
from berth_components.aws import nodes
from berth_components.aws.eks_args import EksClusterArgs
from berth_components.aws.eks_settings import (
    COMMON_ADDONS,
    EARLY_ADDONS,
    OWN_ADDONS,
    EksSettings,
    NewCluster,
    SystemNodes,
    read,
)
from berth_components.aws.eks_vpc import make_vpc
from berth_components.aws.shared import (
    ROLE_NAME,
    Place,
    check_name,
    cluster_provider,
    kubeconfig,
    pod_trust,
    role,
    trust,
)

LOG_TYPES = ("api", "audit", "authenticator", "controllerManager", "scheduler")
"""All logs that EKS' control plane writes (LogType in EKS' API, botocore 1.44.5)."""
STORAGE_CLASS = "berth-gp3"
_SYSTEM = "kube-system"


class EksCluster(pulumi.ComponentResource):
    """A cluster with a private endpoint, encrypted Secrets, all logs, and access by named principals only."""

    provider: kubernetes.Provider
    """Pass it on: `opts=pulumi.ResourceOptions(providers={"kubernetes": cluster.provider, "aws": …})`."""
    kubeconfig: pulumi.Output[str]
    """A kubeconfig that asks `aws eks get-token`; it holds no credential."""
    cluster_name: pulumi.Output[str]
    """The cluster's name, known once pods can run in it."""
    cluster_arn: pulumi.Output[str]
    """Its ARN."""
    endpoint: pulumi.Output[str]
    """URL of its API server."""
    certificate_authority: pulumi.Output[str]
    """Its API server's certificate authority, in base64."""
    kubernetes_version: pulumi.Output[str]
    """Its Kubernetes version, such as 1.34."""
    subnet_ids: pulumi.Output[Sequence[str]]
    """Subnets for node pools."""
    security_group_ids: pulumi.Output[Sequence[str]]
    """The cluster's own security group, which its nodes share."""
    node_role_arn: pulumi.Output[str]
    """Role for nodes; "" for an existing cluster without one."""
    storage_class: pulumi.Output[str]
    """A StorageClass of encrypted gp3 volumes; "" for an existing cluster, whose own are used."""
    scaling: str
    """cluster-autoscaler or auto-mode, for the pools."""

    def __init__(self, name: str, args: EksClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        who = f"EksCluster '{name}'"
        keys = EksClusterArgs.__required_keys__ | EksClusterArgs.__optional_keys__
        settings = read(Arguments(who, args, EksClusterArgs), sorted(keys), name)
        if settings.new:
            check_name(who, name, "-aws-ebs-csi-driver-role", ROLE_NAME)
        super().__init__("berth:aws:EksCluster", name, {}, opts)
        self._name = name
        self._place = Place(self, who)
        self._auto_mode = settings.auto_mode
        self.scaling = "auto-mode" if settings.auto_mode else "cluster-autoscaler"
        if settings.new:
            self._make(settings, settings.new)
        else:
            self._look_up(settings)
        self.register_outputs(
            {
                "clusterName": self.cluster_name,
                "clusterArn": self.cluster_arn,
                "endpoint": self.endpoint,
                "kubeconfig": self.kubeconfig,
                "kubernetesVersion": self.kubernetes_version,
                "nodeRoleArn": self.node_role_arn,
                "securityGroupIds": self.security_group_ids,
                "storageClass": self.storage_class,
                "subnetIds": self.subnet_ids,
            }
        )

    def _child(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*depends_on])

    def _look_up(self, settings: EksSettings) -> None:
        found = eks.get_cluster_output(name=settings.name, opts=pulumi.InvokeOutputOptions(parent=self))

        def authority(known: Sequence[eks.outputs.GetClusterCertificateAuthorityResult]) -> str:
            return str(known[0].data)

        def subnets(known: eks.outputs.GetClusterVpcConfigResult) -> Sequence[str]:
            return [*known.subnet_ids]

        def groups(known: eks.outputs.GetClusterVpcConfigResult) -> Sequence[str]:
            return [known.cluster_security_group_id]

        self.endpoint = found.endpoint
        self.certificate_authority = found.certificate_authorities.apply(authority)
        self.kubernetes_version = found.version
        self.cluster_arn = found.arn
        self.subnet_ids = found.vpc_config.apply(subnets)
        self.security_group_ids = found.vpc_config.apply(groups)
        self.node_role_arn = pulumi.Output.from_input(settings.node_role_arn or "")
        self.storage_class = pulumi.Output.from_input("")
        self.cluster_name = pulumi.Output.from_input(settings.name)
        self._connect([])

    def _make(self, settings: EksSettings, new: NewCluster) -> None:
        name, tags = self._name, new.tags
        before: list[pulumi.Resource] = []
        if new.vpc:
            vpc = make_vpc(name, new.vpc, settings.name, self._place, tags, self._child())
            self.subnet_ids = pulumi.Output.all(*vpc.private_ids).apply(_texts)
            before += vpc.ready
        else:
            self.subnet_ids = pulumi.Output.from_input(new.subnet_ids or ()).apply(_texts)
        node_role_arn, node_role_ready = self._node_role(settings, tags)
        self.node_role_arn = pulumi.Output.from_input(node_role_arn)
        before += node_role_ready
        cluster = self._cluster(settings, new, before)
        access = self._access(cluster, new)
        self.endpoint = cluster.endpoint
        self.certificate_authority = cluster.certificate_authority.apply(_authority)
        # As it was asked for: known in a preview, where the cluster's own word for it is not.
        self.kubernetes_version = pulumi.Output.from_input(new.version)
        self.cluster_arn = cluster.arn
        self.security_group_ids = cluster.vpc_config.apply(_groups)
        late: list[pulumi.Resource] = [*access, cluster]
        if new.system_nodes:
            early = [self._addon(cluster, new, addon, [cluster]) for addon in EARLY_ADDONS]
            pool = self._system_nodes(cluster, new.system_nodes, tags, [*early, *before])
            late += [*early, pool]
            late += [
                self._addon(cluster, new, addon, [pool]) for addon in OWN_ADDONS if addon not in EARLY_ADDONS
            ]
        late += [self._addon(cluster, new, addon, [*late]) for addon in COMMON_ADDONS]
        # Whoever names the cluster comes after everything that lets pods run and name each other.
        self.cluster_name = pulumi.Output.all(cluster.name, *[one.urn for one in late]).apply(_first)
        self._connect(late)
        self.storage_class = self._storage_class()
        if self._auto_mode:
            self._enforce_network_policies()

    def _cluster(
        self, settings: EksSettings, new: NewCluster, before: Sequence[pulumi.Resource]
    ) -> eks.Cluster:
        name, tags = self._name, new.tags
        managed = {"cluster": "AmazonEKSClusterPolicy"}
        if self._auto_mode:
            managed |= {
                "compute": "AmazonEKSComputePolicy",
                "storage": "AmazonEKSBlockStoragePolicy",
                "balancing": "AmazonEKSLoadBalancingPolicy",
                "networking": "AmazonEKSNetworkingPolicy",
            }
        made, ready = role(
            f"{name}-role",
            f"Control plane of {settings.name}",
            trust("eks.amazonaws.com", tag=self._auto_mode),
            {short: self._place.managed_policy(path) for short, path in managed.items()},
            tags,
            self._child(),
        )
        # EKS would make the group itself, without an end to how long logs are kept.
        logs = cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/aws/eks/{settings.name}/cluster",
            retention_in_days=new.log_retention_days,
            tags=tags,
            opts=self._child(),
        )
        key = new.secrets_key_arn or self._key(settings, tags)
        return eks.Cluster(
            f"{name}-cluster",
            name=settings.name,
            version=new.version,
            role_arn=made.arn,
            vpc_config=eks.ClusterVpcConfigArgs(
                subnet_ids=self.subnet_ids,
                endpoint_private_access=True,
                endpoint_public_access=bool(new.public_cidrs),
                public_access_cidrs=[*new.public_cidrs] or None,
            ),
            access_config=eks.ClusterAccessConfigArgs(
                authentication_mode="API", bootstrap_cluster_creator_admin_permissions=False
            ),
            encryption_config=eks.ClusterEncryptionConfigArgs(
                provider=eks.ClusterEncryptionConfigProviderArgs(key_arn=key), resources=["secrets"]
            ),
            enabled_cluster_log_types=[*LOG_TYPES],
            upgrade_policy=eks.ClusterUpgradePolicyArgs(support_type=_upper(new.support)),
            deletion_protection=new.deletion_protection,
            # Each add-on is declared below, with its version.
            bootstrap_self_managed_addons=False,
            compute_config=(
                eks.ClusterComputeConfigArgs(
                    enabled=True, node_pools=["general-purpose", "system"], node_role_arn=self.node_role_arn
                )
                if self._auto_mode
                else None
            ),
            storage_config=(
                eks.ClusterStorageConfigArgs(
                    block_storage=eks.ClusterStorageConfigBlockStorageArgs(enabled=True)
                )
                if self._auto_mode
                else None
            ),
            kubernetes_network_config=(
                eks.ClusterKubernetesNetworkConfigArgs(
                    elastic_load_balancing=eks.ClusterKubernetesNetworkConfigElasticLoadBalancingArgs(
                        enabled=True
                    )
                )
                if self._auto_mode
                else None
            ),
            tags=tags,
            opts=self._child(*ready, logs, *before),
        )

    def _key(self, settings: EksSettings, tags: pulumi.Input[Mapping[str, str]]) -> pulumi.Output[str]:
        made = kms.Key(
            f"{self._name}-secrets-key",
            description=f"Secrets of the EKS cluster {settings.name}",
            enable_key_rotation=True,
            # A cluster whose key is gone cannot be read any more: as long as AWS allows to change one's mind.
            deletion_window_in_days=30,
            tags=tags,
            opts=self._child(),
        )
        arn: pulumi.Output[str] = made.arn
        return arn

    def _access(self, cluster: eks.Cluster, new: NewCluster) -> list[pulumi.Resource]:
        made: list[pulumi.Resource] = []
        for arn in new.admin_arns:
            short = arn.split(":iam::", 1)[1].replace(":", "-").replace("/", "-")
            entry = eks.AccessEntry(
                f"{self._name}-admin-{short}",
                cluster_name=cluster.name,
                principal_arn=arn,
                type="STANDARD",
                tags=new.tags,
                opts=self._child(),
            )
            made.append(
                eks.AccessPolicyAssociation(
                    f"{self._name}-admin-{short}",
                    cluster_name=cluster.name,
                    principal_arn=arn,
                    policy_arn=self._place.access_policy("AmazonEKSClusterAdminPolicy"),
                    access_scope=eks.AccessPolicyAssociationAccessScopeArgs(type="cluster"),
                    opts=self._child(entry),
                )
            )
        return made

    def _node_role(
        self, settings: EksSettings, tags: pulumi.Input[Mapping[str, str]]
    ) -> tuple[pulumi.Input[str], list[pulumi.Resource]]:
        if settings.node_role_arn is not None:
            return settings.node_role_arn, []
        worker = "AmazonEKSWorkerNodeMinimalPolicy" if self._auto_mode else "AmazonEKSWorkerNodePolicy"
        # The network plugin has a role of its own, so no pod and no node holds its permissions besides.
        made, ready = role(
            f"{self._name}-node-role",
            f"Nodes of {settings.name}",
            trust(self._place.ec2_principal()),
            {
                "worker": self._place.managed_policy(worker),
                "images": self._place.managed_policy("AmazonEC2ContainerRegistryPullOnly"),
            },
            tags,
            self._child(),
        )
        return made.arn, ready

    def _addon(
        self, cluster: eks.Cluster, new: NewCluster, addon: str, after: Sequence[pulumi.Resource]
    ) -> eks.Addon:
        identity: eks.AddonPodIdentityAssociationArgs | None = None
        ready: list[pulumi.Resource] = []
        if addon in _ADDON_IDENTITIES:
            account, path = _ADDON_IDENTITIES[addon]
            made, ready = role(
                f"{self._name}-{addon}-role",
                f"The add-on {addon}",
                pod_trust(_SYSTEM, account),
                {"addon": self._place.managed_policy(path)},
                new.tags,
                self._child(),
            )
            identity = eks.AddonPodIdentityAssociationArgs(role_arn=made.arn, service_account=account)
        return eks.Addon(
            f"{self._name}-{addon}",
            cluster_name=cluster.name,
            addon_name=addon,
            addon_version=new.addon_versions.get(addon),
            configuration_values=_ADDON_CONFIGURATIONS.get(addon),
            pod_identity_associations=[identity] if identity else None,
            resolve_conflicts_on_create="OVERWRITE",
            resolve_conflicts_on_update="OVERWRITE",
            tags=new.tags,
            opts=self._child(*after, *ready),
        )

    def _system_nodes(
        self,
        cluster: eks.Cluster,
        system: SystemNodes,
        tags: pulumi.Input[Mapping[str, str]],
        after: Sequence[pulumi.Resource],
    ) -> eks.NodeGroup:
        name = f"{self._name}-system"
        template = nodes.launch_template(
            name, system.machine_type, system.disk_size_gib, None, tags, self._child()
        )
        return eks.NodeGroup(
            f"{name}-nodes",
            cluster_name=cluster.name,
            node_role_arn=self.node_role_arn,
            subnet_ids=self.subnet_ids,
            ami_type="AL2023_x86_64_STANDARD",
            capacity_type="ON_DEMAND",
            launch_template=nodes.template_reference(template),
            version=cluster.version,
            scaling_config=eks.NodeGroupScalingConfigArgs(
                min_size=system.min_nodes, desired_size=system.min_nodes, max_size=system.max_nodes
            ),
            update_config=eks.NodeGroupUpdateConfigArgs(max_unavailable=1),
            node_repair_config=eks.NodeGroupNodeRepairConfigArgs(enabled=True),
            tags=tags,
            opts=pulumi.ResourceOptions.merge(
                self._child(*after),
                # Cluster Autoscaler's from here on.
                pulumi.ResourceOptions(ignore_changes=["scalingConfig.desiredSize"]),
            ),
        )

    def _connect(self, after: Sequence[pulumi.Resource]) -> None:
        self.kubeconfig = kubeconfig(
            self.cluster_name, self.cluster_arn, self.endpoint, self.certificate_authority, self._place.region
        )
        self.provider = cluster_provider(self._name, self.kubeconfig, self.cluster_arn, self._child(*after))

    def _in_cluster(self) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, provider=self.provider)

    def _storage_class(self) -> pulumi.Output[str]:
        made = storage.StorageClass(
            f"{self._name}-storage-class",
            metadata=meta.ObjectMetaArgs(
                name=STORAGE_CLASS,
                labels={"app.kubernetes.io/managed-by": "berth"},
                # EKS marks none, so a claim without a class would wait for ever.
                annotations={"storageclass.kubernetes.io/is-default-class": "true"},
            ),
            provisioner="ebs.csi.eks.amazonaws.com" if self._auto_mode else "ebs.csi.aws.com",
            parameters={"type": "gp3", "encrypted": "true"},
            reclaim_policy="Delete",
            # The disk is made in the zone that the pod got.
            volume_binding_mode="WaitForFirstConsumer",
            allow_volume_expansion=True,
            opts=self._in_cluster(),
        )
        return made.urn.apply(_constant(STORAGE_CLASS))

    def _enforce_network_policies(self) -> None:
        core.ConfigMap(
            f"{self._name}-network-policies",
            metadata=meta.ObjectMetaArgs(
                name="amazon-vpc-cni",
                namespace=_SYSTEM,
                labels={"app.kubernetes.io/managed-by": "berth"},
            ),
            data={"enable-network-policy-controller": "true"},
            opts=self._in_cluster(),
        )


_ADDON_IDENTITIES = {
    "vpc-cni": ("aws-node", "AmazonEKS_CNI_Policy"),
    "aws-ebs-csi-driver": ("ebs-csi-controller-sa", "service-role/AmazonEBSCSIDriverPolicy"),
}
"""Add-ons that call AWS: their service account and the policy made for them."""
_ADDON_CONFIGURATIONS = {
    # Network policies are only words until the plugin is told to enforce them.
    "vpc-cni": '{"enableNetworkPolicy": "true"}',
    # The agent itself goes everywhere. What reads GPUs for it tolerates nothing (its chart's values.yaml,
    # v1.7.0), and pools' nodes have taints; its affinity lets it onto GPU machines only.
    "eks-node-monitoring-agent": '{"dcgmAgent": {"tolerations": [{"operator": "Exists"}]}}',
}


def _authority(known: eks.outputs.ClusterCertificateAuthority) -> str:
    return known.data or ""


def _groups(known: eks.outputs.ClusterVpcConfig) -> Sequence[str]:
    return [known.cluster_security_group_id] if known.cluster_security_group_id else []


def _texts(known: Sequence[str]) -> Sequence[str]:
    return [*known]


def _first(known: Sequence[str]) -> str:
    return known[0]


def _upper(value: pulumi.Input[str]) -> pulumi.Input[str]:
    def upper(known: str) -> str:
        return known.upper()

    return combine(upper, value)


def _constant(value: str) -> Callable[[object], str]:
    def constant(_: object) -> str:
        return value

    return constant
