"""What a SageMaker endpoint is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
NAME = "SageMakerEndpoint"


def variant(planned: Any) -> Json:
    (found,) = planned.one("EndpointConfiguration")["productionVariants"]
    return dict(found)


def test_model_variant_and_endpoint(make: Callable[..., Any]) -> None:
    planned = make(NAME, {"environment": {"BERTH_MODEL": "qwen"}})
    model = planned.one("sagemaker/model:Model")
    assert model["primaryContainer"] == {
        "image": "111122223333.dkr.ecr.eu-central-1.amazonaws.com/berth/sagemaker-vllm:1.0",
        "environment": {"BERTH_MODEL": "qwen"},
    }
    assert model["enableNetworkIsolation"] is True
    found = variant(planned)
    assert found["instanceType"] == "ml.g5.xlarge"
    assert found["initialInstanceCount"] == 2
    assert found["containerStartupHealthCheckTimeoutInSeconds"] == 1200
    assert found["routingConfigs"] == [{"routingStrategy": "LEAST_OUTSTANDING_REQUESTS"}]
    configuration = planned.one("EndpointConfiguration")
    # Prompts are not kept. And its name is Pulumi's, so that a new one can stand beside the old one.
    assert {"dataCaptureConfig", "name", "kmsKeyArn"} & configuration.keys() == set()
    assert planned.one("sagemaker/endpoint:Endpoint")["name"] == "berth"
    assert planned.one("LogGroup")["name"] == "/aws/sagemaker/Endpoints/berth"


def test_the_role_may_do_nothing_more(make: Callable[..., Any]) -> None:
    key = "arn:aws:kms:eu-central-1:111122223333:key/0123"
    weights = {"bucket": "weights", "prefix": "models/qwen/", "key_arn": key}
    planned = make(NAME, {"weights": weights})
    statements = {one["Sid"]: one for one in planned.statements("berth-policy")}
    assert {sid for sid, one in statements.items() if one["Resource"] == "*"} == {"Registry", "Metrics"}
    assert statements["Registry"]["Action"] == ["ecr:GetAuthorizationToken"]
    assert statements["Metrics"]["Condition"]["StringEquals"] == {
        "cloudwatch:namespace": "/aws/sagemaker/Endpoints"
    }
    repository = "arn:aws:ecr:eu-central-1:111122223333:repository/berth/sagemaker-vllm"
    assert statements["Image"]["Resource"] == repository
    assert statements["Weights"]["Resource"] == "arn:aws:s3:::weights/models/qwen/*"
    assert statements["ListWeights"]["Condition"] == {"StringLike": {"s3:prefix": "models/qwen/*"}}
    assert statements["WeightsKey"]["Resource"] == key
    assert all(one.startswith("arn:aws:logs:") for one in statements["Logs"]["Resource"])
    assert not any("*" in action for one in statements.values() for action in one["Action"])
    (source,) = planned.one("sagemaker/model:Model")["primaryContainer"]["modelDataSource"]["s3DataSources"]
    assert source == {
        "compressionType": "None",
        "s3DataType": "S3Prefix",
        "s3Uri": "s3://weights/models/qwen/",
    }


def test_an_image_by_digest_is_the_same_repository(make: Callable[..., Any]) -> None:
    image = f"111122223333.dkr.ecr.eu-west-1.amazonaws.com/berth/all@sha256:{'a' * 64}"
    statements = {one["Sid"]: one for one in make(NAME, {"image": image}).statements("berth-policy")}
    assert statements["Image"]["Resource"] == "arn:aws:ecr:eu-west-1:111122223333:repository/berth/all"


@pytest.mark.parametrize(
    ("metric", "scaling", "watched", "statistic"),
    [
        (
            "concurrent-requests",
            "SageMakerVariantConcurrentRequestsPerModelHighResolution",
            "ConcurrentRequestsPerModel",
            "Average",
        ),
        (
            "invocations-per-instance",
            "SageMakerVariantInvocationsPerInstance",
            "InvocationsPerInstance",
            "Sum",
        ),
    ],
)
def test_autoscaling(
    make: Callable[..., Any], metric: str, scaling: str, watched: str, statistic: str
) -> None:
    planned = make(NAME, {"scaling.metric": metric})
    target = planned.one("appautoscaling/target:Target")
    assert target["resourceId"] == "endpoint/berth/variant/model"
    assert (target["minCapacity"], target["maxCapacity"]) == (2, 6)
    policy = planned.one("appautoscaling/policy:Policy")
    assert policy["policyType"] == "TargetTrackingScaling"
    assert policy["resourceId"] == target["resourceId"]
    assert policy["targetTrackingScalingPolicyConfiguration"] == {
        "predefinedMetricSpecification": {"predefinedMetricType": scaling},
        "targetValue": 4,
        "scaleInCooldown": 300,
        "scaleOutCooldown": 60,
    }
    alarm = planned.one("MetricAlarm", "-no-capacity")
    assert alarm["metricName"] == watched
    assert alarm["statistic"] == statistic
    assert alarm["threshold"] == 6


def test_alarms_ring_and_roll_an_update_back(make: Callable[..., Any]) -> None:
    planned = make(NAME, {"alarms.latency_seconds": 2.5, "alarms.errors_5xx": 3})
    alarms = {one.name: one.inputs for one in planned.of("MetricAlarm")}
    assert alarms["berth-errors"]["metricName"] == "Invocation5XXErrors"
    assert alarms["berth-errors"]["threshold"] == 3
    # SageMaker measures in microseconds.
    assert alarms["berth-latency"]["threshold"] == 2_500_000
    assert alarms["berth-latency"]["extendedStatistic"] == "p95"
    topic = ["arn:aws:sns:eu-central-1:111122223333:oncall"]
    for one in alarms.values():
        assert one["alarmActions"] == one["okActions"] == topic
        assert one["dimensions"] == {"EndpointName": "berth", "VariantName": "model"}
        assert one["treatMissingData"] == "notBreaching"
    deployment = planned.one("sagemaker/endpoint:Endpoint")["deploymentConfig"]
    assert [one["alarmName"] for one in deployment["autoRollbackConfiguration"]["alarms"]] == [
        "berth-errors",
        "berth-latency",
    ]
    assert deployment["blueGreenUpdatePolicy"]["trafficRoutingConfiguration"]["type"] == "ALL_AT_ONCE"
    rolling = make(NAME, {"update": "rolling"}).one("sagemaker/endpoint:Endpoint")["deploymentConfig"]
    assert rolling["rollingUpdatePolicy"]["maximumBatchSize"] == {"type": "CAPACITY_PERCENT", "value": 50}
    assert "blueGreenUpdatePolicy" not in rolling


def test_a_vpc_of_ones_own(make: Callable[..., Any]) -> None:
    vpc = {"subnet_ids": ["subnet-0123456789abcdef0"], "security_group_ids": ["sg-0123456789abcdef0"]}
    planned = make(NAME, {"vpc": vpc})
    assert planned.one("sagemaker/model:Model")["vpcConfig"] == {
        "subnets": vpc["subnet_ids"],
        "securityGroupIds": vpc["security_group_ids"],
    }
    assert {"Interfaces", "LookAtNetwork"} <= {one["Sid"] for one in planned.statements("berth-policy")}


def test_inferentia_has_a_volume_to_size_and_encrypt(make: Callable[..., Any]) -> None:
    key = "arn:aws:kms:eu-central-1:111122223333:key/0123"
    changes = {"accelerator": "aws-inferentia2", "volume_size_gib": 200, "volume_key_arn": key}
    planned = make(NAME, changes)
    assert variant(planned)["instanceType"].startswith("ml.inf2.")
    assert variant(planned)["volumeSizeInGb"] == 200
    assert planned.one("EndpointConfiguration")["kmsKeyArn"] == key
