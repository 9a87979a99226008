"""What a SageMaker endpoint can be told."""

from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi


class SageMakerScalingArgs(TypedDict):
    """When instances are added and taken away (Application Auto Scaling, target tracking)."""

    min_instances: int
    """Fewest instances, 1 to 1000. Every update of the endpoint begins with so many again."""
    max_instances: int
    """Most instances, 1 to 1000. This caps what the endpoint can cost."""
    metric: NotRequired[str]
    """concurrent-requests (default; requests in an instance at once, queued ones too, every ten seconds) or
    invocations-per-instance (requests a minute)."""
    target: pulumi.Input[float]
    """The metric's value per instance that is aimed at, above 0."""
    scale_out_cooldown_seconds: NotRequired[pulumi.Input[int]]
    """Wait after adding, 0 to 3600 seconds. Default: 60."""
    scale_in_cooldown_seconds: NotRequired[pulumi.Input[int]]
    """Wait after taking away, 0 to 3600 seconds. Default: 300."""


class SageMakerVpcArgs(TypedDict):
    """Where the container's network interfaces are."""

    subnet_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Private subnets."""
    security_group_ids: pulumi.Input[Sequence[pulumi.Input[str]]]
    """Security groups."""


class SageMakerWeightsArgs(TypedDict):
    """Weights in S3, which SageMaker itself puts at /opt/ml/model before the container starts."""

    bucket: pulumi.Input[str]
    """The bucket, in the endpoint's region."""
    prefix: pulumi.Input[str]
    """The folder in it, such as models/qwen/abc123/; it ends with a slash."""
    key_arn: NotRequired[pulumi.Input[str]]
    """KMS key that encrypts them, if it is one of your own."""


class SageMakerAlarmsArgs(TypedDict):
    """What is reported, and to whom.

    Besides errors and latency, each over five minutes: a load that stays half as high again as scaling's
    target for fifteen, because the maximum is reached or AWS has no machine to give.
    """

    action_arns: Sequence[pulumi.Input[str]]
    """SNS topics and the like that are told. An empty list: alarms are seen in CloudWatch only."""
    errors_5xx: NotRequired[pulumi.Input[int]]
    """Answers 5xx in five minutes from which it rings. Default: 5."""
    latency_seconds: NotRequired[pulumi.Input[float]]
    """95th percentile of the model's time per request above which it rings, in seconds. Default: 30."""


class SageMakerEndpointArgs(TypedDict):
    """Args of `SageMakerEndpoint`. The provider comes by the options."""

    name: NotRequired[str]
    """Name of the endpoint. Default: the component's name."""
    image: pulumi.Input[str]
    """Image with gateway and engine in one, in ECR in the endpoint's region."""
    accelerator: NotRequired[str]
    """The accelerator's key in the catalogue, such as nvidia-a10g. Default: none, the engine computes on
    instance_type's CPUs."""
    accelerators_per_instance: NotRequired[int]
    """How many each instance has; needed with accelerator."""
    instance_type: NotRequired[str]
    """SageMaker's type, such as ml.g5.2xlarge; it must have exactly those accelerators. Without any, a type
    of a family of x86 CPUs, such as ml.c7i.xlarge. Default: the catalogue's smallest that has them. AWS
    refuses another one while the endpoint scales by itself (endpoint-scaling-update in SageMaker's developer
    guide): deregister its scalable target first."""
    environment: NotRequired[Mapping[str, pulumi.Input[str]]]
    """The container's environment. No secrets: whoever may describe the model reads it."""
    weights: NotRequired[SageMakerWeightsArgs]
    """Weights in S3. Default: they are in the image."""
    network_isolation: NotRequired[pulumi.Input[bool]]
    """Whether the container can open no connection at all. Default: True; weights come by the image or by
    weights."""
    vpc: NotRequired[SageMakerVpcArgs]
    """A VPC for the container. Default: SageMaker's own."""
    scaling: SageMakerScalingArgs
    """How many instances."""
    alarms: SageMakerAlarmsArgs
    """Alarms; an update that sets one off is rolled back."""
    startup_seconds: NotRequired[pulumi.Input[int]]
    """Budget for loading the model, 60 to 3600 seconds. Default: 1200."""
    inference_ami: NotRequired[pulumi.Input[str]]
    """SageMaker's machine image, which brings the driver, such as al2023-ami-sagemaker-inference-gpu-4-1.
    Default: SageMaker's."""
    volume_size_gib: NotRequired[pulumi.Input[int]]
    """EBS volume of each instance, 1 to 512 GiB. Only inf2: the GPU types bring a disk of their own. Default:
    SageMaker's."""
    volume_key_arn: NotRequired[pulumi.Input[str]]
    """KMS key of that volume. Only inf2: the others' own disks are encrypted in hardware."""
    update: NotRequired[str]
    """blue-green (default): a second fleet takes over at once. rolling: half the instances at a time, where
    there are not enough machines for two fleets; needs min_instances of 2."""
    log_retention_days: NotRequired[pulumi.Input[int]]
    """How long the container's logs are kept, in days, as CloudWatch allows. Default: 90."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """AWS tags. Default: none."""
