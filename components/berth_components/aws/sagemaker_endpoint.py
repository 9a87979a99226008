"""A model behind a SageMaker real-time endpoint: a sibling of `ModelServer` without a cluster.

SageMaker runs one container per instance, which answers /ping and /invocations on port 8080, and
authenticates clients itself (IAM). So the image holds gateway and engine together.
"""

from collections.abc import Callable, Mapping, Sequence

import pulumi
from pulumi_aws import appautoscaling, cloudwatch, iam, sagemaker

from berth_components.arguments import Arguments, combine
from berth_components.aws.sagemaker_args import SageMakerEndpointArgs
from berth_components.aws.sagemaker_settings import EndpointSettings, Scaling, read
from berth_components.aws.shared import Json, Place, check_name, role, trust

VARIANT = "model"
_FIVE_MINUTES = 300
_CONFIGURATION_NAME = 63
"""Longest name of an endpoint configuration (EndpointConfigName in SageMaker's API, botocore 1.44.5)."""
_MICROSECONDS = 1_000_000
_METRICS = {
    "concurrent-requests": (
        "SageMakerVariantConcurrentRequestsPerModelHighResolution",
        "ConcurrentRequestsPerModel",
    ),
    "invocations-per-instance": ("SageMakerVariantInvocationsPerInstance", "InvocationsPerInstance"),
}
"""Application Auto Scaling's name (MetricType in its API, botocore 1.44.5) and CloudWatch's of each metric
(endpoint-auto-scaling-add-code-define in SageMaker's developer guide)."""
_SATURATED = 1.5
"""How far over its target the metric must stay before scaling counts as having failed."""


