"""Settings of sites on AWS: clusters on EKS and their pools, endpoints on SageMaker.

The same keys as the components' args in `berth_components.aws`, which check every value.
"""

from typing import Annotated

from pydantic import Field

from berth_stacks.fields import (
    Flag,
    Image,
    KubernetesVersion,
    Name,
    Number,
    Settings,
    Text,
    Whole,
    limits,
    words,
)


class Vpc(Settings):
    """A VPC of the cluster's own: a private and a public subnet in each zone, tagged for load balancers."""

    cidr: Text
    """Its addresses, /16 to /20. A pod takes one of them each; a quarter goes to each zone."""
    zones: list[Text]
    """Two or three availability zones by name, such as eu-central-1a, that offer the pools' machines."""
    nat: Annotated[Text, words("single", "per-zone")] | None = None
    """NAT gateways: single (default; losing its zone cuts the others off) or per-zone (for production)."""
    endpoints: list[Text] | None = None
    """AWS services that are reached without NAT. Default: s3, which costs nothing. The others are billed by
    the hour and zone: ecr.api, ecr.dkr, sts, ec2, logs, eks, eks-auth, elasticloadbalancing, autoscaling,
    kms."""


class SystemNodes(Settings):
    """Nodes without accelerators, for CoreDNS, gateways, autoscalers and so on."""

    machine_type: Text | None = None
    """Type of machine, x86-64. Default: m6i.large."""
    min_nodes: Annotated[Whole, limits(1, 100)] | None = None
    """Fewest nodes, 1 to 100. Default: 2, so that CoreDNS outlives a node."""
    max_nodes: Annotated[Whole, limits(1, 100)] | None = None
    """Most nodes, 1 to 100. Default: 6."""
    disk_size_gib: Annotated[Whole, limits(20, 16384)] | None = None
    """Size of each root volume, 20 to 16384 GiB. Default: 50."""


class Autoscaler(Settings):
    """Cluster Autoscaler, which adds nodes to the pools and takes them away."""

    image: Image | None = None
    """Its image, such as a mirror's. Default: the release for the cluster's Kubernetes version."""
    namespace: Name | None = None
    """A namespace of its own. Default: berth-autoscaler."""
    replicas: Annotated[Whole, limits(1, 3)] | None = None
    """How many; one leads, the others wait. Default: 2."""
    unneeded_seconds: Annotated[Whole, limits(60, 86400)] | None = None
    """How long a node must be idle before it is removed. Default: 600; a GPU node takes minutes to come
    back."""
    expander: Annotated[Text, words("least-waste", "most-pods", "random")] | None = None
    """Which pool grows where several fit. Default: least-waste."""
    metrics_namespaces: list[Name] | None = None
    """Namespaces that may read its metrics. Default: none."""
    image_pull_secrets: list[Name] | None = None
    """Secrets that exist in its namespace, for a registry of your own. Default: none."""
    tags: dict[Text, Text] | None = None
    """AWS tags of its role. Default: none."""


