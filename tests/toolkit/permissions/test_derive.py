"""From plans to permissions: narrow where names are known, and open about what is not."""

from __future__ import annotations

import fnmatch
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from berth.permissions import amazon, aws_policies, custom_role, derive, rbac_manifests, text
from berth.permissions.data import aws, aws_actions, aws_arns, gcp
from berth.permissions.render import POLICY_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth.deployer import Report
    from berth.permissions import Permissions

ON_AWS = """
import json
import pulumi_aws as aws
on = pulumi.ResourceOptions(provider=aws.Provider("here", region="eu-central-1"))
trust = json.dumps({"Statement": [{"Principal": {"Service": ["eks.amazonaws.com"]}}]})
role = aws.iam.Role("plane", assume_role_policy=trust, opts=on)
other = aws.iam.Role("pods", assume_role_policy=trust.replace("eks.", "pods.eks."), opts=on)
aws.iam.RolePolicyAttachment("allowed", role=role.name, policy_arn="arn:aws:iam::aws:policy/P", opts=on)
network = {"subnet_ids": ["subnet-1"]}
cluster = aws.eks.Cluster("main", name="main", role_arn=role.arn, vpc_config=network, opts=on)
aws.eks.NodeGroup(
    "gpus", cluster_name=cluster.name, node_role_arn="arn:aws:iam::111122223333:role/nodes",
    subnet_ids=["subnet-1"], scaling_config={"min_size": 0, "max_size": 1, "desired_size": 0}, opts=on,
)
"""
ON_GOOGLE = """
import pulumi_gcp as gcp
on = pulumi.ResourceOptions(provider=gcp.Provider("here", project="models-1"))
account = gcp.serviceaccount.Account("nodes", account_id="nodes", opts=on)
gcp.projects.IAMMember("logs", project="models-1", role="roles/logging.logWriter", member="x", opts=on)
gcp.container.Cluster("main", location="europe-west4", opts=on)
"""


def allowed(found: Permissions, action: str, resource: str) -> list[dict[str, Any]]:
    """Decide as IAM does, conditions aside: the conditions of the statements that allow it."""
    return [
        dict(statement.conditions)
        for statement in found.aws
        if action in statement.actions
        and any(fnmatch.fnmatchcase(resource, arn) for arn in statement.resources)
    ]


def test_arns_are_narrowed_to_the_names_that_are_known(plan: Callable[..., Report]) -> None:
    found = derive(plan(ON_AWS), account="111122223333")
    here = "arn:aws:eks:eu-central-1:111122223333"
    assert allowed(found, "eks:DeleteCluster", f"{here}:cluster/main") == [{}]
    assert not allowed(found, "eks:DeleteCluster", f"{here}:cluster/other")
    assert not allowed(found, "eks:DeleteCluster", "arn:aws:eks:us-east-1:111122223333:cluster/main")
    assert not allowed(found, "eks:DeleteCluster", "arn:aws:eks:eu-central-1:999999999999:cluster/main")
    # A resource without a name is called <its name in the program>-<random> by the provider.
    assert allowed(found, "eks:DeleteNodegroup", f"{here}:nodegroup/main/gpus-0123abc/uuid")
    assert not allowed(found, "eks:DeleteNodegroup", f"{here}:nodegroup/main/others-0123abc/uuid")
    assert allowed(found, "iam:DeleteRole", "arn:aws:iam::111122223333:role/plane-0123abc")
    assert not allowed(found, "iam:DeleteRole", "arn:aws:iam::111122223333:role/admin")


def test_a_role_is_passed_to_the_service_that_it_trusts_only(plan: Callable[..., Report]) -> None:
    found = derive(plan(ON_AWS), account="111122223333")
    plane, pods = (f"arn:aws:iam::111122223333:role/{name}-0123abc" for name in ("plane", "pods"))
    assert allowed(found, "iam:PassRole", plane) == [
        {"StringEquals": {"iam:PassedToService": ["eks.amazonaws.com"]}}
    ]
    assert not allowed(found, "iam:PassRole", pods)
    assert allowed(found, "iam:PassRole", "arn:aws:iam::111122223333:role/nodes") == [
        {"StringEquals": {"iam:PassedToService": ["ec2.amazonaws.com"]}}
    ]


