"""Programs of raw cloud resources, each of which breaks exactly the rules that it says.

They are what teams write without our components; settings of ours would be refused earlier.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth_policy.testing import Given, Results, given

if TYPE_CHECKING:
    from collections.abc import Callable

_HERE = Path(__file__).parent


def _module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, _HERE / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOODS = _module("cloud_goods").GOODS
NEVER = ("user", "account-key", "native")


def good(**changes: dict[str, Any]) -> list[Given]:
    """All good resources, some with other inputs; the default security group is its VPC's."""
    vpc = given(*GOODS["vpc"][:1], "vpc", GOODS["vpc"][1])
    made = []
    for name, (token, inputs) in GOODS.items():
        if name in NEVER:
            continue
        links = {"vpcId": [vpc.urn_in("prod", "shop")]} if name == "closed" else {}
        urn = f"urn:pulumi:prod::shop::{token}::{name}"
        made.append(
            given(
                token, name, {**inputs, **changes.get(name.replace("-", "_"), {})}, references=links, urn=urn
            )
        )
    made.append(
        given(
            "berth:stacks:Environment",
            "environment",
            {"environment": "production", "findings": []},
            urn="urn:pulumi:prod::shop::berth:stacks:Environment::environment",
        )
    )
    return made


def inputs(name: str) -> dict[str, Any]:
    """The inputs of a good resource."""
    found: dict[str, Any] = GOODS[name][1]
    return found


POLICY = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
TRUST = (
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, '
    '"Action": "sts:AssumeRole"}]}'
)
PROGRAMS: dict[str, tuple[dict[str, dict[str, Any]], set[str]]] = {
    "an API server that the internet reaches": (
        {"eks": {"vpcConfig": {"endpointPrivateAccess": True, "publicAccessCidrs": ["0.0.0.0/0"]}}},
        {"eks-public-endpoint", "eks-public-endpoint-in-production"},
    ),
    "Secrets that are not encrypted": ({"eks": {"encryptionConfig": None}}, {"eks-secrets-encryption"}),
    "a control plane without its audit log": (
        {"eks": {"enabledClusterLogTypes": ["api", "scheduler"]}},
        {"eks-control-plane-logs"},
    ),
    "nodes whose credentials pods can read": (
        {"template": {"metadataOptions": {"httpTokens": "optional", "httpPutResponseHopLimit": 2}}},
        {"aws-imdsv2", "aws-imds-hop-limit"},
    ),
    "volumes in clear that stay": (
        {"template": {"blockDeviceMappings": [{"deviceName": "/dev/xvda", "ebs": {"volumeSize": 100}}]}},
        {"aws-volumes-encrypted", "aws-volumes-deleted"},
    ),
    "SSH from everywhere": (
        {
            "group_rule": {"fromPort": 22, "toPort": 22, "cidrBlocks": ["0.0.0.0/0"]},
            "group": {"ingress": [{"protocol": "-1", "fromPort": 0, "toPort": 0, "self": True}]},
        },
        {"aws-open-security-groups"},
    ),
    "an administrator by policy": (
        {"policy": {"policy": POLICY}},
        {"iam-wildcard-actions", "iam-wildcard-resources"},
    ),
    "a role for everybody": ({"role": {"assumeRolePolicy": TRUST}}, {"iam-trust"}),
    "an administrator by attachment": (
        {"attachment": {"policyArn": "arn:aws:iam::aws:policy/AdministratorAccess"}},
        {"iam-managed-policies"},
    ),
    "a key that is never rotated": ({"key": {"enableKeyRotation": False}}, {"kms-rotation"}),
    "a model server in SageMaker with a way out": (
        {"model": {"enableNetworkIsolation": False}},
        {"sagemaker-isolation"},
    ),
    "an endpoint that never goes back": (
        {"endpoint": {"deploymentConfig": None}},
        {"sagemaker-rollback"},
    ),
    "a GKE cluster in the default network, reached from everywhere": (
        {
            "gke": {
                "network": "default",
                "privateClusterConfig": {"enablePrivateNodes": False},
                "masterAuthorizedNetworksConfig": None,
            }
        },
        {"gke-own-network", "gke-private-nodes", "gke-control-plane", "gke-private-endpoint"},
    ),
    "nodes of GKE as the project's editor": (
        {
            "pool": {
                "nodeConfig": {
                    key: value
                    for key, value in inputs("pool")["nodeConfig"].items()
                    if key not in {"serviceAccount", "workloadMetadataConfig"}
                }
            }
        },
        {"gke-node-identity", "gke-workload-identity"},
    ),
    "an editor of the whole project": ({"grant": {"role": "roles/editor"}}, {"google-basic-roles"}),
    "a grant to the internet": ({"grant": {"member": "allUsers"}}, {"google-public-members"}),
    "a hundred nodes on spot": (
        {"nodes": {"capacityType": "SPOT", "scalingConfig": {"minSize": 0, "maxSize": 100}}},
        {"cost-nodes-per-pool", "cost-accelerators", "cost-spot-in-production"},
    ),
    "logs for ever": ({"eks_logs": {"retentionInDays": 0}}, {"aws-log-retention"}),
}


def test_there_are_enough_of_them() -> None:
    assert len(PROGRAMS) >= 15


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_breaks_exactly_its_rules(name: str, judge: Callable[..., Results]) -> None:
    changes, rules = PROGRAMS[name]
    found = judge(good(**changes))
    assert {one.policy for one in found} == rules | {"open-price"}, "\n".join(one.message for one in found)


def test_good_ones_break_none(judge: Callable[..., Results]) -> None:
    assert {one.policy for one in judge(good())} == {"open-price"}