class Eks(Settings):
    """A cluster on EKS, made here or there already."""

    region: Text
    """The region, such as eu-central-1."""
    allowed_accounts: list[Text] = Field(default_factory=list)
    """Ids of the accounts that this stack may touch; credentials of another one are refused. Default: any."""
    name: Text | None = None
    """Name of the cluster in AWS. Default: <stack>-<site>."""
    existing: Flag | None = None
    """true: the cluster is there and is looked up by its name; nothing is created in AWS. Only name, scaling
    and nodeRoleArn go with it. Default: false."""
    scaling: Annotated[Text, words("cluster-autoscaler", "auto-mode")] | None = None
    """Who adds nodes: cluster-autoscaler (default; it is deployed) or auto-mode (EKS does)."""
    autoscaler: Autoscaler | None = None
    """With cluster-autoscaler: how it works. Default: two replicas of the release that fits."""
    node_role_arn: Text | None = None
    """Role of the nodes. Required with existing, where pools need it; else it is made."""
    version: KubernetesVersion | None = None
    """Kubernetes version, such as 1.34. Required, so that an upgrade is always a decision."""
    support: Annotated[Text, words("extended", "standard")] | None = None
    """What happens when the version's standard support ends: extended (default; AWS bills more per hour) or
    standard (AWS upgrades the cluster by itself)."""
    vpc: Vpc | None = None
    """A VPC that is made here. Exactly one of vpc and subnetIds."""
    subnet_ids: list[Text] | None = None
    """Private subnets that exist, in at least two zones, with a way to AWS's APIs and registries."""
    public_cidrs: list[Text] | None = None
    """Addresses that reach the Kubernetes API from outside the VPC. Default: none, the endpoint is private.
    The whole internet is refused."""
    admin_arns: list[Text] | None = None
    """IAM roles and users that administer the cluster; the one that runs `pulumi up` must be among them.
    Needed for a new cluster: nobody gets in by having created it. Missing, it is an open finding."""
    secrets_key_arn: Text | None = None
    """KMS key that encrypts Kubernetes Secrets. Default: one is made, rotated every year. Neither can be
    taken away again from a cluster."""
    log_retention_days: Whole | None = None
    """How long the control plane's logs are kept, in days: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365,
    400, 545, 731, 1096, 1827 or 3653. Default: 90. All five logs are always written."""
    deletion_protection: Flag | None = None
    """Whether AWS refuses to delete the cluster until this is set to false. Default: true."""
    addon_versions: dict[Text, Text] | None = None
    """Versions of the add-ons by name, such as {"vpc-cni": "v1.20.4-eksbuild.1"}. Default: AWS's default for
    the Kubernetes version. The names: vpc-cni, kube-proxy, coredns, eks-pod-identity-agent,
    aws-ebs-csi-driver, eks-node-monitoring-agent (v1.3.0 at least), metrics-server; with auto-mode only the
    last, EKS runs the others itself."""
    system_nodes: SystemNodes | None = None
    """Nodes for everything without an accelerator. Refused with auto-mode, which makes them by itself."""
    tags: dict[Text, Text] | None = None
    """AWS tags of everything that is made here. Default: none."""


class Reservation(Settings):
    """Capacity that was bought in advance."""

    id: Text | None = None
    """The reservation, cr-…. The pool's subnets must be in its zone. Default: none: an open finding."""
    kind: Annotated[Text, words("capacity-block", "on-demand")]
    """capacity-block (a Capacity Block for ML) or on-demand (an On-Demand Capacity Reservation)."""


class EksPool(Settings):
    """What only a pool on EKS has."""

    subnet_ids: list[Text] | None = None
    """Private subnets of the nodes, such as those in zones that offer the machine. Default: the cluster's."""
    disk_size_gib: Annotated[Whole, limits(50, 16384)] | None = None
    """Size of each node's disk, 50 to 16384 GiB: images of GPU engines take tens of GiB. Default: 200."""
    volume_key_arn: Text | None = None
    """KMS key of the disks; its policy must let Auto Scaling's service-linked role use it (with auto-mode the
    cluster's role). Default: AWS's own key for EBS. They are always encrypted."""
    reservation: Reservation | None = None
    """Required with capacity reserved, else refused."""
    max_unavailable: Annotated[Whole, limits(1, 100)] | None = None
    """Nodes that an update may replace at a time, 1 to 100. Default: 1. Pods' disruption budgets hold
    besides."""
    update_strategy: Annotated[Text, words("surge", "minimal")] | None = None
    """surge (default): a new node comes before an old one is drained. minimal: the old one goes first, where
    no further machine is to be had. Refused with auto-mode."""
    node_repair: Flag | None = None
    """Whether EKS replaces nodes that are broken, also where only the accelerator is. Default: true. Refused
    with auto-mode, which always does."""
    kubernetes_version: KubernetesVersion | None = None
    """Version of the nodes, so that they are upgraded apart from the control plane. Default: the cluster's
    when they are made. Refused with auto-mode."""
    ami_release: Text | None = None
    """Release of the machine image, such as 1.34.1-20251007; it brings the driver. Default: the newest when
    the pool is made. Refused with auto-mode."""
    expire_after_hours: Annotated[Whole, limits(1, 504)] | None = None
    """auto-mode only: age at which a node is replaced, 1 to 504 hours, so that it gets security fixes.
    Default: 336."""
    tags: dict[Text, Text] | None = None
    """AWS tags of the pool, its machines and disks. Default: none. Refused with auto-mode, whose roles may
    not set any."""