class SageMakerEndpoint(pulumi.ComponentResource):
    """An endpoint with its model, autoscaling, alarms, logs, and a role that may do nothing more."""

    endpoint_name: pulumi.Output[str]
    """What clients invoke; known once it answers."""
    endpoint_arn: pulumi.Output[str]
    """Its ARN, for the clients' sagemaker:InvokeEndpoint."""
    role_arn: pulumi.Output[str]
    """The container's role."""
    instance_type: str
    """SageMaker's type of its instances."""

    def __init__(
        self, name: str, args: SageMakerEndpointArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        who = f"SageMakerEndpoint '{name}'"
        settings = read(Arguments(who, args, SageMakerEndpointArgs), name)
        check_name(who, name, "-configuration", _CONFIGURATION_NAME)
        super().__init__("berth:aws:SageMakerEndpoint", name, {}, opts)
        self._name = name
        self._place = Place(self, who)
        self.instance_type = settings.instance_type
        logs = cloudwatch.LogGroup(
            f"{name}-logs",
            name=f"/aws/sagemaker/Endpoints/{settings.name}",
            retention_in_days=settings.log_retention_days,
            tags=settings.tags,
            opts=self._child(),
        )
        made, ready = self._role(settings)
        model = self._model(settings, made, ready)
        configuration = self._configuration(settings, model)
        errors, latency = self._update_alarms(settings)
        endpoint = self._endpoint(settings, configuration, [errors, latency], logs)
        self._scaling(settings, endpoint)
        self._saturation_alarm(settings)
        self.endpoint_name = pulumi.Output.all(settings.name, endpoint.arn).apply(_first)
        self.endpoint_arn = endpoint.arn
        self.role_arn = made.arn
        self.register_outputs(
            {
                "endpointName": self.endpoint_name,
                "endpointArn": self.endpoint_arn,
                "roleArn": self.role_arn,
            }
        )

    def _child(self, *depends_on: pulumi.Resource) -> pulumi.ResourceOptions:
        return pulumi.ResourceOptions(parent=self, depends_on=[*depends_on])

    def _role(self, settings: EndpointSettings) -> tuple[iam.Role, list[pulumi.Resource]]:
        made, ready = role(
            f"{self._name}-role",
            f"Container of the SageMaker endpoint {settings.name}",
            trust("sagemaker.amazonaws.com"),
            {},
            settings.tags,
            self._child(),
        )
        weights = settings.weights
        known = pulumi.Output.all(
            settings.image,
            self._place.partition,
            self._place.region,
            weights.bucket if weights else "",
            weights.prefix if weights else "",
            (weights.key_arn or "") if weights else "",
        )
        policy = iam.RolePolicy(
            f"{self._name}-policy",
            role=made.name,
            policy=pulumi.Output.json_dumps(
                {
                    "Version": "2012-10-17",
                    "Statement": known.apply(_permissions(settings.name, vpc=settings.network is not None)),
                }
            ),
            opts=self._child(),
        )
        return made, [*ready, policy]

    def _model(
        self, settings: EndpointSettings, made: iam.Role, ready: Sequence[pulumi.Resource]
    ) -> sagemaker.Model:
        weights, network = settings.weights, settings.network
        source: sagemaker.ModelPrimaryContainerModelDataSourceArgs | None = None
        if weights:
            source = sagemaker.ModelPrimaryContainerModelDataSourceArgs(
                s3_data_sources=[
                    sagemaker.ModelPrimaryContainerModelDataSourceS3DataSourceArgs(
                        # Unpacked files, which the engine maps as they are.
                        compression_type="None",
                        s3_data_type="S3Prefix",
                        s3_uri=pulumi.Output.concat("s3://", weights.bucket, "/", weights.prefix),
                    )
                ]
            )
        return sagemaker.Model(
            f"{self._name}-model",
            execution_role_arn=made.arn,
            enable_network_isolation=settings.isolation,
            primary_container=sagemaker.ModelPrimaryContainerArgs(
                image=settings.image, environment=settings.environment, model_data_source=source
            ),
            vpc_config=(
                sagemaker.ModelVpcConfigArgs(
                    subnets=network.subnet_ids, security_group_ids=network.security_group_ids
                )
                if network
                else None
            ),
            tags=settings.tags,
            opts=self._child(*ready),
        )

    def _configuration(
        self, settings: EndpointSettings, model: sagemaker.Model
    ) -> sagemaker.EndpointConfiguration:
        # Named by Pulumi: an endpoint is updated by giving it another one. No data capture: prompts are
        # nobody's but the client's.
        return sagemaker.EndpointConfiguration(
            f"{self._name}-configuration",
            production_variants=[
                sagemaker.EndpointConfigurationProductionVariantArgs(
                    variant_name=VARIANT,
                    model_name=model.name,
                    instance_type=settings.instance_type,
                    initial_instance_count=settings.scaling.least,
                    container_startup_health_check_timeout_in_seconds=settings.startup,
                    model_data_download_timeout_in_seconds=settings.startup if settings.weights else None,
                    inference_ami_version=settings.inference_ami,
                    volume_size_in_gb=settings.volume_size,
                    routing_configs=[
                        # Requests take seconds to minutes: the least busy instance, not any.
                        sagemaker.EndpointConfigurationProductionVariantRoutingConfigArgs(
                            routing_strategy="LEAST_OUTSTANDING_REQUESTS"
                        )
                    ],
                )
            ],
            kms_key_arn=settings.volume_key_arn,
            tags=settings.tags,
            opts=self._child(),
        )

    def _endpoint(
        self,
        settings: EndpointSettings,
        configuration: sagemaker.EndpointConfiguration,
        alarms: Sequence[cloudwatch.MetricAlarm],
        logs: cloudwatch.LogGroup,
    ) -> sagemaker.Endpoint:
        whole = sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyArgs(
            traffic_routing_configuration=(
                sagemaker.EndpointDeploymentConfigBlueGreenUpdatePolicyTrafficRoutingConfigurationArgs(
                    type="ALL_AT_ONCE", wait_interval_in_seconds=_FIVE_MINUTES
                )
            ),
            # Requests that the old fleet has begun are finished.
            termination_wait_in_seconds=_FIVE_MINUTES,
        )
        by_half = sagemaker.EndpointDeploymentConfigRollingUpdatePolicyArgs(
            maximum_batch_size=sagemaker.EndpointDeploymentConfigRollingUpdatePolicyMaximumBatchSizeArgs(
                type="CAPACITY_PERCENT", value=50
            ),
            wait_interval_in_seconds=_FIVE_MINUTES,
        )
        return sagemaker.Endpoint(
            f"{self._name}-endpoint",
            name=settings.name,
            endpoint_config_name=configuration.name,
            deployment_config=sagemaker.EndpointDeploymentConfigArgs(
                blue_green_update_policy=None if settings.rolling else whole,
                rolling_update_policy=by_half if settings.rolling else None,
                auto_rollback_configuration=sagemaker.EndpointDeploymentConfigAutoRollbackConfigurationArgs(
                    alarms=[
                        sagemaker.EndpointDeploymentConfigAutoRollbackConfigurationAlarmArgs(
                            alarm_name=alarm.name
                        )
                        for alarm in alarms
                    ]
                ),
            ),
            tags=settings.tags,
            opts=self._child(logs),
        )

    def _scaling(self, settings: EndpointSettings, endpoint: sagemaker.Endpoint) -> None:
        scaling = settings.scaling
        target = appautoscaling.Target(
            f"{self._name}-scaling",
            service_namespace="sagemaker",
            scalable_dimension="sagemaker:variant:DesiredInstanceCount",
            resource_id=endpoint.name.apply(_resource_id),
            min_capacity=scaling.least,
            max_capacity=scaling.most,
            tags=settings.tags,
            opts=self._child(endpoint),
        )
        appautoscaling.Policy(
            f"{self._name}-scaling",
            policy_type="TargetTrackingScaling",
            service_namespace=target.service_namespace,
            scalable_dimension=target.scalable_dimension,
            resource_id=target.resource_id,
            target_tracking_scaling_policy_configuration=(
                appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationArgs(
                    target_value=scaling.target,
                    scale_in_cooldown=scaling.in_cooldown,
                    scale_out_cooldown=scaling.out_cooldown,
                    predefined_metric_specification=(
                        appautoscaling.PolicyTargetTrackingScalingPolicyConfigurationPredefinedMetricSpecificationArgs(
                            predefined_metric_type=_METRICS[scaling.metric][0]
                        )
                    ),
                )
            ),
            opts=self._child(),
        )

    def _update_alarms(
        self, settings: EndpointSettings
    ) -> tuple[cloudwatch.MetricAlarm, cloudwatch.MetricAlarm]:
        """Those that roll an update back: they exist before the endpoint."""

        def microseconds(seconds: float) -> float:
            return seconds * _MICROSECONDS

        dimensions = {"EndpointName": settings.name, "VariantName": VARIANT}
        actions = [*settings.alarms.actions]
        errors = cloudwatch.MetricAlarm(
            f"{self._name}-errors",
            alarm_description=f"{settings.name} answers 5xx",
            namespace="AWS/SageMaker",
            metric_name="Invocation5XXErrors",
            dimensions=dimensions,
            statistic="Sum",
            period=_FIVE_MINUTES,
            evaluation_periods=1,
            comparison_operator="GreaterThanOrEqualToThreshold",
            threshold=settings.alarms.errors,
            treat_missing_data="notBreaching",
            alarm_actions=actions,
            ok_actions=actions,
            tags=settings.tags,
            opts=self._child(),
        )
        latency = cloudwatch.MetricAlarm(
            f"{self._name}-latency",
            alarm_description=f"{settings.name} answers slowly",
            namespace="AWS/SageMaker",
            # In microseconds.
            metric_name="ModelLatency",
            dimensions=dimensions,
            extended_statistic="p95",
            period=_FIVE_MINUTES,
            evaluation_periods=1,
            comparison_operator="GreaterThanThreshold",
            threshold=combine(microseconds, settings.alarms.latency_seconds),
            treat_missing_data="notBreaching",
            alarm_actions=actions,
            ok_actions=actions,
            tags=settings.tags,
            opts=self._child(),
        )
        return errors, latency

    def _saturation_alarm(self, settings: EndpointSettings) -> None:
        """Load stays far over the target: the maximum is reached, or AWS has no machine to give."""
        scaling: Scaling = settings.scaling

        def over(target: float) -> float:
            return target * _SATURATED

        actions = [*settings.alarms.actions]
        sums = scaling.metric == "invocations-per-instance"
        cloudwatch.MetricAlarm(
            f"{self._name}-no-capacity",
            alarm_description=f"{settings.name} has more load than instances: its maximum, or none to be had",
            namespace="AWS/SageMaker",
            metric_name=_METRICS[scaling.metric][1],
            dimensions={"EndpointName": settings.name, "VariantName": VARIANT},
            statistic="Sum" if sums else "Average",
            period=60,
            evaluation_periods=15,
            datapoints_to_alarm=15,
            comparison_operator="GreaterThanThreshold",
            threshold=combine(over, scaling.target),
            treat_missing_data="notBreaching",
            alarm_actions=actions,
            ok_actions=actions,
            tags=settings.tags,
            opts=self._child(),
        )


def _resource_id(endpoint: str) -> str:
    return f"endpoint/{endpoint}/variant/{VARIANT}"


def _first(known: Sequence[str]) -> str:
    return known[0]


def _permissions(endpoint: str, *, vpc: bool) -> Callable[[Sequence[str]], list[Json]]:
    """Statements of the container's role: its image, its logs, its weights, its interfaces."""

    def statements(known: Sequence[str]) -> list[Json]:
        image, partition, region, bucket, prefix, key = known
        account = image.split(".", 1)[0]
        image_region = image.split(".")[3]
        repository = image.split("@", 1)[0].split("/", 1)[1].rsplit(":", 1)[0]
        group = f"arn:{partition}:logs:{region}:*:log-group:/aws/sagemaker/Endpoints/{endpoint}"
        found: list[Json] = [
            # These cannot be limited to a resource (AWS's service authorization reference).
            _allow("Registry", ["ecr:GetAuthorizationToken"], "*"),
            _allow(
                "Image",
                ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
                f"arn:{partition}:ecr:{image_region}:{account}:repository/{repository}",
            ),
            _allow(
                "Logs",
                ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"],
                [group, f"{group}:log-stream:*"],
            ),
            {
                **_allow("Metrics", ["cloudwatch:PutMetricData"], "*"),
                "Condition": {"StringEquals": {"cloudwatch:namespace": "/aws/sagemaker/Endpoints"}},
            },
        ]
        if bucket:
            store = f"arn:{partition}:s3:::{bucket}"
            found += [
                _allow("Weights", ["s3:GetObject"], f"{store}/{prefix}*"),
                {
                    **_allow("ListWeights", ["s3:ListBucket"], store),
                    "Condition": {"StringLike": {"s3:prefix": f"{prefix}*"}},
                },
            ]
        if key:
            found.append(_allow("WeightsKey", ["kms:Decrypt"], key))
        if vpc:
            found += [
                _allow("Interfaces", [*_INTERFACES], "*"),
                _allow("LookAtNetwork", [*_NETWORK_READS], "*"),
            ]
        return found

    return statements


_INTERFACES = (
    "ec2:CreateNetworkInterface",
    "ec2:CreateNetworkInterfacePermission",
    "ec2:DeleteNetworkInterface",
    "ec2:DeleteNetworkInterfacePermission",
)
_NETWORK_READS = (
    "ec2:DescribeDhcpOptions",
    "ec2:DescribeNetworkInterfaces",
    "ec2:DescribeSecurityGroups",
    "ec2:DescribeSubnets",
    "ec2:DescribeVpcs",
)


def _allow(sid: str, actions: Sequence[str], resource: str | Sequence[str]) -> Mapping[str, object]:
    return {"Sid": sid, "Effect": "Allow", "Action": [*actions], "Resource": resource}
