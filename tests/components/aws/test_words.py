"""The words that AWS' APIs take are AWS' own: its service models (botocore) and managed policies (moto)."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from berth_catalogue.machines import machines
from berth_components.aws import eks_cluster, eks_node_pool, nodes, sagemaker_endpoint, sagemaker_settings
from berth_components.aws.checks import LOG_RETENTION_DAYS
from botocore.loaders import Loader

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]


def shapes(service: str) -> Json:
    found: Json = Loader().load_service_model(service, "service-2")["shapes"]
    return found


@pytest.fixture(scope="module")
def eks() -> Json:
    return shapes("eks")


def test_eks(eks: Json, make: Callable[..., Any]) -> None:
    def words(shape: str) -> set[str]:
        return {*eks[shape]["enum"]}

    assert {*eks_node_pool.AMI_TYPES.values(), "AL2023_x86_64_STANDARD"} <= words("AMITypes")
    assert {"ON_DEMAND", "SPOT", "CAPACITY_BLOCK"} <= words("CapacityTypes")
    assert {*nodes.EFFECTS.values()} == words("TaintEffect")
    assert {*eks_cluster.LOG_TYPES} == words("LogType")
    assert {"DEFAULT", "MINIMAL"} == words("NodegroupUpdateStrategies")
    cluster = make("EksCluster").one("eks/cluster:Cluster")
    assert cluster["accessConfig"]["authenticationMode"] in words("AuthenticationMode")
    assert cluster["upgradePolicy"]["supportType"] in words("SupportType")


def test_sagemaker() -> None:
    known = shapes("sagemaker")
    instances = {*known["ProductionVariantInstanceType"]["enum"]}
    hosted = {name for name in machines("aws") if f"ml.{name}" in instances}
    assert {name for name in machines("aws") if name.split(".")[0] in sagemaker_settings.FAMILIES} == hosted
    metrics = {*shapes("application-autoscaling")["MetricType"]["enum"]}
    assert {one[0] for one in sagemaker_endpoint._METRICS.values()} <= metrics
    assert "LEAST_OUTSTANDING_REQUESTS" in known["RoutingStrategy"]["enum"]


def test_days_that_logs_are_kept() -> None:
    text = shapes("logs")["PutRetentionPolicyRequest"]["members"]["retentionInDays"]
    shape = shapes("logs")[text["shape"]]["documentation"]
    assert {*map(int, re.findall(r"\d+", shape))} >= {*LOG_RETENTION_DAYS}


def test_managed_policies_exist(make: Callable[..., Any]) -> None:
    known = (files("moto") / "iam" / "aws_managed_policies.py").read_text("utf-8")
    used = {
        one.inputs["policyArn"].split(":policy/", 1)[1]
        for scaling in ("cluster-autoscaler", "auto-mode")
        for one in make("EksCluster", {"scaling": scaling}).of("RolePolicyAttachment")
    }
    assert len(used) == 10
    for path in used:
        folder, _, name = f"/{path}".rpartition("/")
        (found,) = re.findall(rf'\n "{name}":\{{.*?\n \}}', known, re.DOTALL)
        assert f'"Path":"{folder}/"' in found, path