class SageMakerScaling(Settings):
    """When instances are added and taken away (Application Auto Scaling, target tracking)."""

    min_instances: Annotated[Whole, limits(1, 1000)]
    """Fewest instances, 1 to 1000."""
    max_instances: Annotated[Whole, limits(1, 1000)]
    """Most instances, 1 to 1000. This caps what the endpoint can cost."""
    metric: Annotated[Text, words("concurrent-requests", "invocations-per-instance")] | None = None
    """concurrent-requests (default; requests in an instance at once, queued ones too, every ten seconds) or
    invocations-per-instance (requests a minute)."""
    target: Number
    """The metric's value per instance that is aimed at, above 0."""
    scale_out_cooldown_seconds: Annotated[Whole, limits(0, 3600)] | None = None
    """Wait after adding, 0 to 3600 seconds. Default: 60."""
    scale_in_cooldown_seconds: Annotated[Whole, limits(0, 3600)] | None = None
    """Wait after taking away, 0 to 3600 seconds. Default: 300."""


class SageMakerVpc(Settings):
    """Where the container's network interfaces are."""

    subnet_ids: list[Text]
    """Private subnets."""
    security_group_ids: list[Text]
    """Security groups."""


class SageMakerWeights(Settings):
    """Weights in S3, which SageMaker itself puts at /opt/ml/model before the container starts."""

    bucket: Text
    """The bucket, in the endpoint's region."""
    prefix: Text
    """The folder in it, such as models/qwen/abc123/; it ends with a slash."""
    key_arn: Text | None = None
    """KMS key that encrypts them, if it is one of your own."""


class SageMakerAlarms(Settings):
    """What is reported, and to whom. Each looks at five minutes."""

    action_arns: list[Text]
    """SNS topics and the like that are told. An empty list: alarms are seen in CloudWatch only."""
    errors_5xx: Whole | None = Field(default=None, alias="errors5xx")
    """Answers 5xx in five minutes from which it rings. Default: 5."""
    latency_seconds: Number | None = None
    """95th percentile of the model's time per request above which it rings, in seconds. Default: 30."""


class SageMaker(Settings):
    """Real-time endpoints on SageMaker, one for each model of the site; no Kubernetes."""

    region: Text
    """The region, such as eu-central-1."""
    allowed_accounts: list[Text] = Field(default_factory=list)
    """Ids of the accounts that this stack may touch; credentials of another one are refused. Default: any."""
    accelerator: Text | None = None
    """The accelerator's key in the catalogue, such as nvidia-a10g. Default: none, the engine computes on
    instanceType's CPUs."""
    accelerators_per_instance: Annotated[Whole, limits(1, 16)] | None = None
    """How many each instance has; needed with accelerator."""
    instance_type: Text | None = None
    """SageMaker's type, such as ml.g5.2xlarge; it must have exactly those accelerators. Without any, a type
    of a family of x86 CPUs, such as ml.c7i.xlarge. Default: the catalogue's smallest that has them."""
    environment: dict[Text, Text] | None = None
    """The container's environment. No secrets: whoever may describe the model reads it."""
    weights: SageMakerWeights | None = None
    """Weights in S3, of the one model at the site. Default: they are in the image."""
    network_isolation: Flag | None = None
    """Whether the container can open no connection at all. Default: true; weights come by the image or by
    weights."""
    vpc: SageMakerVpc | None = None
    """A VPC for the container. Default: SageMaker's own."""
    scaling: SageMakerScaling
    """How many instances."""
    alarms: SageMakerAlarms
    """Alarms; an update that sets one off is rolled back."""
    startup_seconds: Annotated[Whole, limits(60, 3600)] | None = None
    """Budget for loading the model, 60 to 3600 seconds. Default: 1200."""
    inference_ami: Text | None = None
    """SageMaker's machine image, which brings the driver, such as al2023-ami-sagemaker-inference-gpu-4-1.
    Default: SageMaker's."""
    volume_size_gib: Annotated[Whole, limits(1, 512)] | None = None
    """EBS volume of each instance, 1 to 512 GiB. Only inf2: the GPU types bring a disk of their own. Default:
    SageMaker's."""
    volume_key_arn: Text | None = None
    """KMS key of that volume. Only inf2: the others' own disks are encrypted in hardware."""
    update: Annotated[Text, words("blue-green", "rolling")] | None = None
    """blue-green (default): a second fleet takes over at once. rolling: half the instances at a time, where
    there are not enough machines for two fleets; needs minInstances of 2."""
    log_retention_days: Whole | None = None
    """How long the container's logs are kept, in days, as CloudWatch allows. Default: 90."""
    tags: dict[Text, Text] | None = None
    """AWS tags. Default: none."""
