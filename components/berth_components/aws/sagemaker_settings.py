"""Reading the args of `SageMakerEndpoint`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi
from berth_catalogue.accelerators import accelerator
from berth_catalogue.errors import CatalogueError
from berth_catalogue.machines import choose, machine

from berth_components import checks
from berth_components.arguments import Arguments, Refusal
from berth_components.aws import checks as aws_checks
from berth_components.aws.sagemaker_args import (
    SageMakerAlarmsArgs,
    SageMakerScalingArgs,
    SageMakerVpcArgs,
    SageMakerWeightsArgs,
)
from berth_components.aws.shared import needed, needed_input

FAMILIES = ("g5", "g6", "g6e", "p4d", "p4de", "p5", "p5e", "p5en", "inf2")
"""Families with an accelerator that SageMaker hosts models on (ProductionVariantInstanceType in SageMaker's
API, botocore 1.44.5)."""
CPU_FAMILIES = ("c5", "c5d", "c6i", "c7i", "m5", "m5d", "m6i", "m7i", "r5", "r5d", "r6i", "r7i")
"""Families of x86 CPUs that it hosts models on (the same); our images are not for Arm."""
_MOST_VARIABLES, _MOST_BYTES, _MOST_BYTES_IN_ALL = 100, 1024, 32_768
"""Of a container's environment: EnvironmentMap, and what ContainerDefinition says of its bytes, in the API
(botocore 1.44.5)."""
EBS_ONLY = ("inf2",)
"""Of them, those without a disk of their own: only their volume can be sized and given a key."""
_HOUR = 3600
_ROLLING_NEEDS = 2


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """`SageMakerScalingArgs`, checked."""

    least: int
    most: int
    metric: str
    target: pulumi.Input[float]
    out_cooldown: pulumi.Input[int]
    in_cooldown: pulumi.Input[int]


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """`SageMakerAlarmsArgs`, checked."""

    actions: Sequence[str]
    errors: pulumi.Input[int]
    latency_seconds: pulumi.Input[float]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """`SageMakerWeightsArgs`, checked."""

    bucket: pulumi.Input[str]
    prefix: pulumi.Input[str]
    key_arn: pulumi.Input[str] | None


@dataclass(frozen=True, kw_only=True)
class Network:
    """`SageMakerVpcArgs`, checked."""

    subnet_ids: pulumi.Input[Sequence[str]]
    security_group_ids: pulumi.Input[Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class EndpointSettings:
    """The args of a `SageMakerEndpoint`, checked."""

    name: str
    image: pulumi.Input[str]
    instance_type: str
    environment: pulumi.Input[Mapping[str, str]]
    weights: Weights | None
    isolation: pulumi.Input[bool]
    network: Network | None
    scaling: Scaling
    alarms: Alarms
    startup: pulumi.Input[int]
    inference_ami: pulumi.Input[str] | None
    volume_size: pulumi.Input[int] | None
    volume_key_arn: pulumi.Input[str] | None
    rolling: bool
    log_retention_days: pulumi.Input[int]
    tags: pulumi.Input[Mapping[str, str]]


def read(given: Arguments, component: str) -> EndpointSettings:
    """Check the args of a `SageMakerEndpoint`.

    Raises:
        ArgumentError: one is unknown, missing, not allowed, or contradicts another.
    """
    instance_type = _instance_type(given)
    family = instance_type.split(".")[1]
    for key in ("volume_size_gib", "volume_key_arn"):
        if key in given and family not in EBS_ONLY:
            raise given.refuse(
                key,
                "given",
                "only with inf2",
                f"{instance_type} brings a disk of its own, encrypted in hardware; this would do nothing",
            )
    scaling = _scaling(given.group("scaling", SageMakerScalingArgs))
    rolling = given.plain("update", checks.choice("blue-green", "rolling"), "blue-green") == "rolling"
    if rolling and scaling.least < _ROLLING_NEEDS:
        raise given.refuse(
            "update", "rolling", "blue-green with min_instances 1", "or set min_instances to 2 or more"
        )
    empty: Mapping[str, str] = {}
    return EndpointSettings(
        name=given.plain("name", _endpoint_name, component),
        image=needed_input(given, "image", _ecr_image),
        instance_type=instance_type,
        environment=given.read("environment", _environment, empty),
        weights=_weights(given),
        isolation=given.read("network_isolation", checks.boolean, default=True),
        network=_network(given),
        scaling=scaling,
        alarms=_alarms(given.group("alarms", SageMakerAlarmsArgs)),
        startup=given.read("startup_seconds", checks.whole_number(60, _HOUR, "seconds"), 1200),
        inference_ami=given.maybe("inference_ami", _inference_ami),
        volume_size=given.maybe("volume_size_gib", checks.whole_number(1, 512, "GiB")),
        volume_key_arn=given.maybe("volume_key_arn", aws_checks.key_arn),
        rolling=rolling,
        log_retention_days=given.read("log_retention_days", aws_checks.retention, 90),
        tags=given.read("tags", aws_checks.tags, empty),
    )


def _cpu_type(given: Arguments) -> str:
    if "instance_type" not in given:
        raise given.refuse("accelerator", "missing", "an accelerator, or an instance_type without any")
    family = rf"ml\.({'|'.join(CPU_FAMILIES)})\.[a-z0-9]+"
    allowed = "without accelerator a type of one of the families " + ", ".join(CPU_FAMILIES)
    return needed(given, "instance_type", checks.text(family, allowed))


def _instance_type(given: Arguments) -> str:
    if "accelerator" not in given and "accelerators_per_instance" not in given:
        return _cpu_type(given)
    key = needed(given, "accelerator", _accelerator)
    count = needed(given, "accelerators_per_instance", checks.whole_number(1, 16, "accelerators"))
    if "instance_type" not in given:
        try:
            name = choose("aws", key, count).name
        except CatalogueError as error:
            raise given.refuse(
                "accelerators_per_instance",
                f"{count} x {key}",
                "an accelerator and a count that machines on AWS have",
                str(error),
            ) from None
    else:
        kind = checks.text(r"ml\.[a-z][a-z0-9]*\.[a-z0-9]+", "a SageMaker type such as ml.g5.2xlarge")
        name = needed(given, "instance_type", kind).removeprefix("ml.")
        try:
            found = machine("aws", name)
        except CatalogueError as error:
            raise given.refuse(
                "instance_type", f"'ml.{name}'", "a machine in the catalogue", str(error)
            ) from None
        if (found.accelerator, found.accelerators) != (key, count):
            raise given.refuse(
                "instance_type",
                f"'ml.{name}', which has {found.accelerators} x {found.accelerator}",
                f"a type with {count} x {key}",
                "change it, or accelerator and accelerators_per_instance",
            )
    if name.split(".")[0] not in FAMILIES:
        raise given.refuse(
            "instance_type" if "instance_type" in given else "accelerator",
            f"'ml.{name}'",
            "families that SageMaker hosts models on: " + ", ".join(FAMILIES),
        )
    return f"ml.{name}"


def _scaling(given: Arguments) -> Scaling:
    count = checks.whole_number(1, 1000, "instances")
    least, most = needed(given, "min_instances", count), needed(given, "max_instances", count)
    if least > most:
        raise given.refuse("min_instances", least, f"at most max_instances, {most}")
    cooldown = checks.whole_number(0, _HOUR, "seconds")
    metrics = checks.choice("concurrent-requests", "invocations-per-instance")
    return Scaling(
        least=least,
        most=most,
        metric=given.plain("metric", metrics, "concurrent-requests"),
        target=needed_input(given, "target", checks.number(0, 1_000_000, "requests per instance")),
        out_cooldown=given.read("scale_out_cooldown_seconds", cooldown, 60),
        in_cooldown=given.read("scale_in_cooldown_seconds", cooldown, 300),
    )


def _alarms(given: Arguments) -> Alarms:
    return Alarms(
        actions=needed(given, "action_arns", aws_checks.ids(aws_checks.any_arn, at_least=0)),
        errors=given.read("errors_5xx", checks.whole_number(1, 1_000_000, "answers in 5 minutes"), 5),
        latency_seconds=given.read("latency_seconds", checks.number(0, _HOUR, "seconds"), 30.0),
    )


def _weights(given: Arguments) -> Weights | None:
    if "weights" not in given:
        return None
    group = given.group("weights", SageMakerWeightsArgs)
    bucket = checks.text(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", "the name of an S3 bucket")
    prefix = checks.text(r"([A-Za-z0-9!_.'()-]+/)+", "a folder that ends with '/', such as models/qwen/")
    return Weights(
        bucket=needed_input(group, "bucket", bucket),
        prefix=needed_input(group, "prefix", prefix),
        key_arn=group.maybe("key_arn", aws_checks.key_arn),
    )


def _network(given: Arguments) -> Network | None:
    if "vpc" not in given:
        return None
    group = given.group("vpc", SageMakerVpcArgs)
    return Network(
        subnet_ids=needed_input(group, "subnet_ids", aws_checks.ids(aws_checks.subnet_id)),
        security_group_ids=needed_input(
            group, "security_group_ids", aws_checks.ids(aws_checks.security_group_id)
        ),
    )


def _accelerator(value: object) -> str:
    try:
        return accelerator(checks.plain_text(value)).key
    except CatalogueError as error:
        raise Refusal("an accelerator of the catalogue", str(error)) from None


def _endpoint_name(value: object) -> str:
    return checks.text(
        r"[A-Za-z0-9](-*[A-Za-z0-9]){0,62}", "1 to 63 letters, digits and '-', as SageMaker names endpoints"
    )(value)


def _ecr_image(value: object) -> str:
    reference = checks.image(value)
    return checks.text(
        r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/\S+",
        "an image in ECR, such as 111122223333.dkr.ecr.eu-central-1.amazonaws.com/berth/sagemaker-vllm:1.0",
    )(reference)


def _environment(value: object) -> Mapping[str, str]:
    key = checks.text(r"[A-Za-z_][A-Za-z0-9_]*", "names of environment variables")
    known = checks.mapping_of(key, checks.text(r"[\S\s]*", "texts"))(value)
    if len(known) > _MOST_VARIABLES:
        raise Refusal(f"at most {_MOST_VARIABLES} variables", given=f"{len(known)} variables")
    for name, text in known.items():
        for what, size in (("name", len(name.encode())), ("value", len(text.encode()))):
            if size > _MOST_BYTES:
                given = f"too long: {name[:80]} has a {what} of {size} bytes"
                raise Refusal(f"names and values of at most {_MOST_BYTES}", "SageMaker takes no more", given)
    if (size := sum(len(f"{name}{text}".encode()) for name, text in known.items())) > _MOST_BYTES_IN_ALL:
        raise Refusal(f"at most {_MOST_BYTES_IN_ALL} bytes in all", given=f"{size} bytes in all")
    return known


def _inference_ami(value: object) -> str:
    return checks.text(
        r"al(2|2023)-ami-sagemaker-inference-(gpu|neuron)-[0-9-]+",
        "a machine image of SageMaker's, such as al2023-ami-sagemaker-inference-gpu-4-1",
    )(value)
