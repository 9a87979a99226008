"""An ordinary program for AWS: a network, a cluster with a pool, roles, a key, an endpoint."""

import json

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

config = pulumi.Config()
password = config.require_secret("password")
here = aws.Provider("here", region="eu-west-1", default_tags={"tags": {"team": "serving"}})
on = pulumi.ResourceOptions(provider=here)

zones = aws.get_availability_zones_output(state="available", opts=pulumi.InvokeOutputOptions(provider=here))
vpc = aws.ec2.Vpc("net", cidr_block="10.0.0.0/16", enable_dns_hostnames=True, opts=on)
subnets = [
    aws.ec2.Subnet(
        f"net-{index}",
        vpc_id=vpc.id,
        cidr_block=f"10.0.{index}.0/24",
        availability_zone=zones.names[index],
        opts=on,
    )
    for index in range(2)
]
key = aws.kms.Key(
    "secrets", enable_key_rotation=True, opts=pulumi.ResourceOptions(provider=here, protect=True)
)
trust = aws.iam.get_policy_document_output(
    statements=[
        {
            "actions": ["sts:AssumeRole"],
            "principals": [{"type": "Service", "identifiers": ["eks.amazonaws.com"]}],
        }
    ]
)
role = aws.iam.Role("control", assume_role_policy=trust.json, opts=on)
attached = aws.iam.RolePolicyAttachment(
    "control-eks", role=role.name, policy_arn="arn:aws:iam::aws:policy/AmazonEKSClusterPolicy", opts=on
)
cluster = aws.eks.Cluster(
    "main",
    name="main",
    role_arn=role.arn,
    vpc_config={"subnet_ids": [subnet.id for subnet in subnets], "endpoint_private_access": True},
    encryption_config={"provider": {"key_arn": key.arn}, "resources": ["secrets"]},
    enabled_cluster_log_types=["api", "audit"],
    opts=pulumi.ResourceOptions(
        provider=here,
        depends_on=[attached],
        ignore_changes=["tags"],
        replace_on_changes=["roleArn"],
        aliases=[pulumi.Alias(name="old-main")],
    ),
)
template = aws.ec2.LaunchTemplate(
    "gpu", metadata_options={"http_tokens": "required", "http_put_response_hop_limit": 1}, opts=on
)
pool = aws.eks.NodeGroup(
    "gpu",
    cluster_name=cluster.name,
    node_role_arn=role.arn,
    subnet_ids=[subnet.id for subnet in subnets],
    scaling_config={"min_size": 0, "max_size": 4, "desired_size": 0},
    launch_template={"id": template.id, "version": template.latest_version.apply(str)},
    opts=on,
)
aws.autoscaling.Tag(
    "scale-from-zero",
    autoscaling_group_name=pool.resources[0].autoscaling_groups[0].name,
    tag={"key": "k8s.io/cluster-autoscaler/enabled", "value": "true", "propagate_at_launch": False},
    opts=on,
)
database = aws.rds.Instance(
    "db",
    instance_class="db.t4g.micro",
    allocated_storage=20,
    engine="postgres",
    username="berth",
    password=password,
    skip_final_snapshot=True,
    opts=on,
)
robot = aws.iam.AccessKey("robot", user="robot", opts=on)
model = aws.sagemaker.Model(
    "model", execution_role_arn=role.arn, primary_container={"image": "registry.example/engine:1"}, opts=on
)
endpoint = aws.sagemaker.EndpointConfiguration(
    "endpoint",
    production_variants=[
        {
            "model_name": model.name,
            "variant_name": "all",
            "instance_type": "ml.g5.xlarge",
            "initial_instance_count": 1,
        }
    ],
    opts=on,
)
aws.sagemaker.Endpoint("endpoint", endpoint_config_name=endpoint.name, opts=on)
existing = aws.eks.Cluster.get("other", "other-cluster", opts=on)
other_document = aws.iam.get_policy_document(statements=[{"actions": ["s3:GetObject"], "resources": ["*"]}])
bucket = aws.s3.Bucket("weights", opts=on)
aws.iam.RolePolicy(
    "read",
    role=role.id,
    policy=bucket.arn.apply(lambda arn: json.dumps({"Statement": [{"Resource": f"{arn}/*"}]})),
    opts=on,
)

kubeconfig = pulumi.Output.json_dumps(
    {
        "clusters": [
            {
                "name": "c",
                "cluster": {
                    "server": cluster.endpoint,
                    "certificate-authority-data": cluster.certificate_authority.data,
                },
            }
        ]
    }
)
inside = k8s.Provider("main", kubeconfig=kubeconfig)
space = k8s.core.v1.Namespace(
    "serving",
    metadata={"name": "serving"},
    opts=pulumi.ResourceOptions(provider=inside, deleted_with=cluster),
)
service = k8s.core.v1.Service(
    "web",
    metadata={"name": "web", "namespace": "serving"},
    spec={"ports": [{"port": 80}], "type": "LoadBalancer"},
    opts=pulumi.ResourceOptions(provider=inside, depends_on=[space]),
)

pulumi.export("robot key", robot.secret)
pulumi.export("robot id", pulumi.Output.concat("id ", robot.id))
pulumi.export("database", pulumi.Output.concat("postgres://berth:", database.password, "@", database.address))
pulumi.export("vpc", vpc.id)
pulumi.export("cidr", vpc.cidr_block)
pulumi.export("name", pulumi.Output.concat("cluster ", cluster.name))
pulumi.export("ca", pulumi.Output.concat("ca: ", cluster.certificate_authority.data))
pulumi.export("issuer", pulumi.Output.concat(cluster.identities[0].oidcs[0].issuer, "/x"))
pulumi.export("sg", pulumi.Output.concat("sg ", cluster.vpc_config.cluster_security_group_id))
pulumi.export("private", cluster.vpc_config.endpoint_private_access)
pulumi.export("group", pulumi.Output.concat("g:", pool.resources[0].autoscaling_groups[0].name))
pulumi.export("limit", template.metadata_options.http_put_response_hop_limit)
pulumi.export("endpoint state", pulumi.Output.concat("e:", template.metadata_options.http_endpoint))
pulumi.export("max", pool.scaling_config.max_size)
pulumi.export("zone", zones.names[0])
pulumi.export("first zone", subnets[0].availability_zone)
pulumi.export("existing", pulumi.Output.concat(existing.id, " at ", existing.endpoint))
pulumi.export("existing id", existing.id)
pulumi.export("document", other_document.json)
pulumi.export("hostname", pulumi.Output.concat("http://", service.status.load_balancer.ingress[0].hostname))