def test_a_reference_narrows_to_the_resource_that_it_leads_to(plan: Callable[..., Report]) -> None:
    found = derive(
        plan(
            """
            import pulumi_aws as aws
            one = aws.iam.Role("one", assume_role_policy="{}")
            two = aws.iam.Role("two", assume_role_policy="{}")
            aws.iam.RolePolicy("may", role=one.name, policy="{}")
            aws.sagemaker.Model("model", execution_role_arn=two.arn)
            """
        )
    )
    one, two = (f"arn:aws:iam::1:role/{name}-0123abc" for name in ("one", "two"))
    assert allowed(found, "iam:PutRolePolicy", one)
    assert not allowed(found, "iam:PutRolePolicy", two)
    assert allowed(found, "iam:PassRole", two)
    assert not allowed(found, "iam:PassRole", one)


def test_policies_that_may_be_attached_are_named(plan: Callable[..., Report]) -> None:
    found = derive(plan(ON_AWS))
    (conditions,) = allowed(found, "iam:AttachRolePolicy", "arn:aws:iam::111122223333:role/plane-0123abc")
    assert conditions == {"ArnEquals": {"iam:PolicyARN": ["arn:aws:iam::aws:policy/P"]}}


def test_what_aws_checks_for_no_resource_is_limited_to_the_region(plan: Callable[..., Report]) -> None:
    found = derive(plan(ON_AWS))
    anywhere = [statement for statement in found.aws if statement.resources == ("*",)]
    assert anywhere
    for statement in anywhere:
        assert statement.conditions == {"StringEquals": {"aws:RequestedRegion": ["eu-central-1"]}}
        for action in statement.actions:
            assert not aws_actions()[action].needs, action


def test_inputs_decide_on_further_actions(plan: Callable[..., Report]) -> None:
    without = {action for statement in derive(plan(ON_AWS)).aws for action in statement.actions}
    encrypted = ON_AWS.replace(
        "vpc_config=network,",
        'vpc_config=network, encryption_config={"provider": {"key_arn": "k"}, "resources": ["secrets"]},',
    )
    found = {action for statement in derive(plan(encrypted)).aws for action in statement.actions}
    assert found - without == {"kms:CreateGrant", "kms:DescribeKey"}


