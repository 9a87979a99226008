"""Each wrong argument is refused by name, with what is allowed and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_components import ArgumentError
from berth_components import aws as components

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
AUTO: Json = {"scaling": "auto-mode", "security_group_ids": ["sg-0123456789abcdef0"]}
ARN = "arn:aws:iam::111122223333:role/nodes"
KEY = "arn:aws:kms:eu-central-1:111122223333:key/0123"
ZONES = "two or three different zones of one region, such as eu-central-1a and eu-central-1b"
VPC: Json = {"cidr": "10.20.0.0/16", "zones": ["eu-central-1a", "eu-central-1b"]}
OWN: Json = {"subnet_ids": None, "vpc": VPC}
STATEMENT: Json = {"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::weights/*"]}

CLUSTER: list[tuple[Json, str]] = [
    ({"name": "-berth"}, "'name' is '-berth'; allowed: 1 to 100 letters, digits"),
    ({"scaling": "karpenter"}, "'scaling' is 'karpenter'; allowed: one of cluster-autoscaler, auto-mode"),
    (
        {"existing": True},
        "'admin_arns' is given; allowed: only for a cluster that is made here; the existing one is left",
    ),
    ({"version": None}, "'version' is missing; allowed: a minor version of Kubernetes such as '1.34'"),
    ({"version": 1.4}, "'version' is 1.4; allowed: a minor version of Kubernetes such as '1.34'; quote it"),
    ({"version": "1.34.1"}, "'version' is '1.34.1'; allowed: a minor version"),
    ({"support": "long"}, "'support' is 'long'; allowed: one of extended, standard"),
    (
        {"subnet_ids": None},
        "'vpc' is missing, and so is subnet_ids; allowed: exactly one of vpc and subnet_ids",
    ),
    (
        {"vpc": VPC},
        "'vpc' is given besides subnet_ids; allowed: exactly one of vpc and subnet_ids",
    ),
    ({"subnet_ids": ["subnet-0123456789abcdef0"]}, "'subnet_ids' is ['subnet-"),
    (
        {"subnet_ids": ["subnet-0123456789abcdef0"] * 2},
        "allowed: ids that are all different",
    ),
    (
        {**OWN, "vpc.cidr": "10.0.0.0/8"},
        "'vpc.cidr' is '10.0.0.0/8'; allowed: private addresses of /16 to /20",
    ),
    ({**OWN, "vpc.cidr": "10.20.0.1/16"}, "'vpc.cidr' is '10.20.0.1/16'; allowed: private addresses"),
    ({**OWN, "vpc.cidr": "8.8.0.0/16"}, "'vpc.cidr' is '8.8.0.0/16'; allowed: private addresses"),
    ({**OWN, "vpc.zones": ["eu-central-1a"]}, f"'vpc.zones' is ['eu-central-1a']; allowed: {ZONES}"),
    ({**OWN, "vpc.zones": ["eu-central-1a", "eu-west-1b"]}, f"allowed: {ZONES}"),
    ({**OWN, "vpc.zones": ["eu-central-1a", "eu-central-1a"]}, f"allowed: {ZONES}"),
    ({**OWN, "vpc.zones": ["a", "b"]}, f"allowed: {ZONES}"),
    ({**OWN, "vpc.nat": "none"}, "'vpc.nat' is 'none'; allowed: one of single, per-zone"),
    ({**OWN, "vpc.endpoints": ["dynamodb"]}, "'vpc.endpoints' is ['dynamodb']; allowed: one of s3, ecr.api"),
    (
        {**OWN, "vpc.zone": ["eu-central-1a"]},
        "'vpc.zone' does not exist; allowed: one of cidr, endpoints, nat, zones",
    ),
    (
        {"public_cidrs": ["0.0.0.0/0"]},
        "'public_cidrs' is ['0.0.0.0/0']; allowed: ranges that are not together the whole internet; 0",
    ),
    (
        {"public_cidrs": ["0.0.0.0/1", "128.0.0.0/1"]},
        "'public_cidrs' is ['0.0.0.0/1', '128.0.0.0/1']; allowed: ranges that are not together",
    ),
    ({"public_cidrs": ["2001:db8::/32"]}, "allowed: ranges of IPv4"),
    ({"public_cidrs": ["203.0.113.7"]}, "allowed: an address range such as 10.20.0.0/16"),
    ({"admin_arns": None}, "'admin_arns' is missing; allowed: a list of at least 1"),
    ({"admin_arns": []}, "'admin_arns' is []; allowed: a list of at least 1"),
    ({"admin_arns": ["arn:aws:iam::111122223333:root"]}, "allowed: the ARN of one IAM role or user"),
    ({"admin_arns": ["arn:aws:iam::111122223333:role/*"]}, "allowed: the ARN of one IAM role or user"),
    ({"secrets_key_arn": "alias/eks"}, "'secrets_key_arn' is 'alias/eks'; allowed: the ARN of a KMS key"),
    ({"log_retention_days": 42}, "'log_retention_days' is 42; allowed: one of 1, 3, 5, 7"),
    ({"deletion_protection": "yes"}, "'deletion_protection' is 'yes'; allowed: True or False"),
    ({"addon_versions": {"cilium": "v1"}}, "'addon_versions' is {'cilium': 'v1'}; allowed: one of vpc-cni"),
    (
        {"addon_versions": {"vpc-cni": "latest"}},
        "allowed: a version of an EKS add-on, such as v1.20.4-eksbuild.1",
    ),
    (
        {"scaling": "auto-mode", "addon_versions": {"vpc-cni": "v1.20.4-eksbuild.1"}},
        "'addon_versions.vpc-cni' is v1.20.4-eksbuild.1; allowed: metrics-server; Auto Mode runs this itself",
    ),
    (
        {"scaling": "auto-mode", "system_nodes": {"min_nodes": 1}},
        "'system_nodes' is given; allowed: only with scaling cluster-autoscaler; Auto Mode makes them itself",
    ),
    ({"system_nodes.min_nodes": 9}, "'system_nodes.min_nodes' is 9; allowed: at most max_nodes, 6"),
    ({"system_nodes.min_nodes": 0}, "'system_nodes.min_nodes' is 0; allowed: a whole number from 1 to 100"),
    ({"system_nodes.machine_type": "big"}, "allowed: an EC2 instance type such as m6i.large"),
    ({"system_nodes.disk_size_gib": 5}, "'system_nodes.disk_size_gib' is 5; allowed: a whole number from 20"),
    ({"tags": {"aws:x": "y"}}, "'tags' is {'aws:x': 'y'}; allowed: tag keys"),
    ({"node_role_arn": "nodes"}, "'node_role_arn' is 'nodes'; allowed: the ARN of an IAM role"),
    ({"retention": 3}, "'retention' does not exist"),
]

POOL: list[tuple[Json, str]] = [
    ({"accelerator": "nvidia-l5"}, "'accelerator' is 'nvidia-l5'; allowed: one of nvidia-a10g"),
    ({"accelerator": "google-tpu-v5e"}, "is 1 x google-tpu-v5e; allowed: an accelerator and a count"),
    (
        {"accelerators_per_node": 3},
        "'accelerators_per_node' is 3 x nvidia-l4; allowed: an accelerator and a count",
    ),
    (
        {"machine_type": "g5.xlarge"},
        "is 'g5.xlarge', which has 1 x nvidia-a10g; allowed: a machine with 1 x nvidia-l4",
    ),
    ({"machine_type": "g6.12xlarge"}, "which has 4 x nvidia-l4; allowed: a machine with 1 x nvidia-l4"),
    ({"machine_type": "m6i.large"}, "'machine_type' is 'm6i.large'; allowed: a machine in the catalogue"),
    ({"min_nodes": 5}, "'min_nodes' is 5; allowed: at most max_nodes, 4"),
    (
        {"capacity_type": "preemptible"},
        "'capacity_type' is 'preemptible'; allowed: one of on-demand, spot, reserved",
    ),
    (
        {"capacity_type": "reserved"},
        "'reservation' is missing; allowed: one with capacity_type reserved, none otherwise; name the",
    ),
    (
        {"reservation": {"id": "cr-0123456789abcdef0", "kind": "on-demand"}},
        "'reservation' is given; allowed: one with capacity_type reserved, none otherwise; set capacity_type",
    ),
    (
        {"capacity_type": "reserved", "reservation": {"id": "0123", "kind": "on-demand"}},
        "'reservation.id' is '0123'; allowed: a capacity reservation's id",
    ),
    (
        {"capacity_type": "reserved", "reservation": {"id": "cr-0123456789abcdef0"}},
        "'reservation.kind' is missing; allowed: one of capacity-block, on-demand",
    ),
    ({"cluster_name": None}, "'cluster_name' is missing"),
    ({"node_role_arn": ""}, "'node_role_arn' is ''; allowed: the ARN of an IAM role; give the existing"),
    ({"subnet_ids": []}, "'subnet_ids' is []; allowed: a list of at least 1"),
    ({"disk_size_gib": 20}, "'disk_size_gib' is 20; allowed: a whole number from 50 to 16384 GiB"),
    ({"volume_key_arn": "0123"}, "'volume_key_arn' is '0123'; allowed: the ARN of a KMS key"),
    ({"max_unavailable": 0}, "'max_unavailable' is 0; allowed: a whole number from 1 to 100 nodes"),
    ({"update_strategy": "fast"}, "'update_strategy' is 'fast'; allowed: one of surge, minimal"),
    ({"ami_release": "latest"}, "'ami_release' is 'latest'; allowed: a release of EKS' machine images"),
    ({"expire_after_hours": 24}, "'expire_after_hours' is given; allowed: only with scaling auto-mode"),
    (
        {"security_group_ids": ["sg-0123456789abcdef0"]},
        "'security_group_ids' is given; allowed: only with scaling auto-mode",
    ),
    ({"scaling": "auto-mode"}, "'security_group_ids' is missing; allowed: a list of at least 1"),
    (
        {**AUTO, "min_nodes": 1},
        "'min_nodes' is 1; allowed: 0 with scaling auto-mode; Auto Mode adds nodes when pods ask for them",
    ),
    *(
        ({**AUTO, **change}, f"'{next(iter(change))}' is given; allowed: only with scaling cluster-aut")
        for change in (
            {"update_strategy": "surge"},
            {"node_repair": True},
            {"kubernetes_version": "1.34"},
            {"ami_release": "1.34.1-20251007"},
            {"tags": {}},
        )
    ),
    (
        {**AUTO, "expire_after_hours": 0},
        "'expire_after_hours' is 0; allowed: a whole number from 1 to 504 hours",
    ),
    (
        {"taints": [{"key": "a", "effect": "NO_SCHEDULE"}]},
        "'taints[0].effect' is 'NO_SCHEDULE'; allowed: one of NoSchedule",
    ),
    (
        {"taints": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}]},
        "'taints' is nvidia.com/gpu:NoSchedule twice; allowed: different keys or effects; the acc",
    ),
    (
        {"taints": [{"key": "a", "effect": "NoExecute"}, {"key": "a", "effect": "NoExecute", "value": "b"}]},
        "'taints' is a:NoExecute twice; allowed: different keys or effects; name each once",
    ),
    ({"labels": {"berth.dev/pool": "x"}}, "berth.dev/pool"),
    ({"instance_type": "g6.xlarge"}, "'instance_type' does not exist"),
]

SCALER: list[tuple[Json, str]] = [
    ({"kubernetes_version": "1.20"}, "'kubernetes_version' is '1.20'; allowed: one of 1.32, 1.33"),
    ({"kubernetes_version": None}, "'image' is missing, and so is kubernetes_version; allowed: exactly one"),
    ({"image": "mirror.example/ca:v1"}, "'image' is given besides kubernetes_version; allowed: exactly one"),
    (
        {"kubernetes_version": None, "image": "mirror.example/ca"},
        "allowed: an image with a version or digest",
    ),
    ({"replicas": 0}, "'replicas' is 0; allowed: a whole number from 1 to 3"),
    ({"unneeded_seconds": 5}, "'unneeded_seconds' is 5; allowed: a whole number from 60 to 86400 seconds"),
    ({"expander": "price"}, "'expander' is 'price'; allowed: one of least-waste, most-pods, random"),
    ({"cluster_name": "a b"}, "'cluster_name' is 'a b'; allowed: 1 to 100 letters"),
    ({"namespace": "Kube"}, "'namespace' is 'Kube'; allowed: 1 to 63 lower-case"),
    ({"metrics_namespaces": ["*"]}, "'metrics_namespaces' is ['*']"),
]

IDENTITY: list[tuple[Json, str]] = [
    ({"statements": None}, "'statements' is empty; allowed: at least one"),
    (
        {"statements": [{**STATEMENT, "actions": ["s3:*"]}]},
        "'statements[0].actions' is ['s3:*']; allowed: actions in full",
    ),
    (
        {"statements": [{**STATEMENT, "actions": ["s3:Get*"]}]},
        "allowed: actions in full, such as s3:GetObject; name each",
    ),
    ({"statements": [{**STATEMENT, "actions": ["*"]}]}, "allowed: actions in full"),
    (
        {"statements": [{**STATEMENT, "actions": []}]},
        "'statements[0].actions' is []; allowed: a list of at least 1",
    ),
    (
        {"statements": [{**STATEMENT, "resources": ["*"]}]},
        "'statements[0].resources' is ['*']; allowed: ARNs; or conditions, which narrow '*'",
    ),
    ({"statements": [{**STATEMENT, "resources": ["weights"]}]}, "allowed: ARNs such as arn:aws:s3:::weights"),
    ({"statements": [{**STATEMENT, "conditions": {"a": {}}}]}, "allowed: operators such as StringEquals"),
    ({"statements": [{**STATEMENT, "effect": "Deny"}]}, "'statements[0].effect' does not exist"),
    ({"namespace": None}, "'namespace' is missing"),
    ({"service_account": "a_b"}, "'service_account' is 'a_b'"),
]

ENDPOINT: list[tuple[Json, str]] = [
    ({"image": "ghcr.io/berth/all:1"}, "'image' is 'ghcr.io/berth/all:1'; allowed: an image in ECR"),
    (
        {"image": "111122223333.dkr.ecr.eu-central-1.amazonaws.com/a:latest"},
        "allowed: an image with a version or digest",
    ),
    ({"accelerator": "h100"}, "'accelerator' is 'h100'; allowed: an accelerator of the catalogue"),
    ({"accelerators_per_instance": 3}, "is 3 x nvidia-a10g; allowed: an accelerator and a count"),
    (
        {"instance_type": "g5.xlarge"},
        "'instance_type' is 'g5.xlarge'; allowed: a SageMaker type such as ml.g5.2xlarge",
    ),
    (
        {"instance_type": "ml.g5.12xlarge"},
        "'ml.g5.12xlarge', which has 4 x nvidia-a10g; allowed: a type with 1 x",
    ),
    ({"instance_type": "ml.c5.large"}, "'ml.c5.large'; allowed: a machine in the catalogue"),
    ({"name": "a_b"}, "'name' is 'a_b'; allowed: 1 to 63 letters, digits and '-'"),
    ({"environment": {"A-B": "c"}}, "allowed: names of environment variables"),
    ({"weights": {"bucket": "weights"}}, "'weights.prefix' is missing"),
    (
        {"weights": {"bucket": "weights", "prefix": "models"}},
        "'weights.prefix' is 'models'; allowed: a folder that ends",
    ),
    (
        {"weights": {"bucket": "W", "prefix": "a/"}},
        "'weights.bucket' is 'W'; allowed: the name of an S3 bucket",
    ),
    ({"scaling.min_instances": 0}, "'scaling.min_instances' is 0; allowed: a whole number from 1 to 1000"),
    ({"scaling.min_instances": 7}, "'scaling.min_instances' is 7; allowed: at most max_instances, 6"),
    ({"scaling.target": 0}, "'scaling.target' is 0; allowed: a number above 0"),
    ({"scaling.metric": "gpu"}, "'scaling.metric' is 'gpu'; allowed: one of concurrent-requests"),
    ({"scaling": None}, "'scaling.min_instances' is missing"),
    ({"alarms": None}, "'alarms.action_arns' is missing"),
    (
        {"alarms.action_arns": ["oncall"]},
        "'alarms.action_arns' is ['oncall']; allowed: an ARN without wildcards",
    ),
    ({"alarms.latency_seconds": 0}, "'alarms.latency_seconds' is 0; allowed: a number above 0"),
    ({"startup_seconds": 4000}, "'startup_seconds' is 4000; allowed: a whole number from 60 to 3600 seconds"),
    (
        {"volume_size_gib": 100},
        "'volume_size_gib' is given; allowed: only with inf2; ml.g5.xlarge brings a disk of its own",
    ),
    ({"volume_key_arn": KEY}, "'volume_key_arn' is given; allowed: only with inf2"),
    (
        {"update": "rolling", "scaling.min_instances": 1},
        "'update' is rolling; allowed: blue-green with min_instances 1; or set min_instances to 2",
    ),
    (
        {"environment": {"BERTH_ENGINE_COMMAND": "x" * 1025}},
        "'environment' is too long: BERTH_ENGINE_COMMAND has a value of 1025 bytes; allowed: names",
    ),
    ({"inference_ami": "mine"}, "'inference_ami' is 'mine'; allowed: a machine image of SageMaker's"),
    ({"vpc": {"subnet_ids": ["subnet-0123456789abcdef0"]}}, "'vpc.security_group_ids' is missing"),
    ({"replicas": 2}, "'replicas' does not exist"),
]
CASES = [
    *(("EksCluster", *one) for one in CLUSTER),
    *(("EksNodePool", *one) for one in POOL),
    *(("ClusterAutoscaler", *one) for one in SCALER),
    *(("EksWorkloadIdentity", *one) for one in IDENTITY),
    *(("SageMakerEndpoint", *one) for one in ENDPOINT),
]


@pytest.mark.parametrize(("component", "changes", "says"), CASES, ids=lambda value: str(value)[:70])
def test_refused(component: str, changes: Json, says: str, args_of: Callable[[str, Json], Json]) -> None:
    with pytest.raises(ArgumentError) as caught:
        getattr(components, component)("berth", args_of(component, changes))
    message = str(caught.value)
    assert message.startswith(f"{component} 'berth': argument '"), message
    assert says in message
    assert "allowed: " in message


def test_a_name_that_no_label_takes(args_of: Callable[[str, Json], Json]) -> None:
    with pytest.raises(ArgumentError, match="a DNS label"):
        components.EksNodePool("L4", args_of("EksNodePool", {}))  # type: ignore[arg-type] # wrong on purpose


@pytest.mark.parametrize(
    ("component", "suffix", "longest"),
    [
        ("EksCluster", "-aws-ebs-csi-driver-role", 64),
        ("EksNodePool", "-nodes", 63),
        ("ClusterAutoscaler", "-role", 64),
        ("EksWorkloadIdentity", "-role", 64),
        ("SageMakerEndpoint", "-configuration", 63),
    ],
)
def test_a_name_that_aws_takes_for_no_resource(
    component: str, suffix: str, longest: int, args_of: Callable[[str, Json], Json], make: Callable[..., Any]
) -> None:
    most = longest - len("-1234567") - len(suffix)
    with pytest.raises(ArgumentError, match=f"has {most + 1} characters; allowed: at most {most}; AWS takes"):
        getattr(components, component)("a" * (most + 1), args_of(component, {}))
    # Nothing whose name AWS limits so has a longer one.
    planned = make(component)
    limited = [
        one.name for kind in ("iam/role:Role", "NodeGroup", "Configuration") for one in planned.of(kind)
    ]
    assert max(limited, key=len).endswith(suffix)


@pytest.mark.parametrize(
    ("component", "changes", "says"),
    [
        ("EksCluster", {"version": "1"}, "'version' is '1'"),
        ("EksNodePool", {"cluster_name": "a b"}, "'cluster_name' is 'a b'"),
        ("ClusterAutoscaler", {"kubernetes_version": "1.99"}, "'kubernetes_version' is '1.99'"),
        ("EksWorkloadIdentity", {"namespace": "A"}, "'namespace' is 'A'"),
        ("SageMakerEndpoint", {"image": "x:1"}, "'image' is 'x:1'"),
    ],
)
def test_an_output_is_checked_when_it_resolves(
    component: str, changes: Json, says: str, make: Callable[..., Any]
) -> None:
    lifted = {path: pulumi.Output.from_input(value) for path, value in changes.items()}
    with pytest.raises(Exception, match=says):
        make(component, lifted)
