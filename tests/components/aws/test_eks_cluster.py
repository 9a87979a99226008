"""What an EKS cluster is made of."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pulumi
from berth_components.aws import EksCluster

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
VPC: Json = {
    "vpc": {"cidr": "10.20.0.0/16", "zones": ["eu-central-1a", "eu-central-1b"]},
    "subnet_ids": None,
}
ADMIN = "arn:aws:iam::111122223333:role/platform"


def test_secrets_logs_endpoint_and_access(make: Callable[..., Any]) -> None:
    planned = make("EksCluster")
    cluster = planned.one("eks/cluster:Cluster")
    assert cluster["enabledClusterLogTypes"] == [
        "api",
        "audit",
        "authenticator",
        "controllerManager",
        "scheduler",
    ]
    assert cluster["encryptionConfig"] == {
        "provider": {"keyArn": "arn:aws:kms:eu-central-1:111122223333:key/berth-secrets-key"},
        "resources": ["secrets"],
    }
    assert planned.one("kms/key:Key")["enableKeyRotation"] is True
    assert cluster["vpcConfig"]["endpointPrivateAccess"] is True
    assert cluster["vpcConfig"]["endpointPublicAccess"] is False
    assert "publicAccessCidrs" not in cluster["vpcConfig"]
    assert cluster["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": False,
    }
    assert cluster["deletionProtection"] is True
    assert cluster["bootstrapSelfManagedAddons"] is False
    assert planned.one("cloudwatch/logGroup:LogGroup") == {
        "name": "/aws/eks/berth/cluster",
        "retentionInDays": 90,
        "tags": {},
    }
    association = planned.one("AccessPolicyAssociation")
    assert association["principalArn"] == ADMIN
    assert association["policyArn"] == "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
    assert association["accessScope"] == {"type": "cluster"}


def test_a_public_endpoint_is_for_the_named_ranges(make: Callable[..., Any]) -> None:
    network = make("EksCluster", {"public_cidrs": ["203.0.113.0/24"]}).one("eks/cluster:Cluster")["vpcConfig"]
    assert network["endpointPublicAccess"] is True
    assert network["endpointPrivateAccess"] is True
    assert network["publicAccessCidrs"] == ["203.0.113.0/24"]


def test_network_policies_are_enforced(make: Callable[..., Any]) -> None:
    addon = make("EksCluster").one("eks/addon:Addon", "vpc-cni")
    assert json.loads(addon["configurationValues"]) == {"enableNetworkPolicy": "true"}
    objects = make("EksCluster", {"scaling": "auto-mode"}).one("core/v1:ConfigMap")
    assert objects["metadata"]["name"] == "amazon-vpc-cni"
    assert objects["metadata"]["namespace"] == "kube-system"
    assert objects["data"] == {"enable-network-policy-controller": "true"}


def test_a_vpc_over_zones(make: Callable[..., Any]) -> None:
    zones = ["eu-central-1a", "eu-central-1b", "eu-central-1c"]
    planned = make("EksCluster", {**VPC, "vpc": {"cidr": "10.20.0.0/16", "zones": zones, "nat": "per-zone"}})
    subnets = {one.name: one.inputs for one in planned.of("ec2/subnet:Subnet")}
    assert [subnets[f"berth-private-{zone}"]["cidrBlock"] for zone in zones] == [
        "10.20.0.0/18",
        "10.20.64.0/18",
        "10.20.128.0/18",
    ]
    assert [subnets[f"berth-public-{zone}"]["cidrBlock"] for zone in zones] == [
        "10.20.192.0/20",
        "10.20.208.0/20",
        "10.20.224.0/20",
    ]
    for zone in zones:
        assert subnets[f"berth-private-{zone}"]["tags"]["kubernetes.io/role/internal-elb"] == "1"
        assert subnets[f"berth-public-{zone}"]["tags"]["kubernetes.io/role/elb"] == "1"
        out = planned.one("ec2/route:Route", f"private-{zone}-out")
        assert out["natGatewayId"] == f"berth-nat-{zone}-id"
    assert not any(one["mapPublicIpOnLaunch"] for one in subnets.values())
    nodes = planned.one("eks/nodeGroup:NodeGroup")
    associated = {
        one.inputs["subnetId"] for one in planned.of("RouteTableAssociation") if "-private-" in one.name
    }
    assert {*nodes["subnetIds"]} == associated
    assert len(nodes["subnetIds"]) == 3
    assert len(make("EksCluster", VPC).of("NatGateway")) == 1


def test_services_reached_without_nat(make: Callable[..., Any]) -> None:
    planned = make("EksCluster", {**VPC, "vpc.endpoints": ["s3", "ecr.api", "ecr.dkr"]})
    gateway = planned.one("VpcEndpoint", "-s3")
    assert gateway["vpcEndpointType"] == "Gateway"
    assert gateway["serviceName"] == "com.amazonaws.eu-central-1.s3"
    assert len(gateway["routeTableIds"]) == 2
    interface = planned.one("VpcEndpoint", "-ecr-api")
    assert interface["privateDnsEnabled"] is True
    assert interface["securityGroupIds"] == ["berth-endpoints-id"]
    assert planned.one(":SecurityGroup")["ingress"][0]["cidrBlocks"] == ["10.20.0.0/16"]
    assert not make("EksCluster", {**VPC, "vpc.endpoints": []}).of("VpcEndpoint")


def test_nothing_gets_through_the_default_security_group(make: Callable[..., Any]) -> None:
    closed = make("EksCluster", VPC).one("DefaultSecurityGroup")
    assert closed["vpcId"] == "berth-vpc-id"
    # Without rules of its own the provider takes those away that AWS made.
    assert "ingress" not in closed
    assert "egress" not in closed


def test_what_a_cluster_needs_to_run_is_there(make: Callable[..., Any]) -> None:
    versions = {"coredns": "v1.12.3-eksbuild.1"}
    planned = make("EksCluster", {"addon_versions": versions})
    addons = {
        one.inputs["addonName"]: one.inputs.get("addonVersion") for one in planned.of("eks/addon:Addon")
    }
    assert addons == {
        "vpc-cni": None,
        "kube-proxy": None,
        "coredns": "v1.12.3-eksbuild.1",
        "eks-pod-identity-agent": None,
        "aws-ebs-csi-driver": None,
        "eks-node-monitoring-agent": None,
        "metrics-server": None,
    }
    nodes = planned.one("eks/nodeGroup:NodeGroup")
    assert nodes["scalingConfig"] == {"minSize": 2, "desiredSize": 2, "maxSize": 6}
    assert nodes["amiType"] == "AL2023_x86_64_STANDARD"
    template = planned.one("LaunchTemplate")
    assert template["metadataOptions"]["httpTokens"] == "required"
    assert template["metadataOptions"]["httpPutResponseHopLimit"] == 1
    assert template["blockDeviceMappings"][0]["ebs"]["encrypted"] == "true"
    storage = planned.one("storage.k8s.io/v1:StorageClass")
    assert storage["parameters"] == {"type": "gp3", "encrypted": "true"}
    assert storage["volumeBindingMode"] == "WaitForFirstConsumer"


def test_broken_accelerators_are_seen_on_tainted_nodes(make: Callable[..., Any]) -> None:
    addon = make("EksCluster").one("eks/addon:Addon", "eks-node-monitoring-agent")
    # Without tolerations what reads GPUs starts on no node of a pool, and nodeRepair repairs no GPU.
    assert json.loads(addon["configurationValues"]) == {
        "dcgmAgent": {"tolerations": [{"operator": "Exists"}]}
    }


def test_auto_mode(make: Callable[..., Any]) -> None:
    planned = make("EksCluster", {"scaling": "auto-mode"})
    cluster = planned.one("eks/cluster:Cluster")
    assert cluster["computeConfig"] == {
        "enabled": True,
        "nodePools": ["general-purpose", "system"],
        "nodeRoleArn": "arn:aws:iam::111122223333:role/berth-node-role",
    }
    assert cluster["storageConfig"] == {"blockStorage": {"enabled": True}}
    assert cluster["kubernetesNetworkConfig"] == {"elasticLoadBalancing": {"enabled": True}}
    assert [one.inputs["addonName"] for one in planned.of("eks/addon:Addon")] == ["metrics-server"]
    assert not planned.of("NodeGroup")
    attached = {one.inputs["policyArn"].rsplit("/", 1)[1] for one in planned.of("RolePolicyAttachment")}
    assert attached == {
        "AmazonEKSClusterPolicy",
        "AmazonEKSComputePolicy",
        "AmazonEKSBlockStoragePolicy",
        "AmazonEKSLoadBalancingPolicy",
        "AmazonEKSNetworkingPolicy",
        "AmazonEKSWorkerNodeMinimalPolicy",
        "AmazonEC2ContainerRegistryPullOnly",
    }
    assert planned.one("storage.k8s.io/v1:StorageClass")["provisioner"] == "ebs.csi.eks.amazonaws.com"


def test_nodes_hold_no_permission_of_the_network_plugin(make: Callable[..., Any]) -> None:
    planned = make("EksCluster")
    by_role = {
        (one.inputs["role"], one.inputs["policyArn"].rsplit("/", 1)[1])
        for one in planned.of("RolePolicyAttachment")
    }
    assert by_role == {
        ("berth-role", "AmazonEKSClusterPolicy"),
        ("berth-node-role", "AmazonEKSWorkerNodePolicy"),
        ("berth-node-role", "AmazonEC2ContainerRegistryPullOnly"),
        ("berth-vpc-cni-role", "AmazonEKS_CNI_Policy"),
        ("berth-aws-ebs-csi-driver-role", "AmazonEBSCSIDriverPolicy"),
    }
    trust = json.loads(planned.one("iam/role:Role", "-vpc-cni-role")["assumeRolePolicy"])["Statement"][0]
    assert trust["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    assert trust["Condition"] == {
        "StringEquals": {
            "aws:RequestTag/kubernetes-namespace": "kube-system",
            "aws:RequestTag/kubernetes-service-account": "aws-node",
        }
    }


def test_other_partitions(make: Callable[..., Any]) -> None:
    planned = make("EksCluster", region="cn-north-1")
    assert {one.inputs["policyArn"].split(":")[1] for one in planned.of("RolePolicyAttachment")} == {"aws-cn"}
    trust = json.loads(planned.one("iam/role:Role", "-node-role")["assumeRolePolicy"])
    assert trust["Statement"][0]["Principal"]["Service"] == "ec2.amazonaws.com.cn"


def test_the_kubeconfig_asks_for_a_token(make: Callable[..., Any]) -> None:
    provider = make("EksCluster").one("pulumi:providers:kubernetes", "berth-provider")
    config = json.loads(provider["kubeconfig"])
    (user,) = config["users"]
    assert user["user"]["exec"]["command"] == "aws"
    assert user["user"]["exec"]["args"] == [
        *("eks", "get-token", "--output", "json", "--cluster-name", "berth", "--region", "eu-central-1"),
    ]
    (cluster,) = config["clusters"]
    assert cluster["cluster"]["certificate-authority-data"] == "Y2E="
    assert config["current-context"] == config["contexts"][0]["name"]
    assert provider["clusterIdentifier"].startswith("arn:aws:eks:")


def test_an_existing_cluster_is_looked_up(plan: Callable[..., Any]) -> None:
    found: Json = {}

    def program(opts: pulumi.ResourceOptions) -> object:
        role = "arn:aws:iam::111122223333:role/nodes"
        cluster = EksCluster("found", {"existing": True, "node_role_arn": role}, opts)
        return pulumi.Output.all(
            subnets=cluster.subnet_ids,
            groups=cluster.security_group_ids,
            role=cluster.node_role_arn,
            version=cluster.kubernetes_version,
            name=cluster.cluster_name,
        ).apply(found.update)

    planned = plan(program)
    assert planned.calls == ["aws:eks/getCluster:getCluster"]
    assert {one.type for one in planned.resources} == {
        "berth:aws:EksCluster",
        "pulumi:providers:aws",
        "pulumi:providers:kubernetes",
    }
    assert found == {
        "subnets": ["subnet-0123456789abcdef0", "subnet-0123456789abcdef1"],
        "groups": ["sg-0123456789abcdef0"],
        "role": "arn:aws:iam::111122223333:role/nodes",
        "version": "1.34",
        "name": "found",
    }


def test_objects_in_the_cluster_come_by_its_own_provider(make: Callable[..., Any]) -> None:
    planned = make("EksCluster", {"scaling": "auto-mode"})
    inside = [one for one in planned.resources if one.type.startswith("kubernetes:")]
    assert len(inside) == 2
    assert all("::berth-provider::" in one.provider for one in inside)
