"""What a pool on EKS is made of, under Cluster Autoscaler and under Auto Mode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pulumi
import yaml
from berth_catalogue.machines import machines
from berth_components.aws import EksNodePool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Json = dict[str, Any]
AUTO: Json = {"scaling": "auto-mode", "security_group_ids": ["sg-0123456789abcdef0"]}
TEMPLATE = "k8s.io/cluster-autoscaler/node-template"


def tags(planned: Any) -> dict[str, str]:
    """The tags of the Auto Scaling group."""
    found = planned.of("autoscaling/tag:Tag")
    assert {one.inputs["autoscalingGroupName"] for one in found} == {"l4-nodes-asg"}
    return {one.inputs["tag"]["key"]: one.inputs["tag"]["value"] for one in found}


def test_how_a_node_starts(make: Callable[..., Any]) -> None:
    template = make("EksNodePool", {"tags": {"team": "chat"}}).one("LaunchTemplate")
    assert template["instanceType"] == "g6.xlarge"
    assert template["metadataOptions"] == {
        "httpEndpoint": "enabled",
        "httpTokens": "required",
        "httpPutResponseHopLimit": 1,
        "instanceMetadataTags": "disabled",
    }
    (disk,) = template["blockDeviceMappings"]
    assert disk["deviceName"] == "/dev/xvda"
    assert disk["ebs"] == {
        "volumeType": "gp3",
        "volumeSize": 200,
        "encrypted": "true",
        "deleteOnTermination": "true",
    }
    assert {one["resourceType"]: one["tags"]["team"] for one in template["tagSpecifications"]} == {
        "instance": "chat",
        "volume": "chat",
        "network-interface": "chat",
    }


def test_the_node_group(make: Callable[..., Any]) -> None:
    planned = make("EksNodePool", {"labels": {"tier": "gpu"}, "min_nodes": 1})
    group = planned.one("eks/nodeGroup:NodeGroup")
    assert group["amiType"] == "AL2023_x86_64_NVIDIA"
    assert group["capacityType"] == "ON_DEMAND"
    assert group["launchTemplate"] == {"id": "l4-template-id", "version": "3"}
    # They are in the template; EKS refuses them in both places.
    assert {"instanceTypes", "diskSize", "remoteAccess"} & group.keys() == set()
    assert group["scalingConfig"] == {"minSize": 1, "desiredSize": 1, "maxSize": 4}
    assert group["labels"] == {
        "berth.dev/pool": "l4",
        "k8s.amazonaws.com/accelerator": "nvidia-l4",
        "tier": "gpu",
    }
    assert group["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NO_SCHEDULE"}]
    assert group["updateConfig"] == {"maxUnavailable": 1, "updateStrategy": "DEFAULT"}
    assert group["nodeRepairConfig"] == {"enabled": True}
    assert "nodeGroupName" not in group


def test_the_autoscaler_owns_the_size(plan: Callable[..., Any], args_of: Callable[..., Json]) -> None:
    options: list[pulumi.ResourceOptions] = []

    def look(args: pulumi.ResourceTransformationArgs) -> None:
        if args.type_ == "aws:eks/nodeGroup:NodeGroup":
            options.append(args.opts)

    def program(opts: pulumi.ResourceOptions) -> object:
        looking = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(transformations=[look]))
        return EksNodePool("l4", args_of("EksNodePool", {}), looking)  # type: ignore[arg-type] # built up

    plan(program)
    assert [one.ignore_changes for one in options] == [["scalingConfig.desiredSize"]]


def test_scaling_from_zero_is_told_everything(make: Callable[..., Any]) -> None:
    planned = make("EksNodePool", {"taints": [{"key": "team", "value": "a", "effect": "NoExecute"}]})
    assert tags(planned) == {
        "k8s.io/cluster-autoscaler/enabled": "true",
        "k8s.io/cluster-autoscaler/berth": "owned",
        f"{TEMPLATE}/resources/nvidia.com/gpu": "1",
        f"{TEMPLATE}/resources/ephemeral-storage": "160Gi",
        f"{TEMPLATE}/label/berth.dev/pool": "l4",
        f"{TEMPLATE}/label/k8s.amazonaws.com/accelerator": "nvidia-l4",
        f"{TEMPLATE}/taint/nvidia.com/gpu": "present:NoSchedule",
        f"{TEMPLATE}/taint/team": "a:NoExecute",
    }
    assert not any(one.inputs["tag"]["propagateAtLaunch"] for one in planned.of("autoscaling/tag:Tag"))
    assert planned.one("eks/nodeGroup:NodeGroup")["taints"][1]["effect"] == "NO_EXECUTE"


def test_two_effects_of_one_key_are_one_tag(make: Callable[..., Any]) -> None:
    taints = [{"key": "team", "value": "a", "effect": one} for one in ("NoSchedule", "NoExecute")]
    planned = make("EksNodePool", {"taints": taints})
    assert len(planned.one("eks/nodeGroup:NodeGroup")["taints"]) == 3
    keys = [one.inputs["tag"]["key"] for one in planned.of("autoscaling/tag:Tag")]
    assert len({*keys}) == len(keys)
    assert tags(planned)[f"{TEMPLATE}/taint/team"] == "a:NoSchedule"


def test_inferentia(make: Callable[..., Any]) -> None:
    planned = make("EksNodePool", {"accelerator": "aws-inferentia2"})
    group = planned.one("eks/nodeGroup:NodeGroup")
    assert group["amiType"] == "AL2023_x86_64_NEURON"
    assert group["taints"][0]["key"] == "aws.amazon.com/neuron"
    # Cluster Autoscaler would wait for GPUs on such a node for ever.
    assert "k8s.amazonaws.com/accelerator" not in group["labels"]
    assert tags(planned)[f"{TEMPLATE}/resources/aws.amazon.com/neuron"] == "1"
    assert planned.one("LaunchTemplate")["instanceType"].startswith("inf2.")


def test_every_machine_of_the_catalogue(plan: Callable[..., Any], args_of: Callable[..., Json]) -> None:
    """In one program under Auto Mode, where a pool is two objects."""
    names = {one.replace(".", "-"): one for one in machines("aws")}

    def program(opts: pulumi.ResourceOptions) -> None:
        for pool, name in names.items():
            one = machines("aws")[name]
            changes = {
                **AUTO,
                "accelerator": one.accelerator,
                "accelerators_per_node": one.accelerators,
                "machine_type": name,
            }
            EksNodePool(pool, args_of("EksNodePool", changes), opts)  # type: ignore[arg-type] # built up

    found = {
        one.inputs["metadata"]["name"]: one.inputs["spec"]["template"]["spec"]["requirements"][0]["values"]
        for one in plan(program).of("karpenter.sh/v1:NodePool")
    }
    assert found == {pool: [name] for pool, name in names.items()}
    families = {name.split(".")[0] for name in names.values()}
    assert families >= {"g5", "g6", "g6e", "p4d", "p4de", "p5", "inf2"}


def test_spot_and_reservations(make: Callable[..., Any]) -> None:
    spot = make("EksNodePool", {"capacity_type": "spot"}).one("eks/nodeGroup:NodeGroup")
    assert spot["capacityType"] == "SPOT"
    number = "cr-0123456789abcdef0"
    block = make(
        "EksNodePool",
        {"capacity_type": "reserved", "reservation": {"id": number, "kind": "capacity-block"}},
    )
    assert block.one("eks/nodeGroup:NodeGroup")["capacityType"] == "CAPACITY_BLOCK"
    template = block.one("LaunchTemplate")
    assert template["instanceMarketOptions"] == {"marketType": "capacity-block"}
    target = {"capacityReservationTarget": {"capacityReservationId": number}}
    assert template["capacityReservationSpecification"] == target
    bought = make(
        "EksNodePool", {"capacity_type": "reserved", "reservation": {"id": number, "kind": "on-demand"}}
    )
    assert bought.one("eks/nodeGroup:NodeGroup")["capacityType"] == "ON_DEMAND"
    assert bought.one("LaunchTemplate")["capacityReservationSpecification"] == target
    assert "instanceMarketOptions" not in bought.one("LaunchTemplate")


def test_auto_mode(make: Callable[..., Any]) -> None:
    planned = make("EksNodePool", {**AUTO, "accelerator": "nvidia-a10g", "accelerators_per_node": 4})
    assert not planned.of("NodeGroup")
    assert not planned.of("LaunchTemplate")
    nodes = planned.one("eks.amazonaws.com/v1:NodeClass")
    assert nodes["metadata"]["name"] == "l4"
    assert nodes["spec"] == {
        "role": "nodes",
        "subnetSelectorTerms": [{"id": "subnet-0123456789abcdef0"}, {"id": "subnet-0123456789abcdef1"}],
        "securityGroupSelectorTerms": [{"id": "sg-0123456789abcdef0"}],
        "networkPolicy": "DefaultAllow",
        "ephemeralStorage": {"size": "200Gi"},
    }
    pool = planned.one("karpenter.sh/v1:NodePool")
    assert pool["apiVersion"] == "karpenter.sh/v1"
    spec = pool["spec"]
    assert spec["limits"] == {"nvidia.com/gpu": "16"}
    assert spec["disruption"] == {
        "consolidationPolicy": "WhenEmpty",
        "consolidateAfter": "5m",
        "budgets": [{"nodes": "1"}],
    }
    assert spec["template"]["metadata"]["labels"] == {"berth.dev/pool": "l4"}
    assert spec["template"]["spec"] == {
        "nodeClassRef": {"group": "eks.amazonaws.com", "kind": "NodeClass", "name": "l4"},
        "requirements": [
            {"key": "node.kubernetes.io/instance-type", "operator": "In", "values": ["g5.12xlarge"]},
            {"key": "karpenter.sh/capacity-type", "operator": "In", "values": ["on-demand"]},
            {"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]},
        ],
        "taints": [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}],
        "expireAfter": "336h",
    }


def test_karpenters_own_schema_takes_the_pool(make: Callable[..., Any], root: Path) -> None:
    crd = yaml.safe_load((root / "tests/cluster/crds/karpenter.sh_nodepools.yaml").read_text("utf-8"))
    (schema,) = [one["schema"]["openAPIV3Schema"] for one in crd["spec"]["versions"] if one["name"] == "v1"]
    taints = [{"key": "team", "value": "a", "effect": "NoExecute"}, {"key": "b", "effect": "NoSchedule"}]
    changes = {**AUTO, "labels": {"tier": "gpu"}, "taints": taints, "capacity_type": "spot"}
    pool = make("EksNodePool", changes).one("karpenter.sh/v1:NodePool")
    judge = jsonschema.Draft202012Validator(_strict(schema))
    assert [one.message for one in judge.iter_errors(pool)] == []
    del pool["spec"]["template"]["spec"]["nodeClassRef"]
    pool["spec"]["limit"] = {}
    assert len([*judge.iter_errors(pool)]) == 2


def _strict(schema: Any) -> Any:
    """The schema, which then refuses fields that it does not name, as a strict API server does."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(one) for key, one in schema.items()}
    # `metadata` is the API server's own.
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    return strict