def test_sharing_a_statement_allows_no_more(
    shipped: dict[str, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = derive(shipped["aws-prod"]).aws
    monkeypatch.setattr(amazon, "_may_share", lambda *_: False)
    apart = derive(shipped["aws-prod"]).aws
    assert len(shared) < len(apart)
    exact = {
        (action, arn, json.dumps(one.conditions))
        for one in apart
        for action in one.actions
        for arn in one.resources
    }
    wider = {
        (action, arn, json.dumps(one.conditions))
        for one in shared
        for action in one.actions
        for arn in one.resources
    }
    assert exact <= wider
    for action, arn, _ in wider - exact:
        kinds = (*aws_actions()[action].needs, *aws_actions()[action].may)
        shapes = [re.sub(r"\$\{\w+\}", "*", aws_arns()[kind]) for kind in kinds]
        assert not any(fnmatch.fnmatchcase(arn, shape) for shape in shapes), f"{action} on {arn}"
    assert all("*" not in action for one in shared for action in one.actions)


@pytest.mark.parametrize("stack", ["aws-dev", "aws-prod"])
def test_policies_of_shipped_stacks_are_valid_documents(shipped: dict[str, Report], stack: str) -> None:
    found = derive(shipped[stack])
    documents = aws_policies(found)
    sids = [statement["Sid"] for document in documents for statement in document["Statement"]]
    assert len(sids) == len(set(sids))
    assert all(sid.isalnum() for sid in sids)
    for document in documents:
        assert document["Version"] == "2012-10-17"
        assert len(json.dumps(document, separators=(",", ":"))) <= POLICY_LIMIT
    planned = {step.type for step in shipped[stack].steps if step.type in aws().types}
    wanted = {a for token in planned for actions in aws().types[token].by_verb.values() for a in actions}
    given = {action for statement in found.aws for action in statement.actions}
    assert wanted <= given
    assert not [one for one in found.unknown if "no data" in one]


def test_each_region_and_partition_has_its_own_arns(plan: Callable[..., Report]) -> None:
    found = derive(
        plan(
            """
            import pulumi_aws as aws
            for region in ("eu-west-1", "cn-north-1"):
                on = pulumi.ResourceOptions(provider=aws.Provider(region, region=region))
                aws.cloudwatch.LogGroup(f"logs-{region}", name="/logs", opts=on)
            """
        )
    )
    assert allowed(found, "logs:DeleteLogGroup", "arn:aws:logs:eu-west-1:1:log-group:/logs")
    assert allowed(found, "logs:DeleteLogGroup", "arn:aws-cn:logs:cn-north-1:1:log-group:/logs")
    assert not allowed(found, "logs:DeleteLogGroup", "arn:aws:logs:us-east-1:1:log-group:/logs")


def test_google_grants_go_by_project_and_limit_who_may_grant_what(plan: Callable[..., Report]) -> None:
    found = derive(plan(ON_GOOGLE))
    (grant,) = found.gcp
    assert grant.project == "models-1"
    assert {"container.clusters.create", "iam.serviceAccounts.create"} <= set(grant.permissions)
    assert "kms" not in " ".join(grant.permissions)
    assert grant.condition.endswith(".hasOnly(['roles/logging.logWriter'])")
    (role,) = custom_role(found)
    assert role["role"]["includedPermissions"] == list(grant.permissions)


def test_a_project_that_nobody_named_is_said_and_can_be_given(shipped: dict[str, Report]) -> None:
    found = derive(shipped["gcp-prod"])
    assert [grant.project for grant in found.gcp] == [""]
    assert any("the project, which the plan does not say" in one for one in found.unknown)
    found = derive(shipped["gcp-prod"], project="models-1")
    assert [grant.project for grant in found.gcp] == ["models-1"]
    assert not [one for one in found.unknown if "the project" in one]


@pytest.mark.parametrize("stack", ["gcp-dev", "gcp-prod"])
def test_custom_roles_of_shipped_stacks_have_all_that_is_needed(
    shipped: dict[str, Report], stack: str
) -> None:
    found = derive(shipped[stack])
    planned = {step.type for step in shipped[stack].steps if step.type in gcp().types}
    wanted = {p for token in planned for some in gcp().types[token].by_verb.values() for p in some}
    assert wanted <= {permission for grant in found.gcp for permission in grant.permissions}


def test_kubernetes_rules_stay_in_the_namespaces_of_the_plan(shipped: dict[str, Report]) -> None:
    manifests = rbac_manifests(derive(shipped["onprem"]))
    roles = {m["metadata"].get("namespace", ""): m["rules"] for m in manifests}
    assert {"", "berth-onprem", "berth-metrics", "berth-system"} <= set(roles)
    cluster_wide = {resource for rule in roles[""] for resource in rule["resources"]}
    assert "secrets" not in cluster_wide
    assert "namespaces" in cluster_wide
    assert all("*" not in rule["verbs"] + rule["resources"] for rules in roles.values() for rule in rules)
    escalating = [rule for rule in roles[""] if "escalate" in rule["verbs"]]
    assert escalating
    assert all(rule["resourceNames"] for rule in escalating)


def test_what_no_plan_can_tell_is_named(plan: Callable[..., Report]) -> None:
    report = plan(
        """
        import pulumi_aws as aws
        aws.sqs.Queue("jobs")
        aws.ec2.Vpc("net", cidr_block="10.0.0.0/16")
        """
    )
    found = derive(report)
    unknown = "\n".join(found.unknown)
    assert "aws:sqs/queue:Queue (one resource): there are no data" in unknown
    assert "the region" in unknown
    assert "ec2:vpc" in unknown
    assert "the account" in unknown
    assert "Not known from the plan" in text(found)
    assert derive(report, {"aws:region": "eu-west-1"}).aws[0].resources[0].split(":")[3] in {"eu-west-1", ""}


def test_the_report_as_json_says_the_sources(plan: Callable[..., Report]) -> None:
    document = json.loads(json.dumps(derive(plan(ON_AWS)).to_json()))
    cluster = document["types"]["aws:eks/cluster:Cluster"]
    assert cluster["resources"] == 1
    assert "eks:CreateCluster" in cluster["create"]
    assert cluster["sources"] == ["pike", "cloudformation", "reference"]
