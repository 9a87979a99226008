"""What Cluster Autoscaler is made of, and what it may do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]


def container(planned: Any) -> Json:
    pod = planned.one("apps/v1:Deployment")["spec"]["template"]["spec"]
    (found,) = pod["containers"]
    return {**found, "pod": pod}


def test_it_finds_the_pools_of_its_cluster(make: Callable[..., Any]) -> None:
    """By the very tags that a pool puts on its Auto Scaling group."""
    args = container(make("ClusterAutoscaler"))["args"]
    (discovery,) = [one for one in args if one.startswith("--node-group-auto-discovery=asg:tag=")]
    wanted = set(discovery.split("tag=", 1)[1].split(","))
    on_pool = {one.inputs["tag"]["key"] for one in make("EksNodePool").of("autoscaling/tag:Tag")}
    assert wanted <= on_pool


def test_aws_permissions_are_the_least(make: Callable[..., Any]) -> None:
    planned = make("ClusterAutoscaler")
    statements = planned.statements("berth-policy")
    changing = [one for one in statements if any(not _reads(action) for action in one["Action"])]
    assert [(one["Action"], one["Resource"], one["Condition"]) for one in changing] == [
        (
            ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"],
            "arn:aws:autoscaling:eu-central-1:*:autoScalingGroup:*",
            {"StringEquals": {"aws:ResourceTag/k8s.io/cluster-autoscaler/berth": "owned"}},
        )
    ]
    (groups,) = [one for one in statements if one["Action"] == ["eks:DescribeNodegroup"]]
    assert groups["Resource"] == "arn:aws:eks:eu-central-1:*:nodegroup/berth/*"
    assert not any("*" in action for one in statements for action in one["Action"])


def _reads(action: str) -> bool:
    return action.split(":")[1].startswith(("Describe", "Get"))


def test_only_its_pods_get_them(make: Callable[..., Any]) -> None:
    planned = make("ClusterAutoscaler", {"namespace": "scaling"})
    association = planned.one("PodIdentityAssociation")
    account = planned.one("core/v1:ServiceAccount")["metadata"]
    assert association["namespace"] == account["namespace"] == "scaling"
    assert association["serviceAccount"] == account["name"]
    assert container(planned)["pod"]["serviceAccountName"] == account["name"]
    trust = json.loads(planned.one("iam/role:Role")["assumeRolePolicy"])["Statement"][0]
    assert trust["Condition"]["StringEquals"] == {
        "aws:RequestTag/kubernetes-namespace": "scaling",
        "aws:RequestTag/kubernetes-service-account": account["name"],
    }


def test_the_namespace_and_the_pod_are_restricted(make: Callable[..., Any]) -> None:
    planned = make("ClusterAutoscaler")
    labels = planned.one("core/v1:Namespace")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    found = container(planned)
    assert found["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert found["pod"]["securityContext"]["runAsNonRoot"] is True
    assert found["pod"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert found["image"] == "registry.k8s.io/autoscaling/cluster-autoscaler:v1.34.5"
    assert {"name": "AWS_REGION", "value": "eu-central-1"} in found["env"]


def test_of_the_link_local_addresses_it_reaches_pod_identity_alone(make: Callable[..., Any]) -> None:
    planned = make("ClusterAutoscaler")
    policy = planned.one("NetworkPolicy", "-network")["spec"]
    dns, world, identity = policy["egress"]
    assert dns["to"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
    ]
    assert "169.254.0.0/16" in world["to"][0]["ipBlock"]["except"]
    assert world["ports"] == [{"port": 443, "protocol": "TCP"}]
    assert identity["to"] == [{"ipBlock": {"cidr": "169.254.170.23/32"}}]
    assert identity["ports"] == [{"port": 80, "protocol": "TCP"}]
    assert policy["ingress"] == []
    opened = make("ClusterAutoscaler", {"metrics_namespaces": ["monitoring"]})
    (rule,) = opened.one("NetworkPolicy", "-network")["spec"]["ingress"]
    assert rule["ports"] == [{"port": 8085, "protocol": "TCP"}]
    assert planned.one("NetworkPolicy", "-default-deny")["spec"]["podSelector"] == {}


def test_its_pods_need_no_luck_to_get_their_role(make: Callable[..., Any]) -> None:
    """The webhook may not know the association yet when the first pod is made, and never comes back to it."""
    pod = make("ClusterAutoscaler").one("apps/v1:Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    env = {one["name"]: one["value"] for one in container["env"]}
    assert env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == "http://169.254.170.23/v1/credentials"
    (mount,) = container["volumeMounts"]
    (volume,) = pod["volumes"]
    (source,) = volume["projected"]["sources"]
    assert volume["name"] == mount["name"] == "eks-pod-identity-token"
    assert mount["readOnly"] is True
    token = f"{mount['mountPath']}/{source['serviceAccountToken']['path']}"
    assert env["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"] == token
    assert source["serviceAccountToken"]["audience"] == "pods.eks.amazonaws.com"


def test_kubernetes_permissions(make: Callable[..., Any]) -> None:
    planned = make("ClusterAutoscaler")
    rules = [*planned.one("ClusterRole")["rules"], *planned.one("rbac.authorization.k8s.io/v1:Role")["rules"]]
    assert "*" not in json.dumps(rules)
    assert not any("secrets" in rule["resources"] for rule in rules)
    changing = {
        (resource, verb)
        for rule in planned.one("ClusterRole")["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if verb not in {"get", "list", "watch"}
    }
    assert changing == {
        ("nodes", "update"),
        ("pods/eviction", "create"),
        ("pods/status", "update"),
        ("events", "create"),
        ("events", "patch"),
    }
    budget = planned.one("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