def test_auto_mode_with_a_reservation_and_a_key(make: Callable[..., Any]) -> None:
    key = "arn:aws:kms:eu-central-1:111122223333:key/0123"
    number = "cr-0123456789abcdef0"
    planned = make(
        "EksNodePool",
        {
            **AUTO,
            "capacity_type": "reserved",
            "reservation": {"id": number, "kind": "capacity-block"},
            "volume_key_arn": key,
        },
    )
    spec = planned.one("eks.amazonaws.com/v1:NodeClass")["spec"]
    assert spec["capacityReservationSelectorTerms"] == [{"id": number}]
    assert spec["ephemeralStorage"]["kmsKeyID"] == key
    requirements = planned.one("karpenter.sh/v1:NodePool")["spec"]["template"]["spec"]["requirements"]
    assert requirements[1]["values"] == ["reserved"]


def test_what_pods_need_to_know(plan: Callable[..., Any], args_of: Callable[..., Json]) -> None:
    found: Json = {}

    def program(opts: pulumi.ResourceOptions) -> object:
        pool = EksNodePool("l4", args_of("EksNodePool", {}), opts)  # type: ignore[arg-type] # built up
        return pulumi.Output.all(
            selector=pool.node_selector,
            tolerations=pool.tolerations,
            resource=pool.resource_key,
            most=pool.max_accelerators,
        ).apply(found.update)

    group = plan(program).one("eks/nodeGroup:NodeGroup")
    assert found["resource"] == "nvidia.com/gpu"
    assert found["most"] == 4
    assert found["selector"].items() <= group["labels"].items()
    tolerated = {(one["key"], one["effect"]) for one in found["tolerations"]}
    effects = {"NO_SCHEDULE": "NoSchedule"}
    assert {(one["key"], effects[one["effect"]]) for one in group["taints"]} <= tolerated
