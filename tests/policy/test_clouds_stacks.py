"""Rules for clouds that look at several resources, that are configured, or that depend on the environment."""

from __future__ import annotations

import json
from typing import Any

import pytest
from berth_policy import environment, pack
from berth_policy.run import Run
from berth_policy.testing import UNKNOWN, Given, Results, check, given

RULES = {one.name: one for one in pack.rules()}
ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
ROLE_URN = "urn:pulumi:stack::project::aws:iam/role:Role::one"
ACCOUNT_URN = "urn:pulumi:stack::project::gcp:serviceaccount/account:Account::one"


def judged(
    rule: str, *resources: Given, place: str = "production", config: Any = None, declared: Given | None = None
) -> Results:
    """What one rule says."""
    declared = declared or given("berth:stacks:Environment", "environment", {"environment": place})
    chosen = (environment.RULE, RULES[rule])
    return check(
        pack.policies(Run(), chosen), [declared, *resources], config={rule: config} if config else None
    )


def association(name: str, role: str, **others: Any) -> Given:
    """An identity for the pods of one service account."""
    return given(ASSOCIATION, name, {"namespace": "n", "serviceAccount": name, "roleArn": role}, **others)


def test_a_role_that_two_workloads_share() -> None:
    shared = judged("iam-role-per-workload", association("a", "arn:1"), association("b", "arn:1"))
    assert shared.tripped == {"iam-role-per-workload"}
    assert len(shared) == 2
    assert "pods of n/a shares the role arn:1 with pods of n/b" in shared[0].message
    assert not judged("iam-role-per-workload", association("a", "arn:1"), association("b", "arn:2"))


def test_a_role_of_this_program_is_told_apart_before_it_has_an_arn() -> None:
    links = {"roleArn": [ROLE_URN]}
    role = given("aws:iam/role:Role", "one", {})
    one, other = (association(name, UNKNOWN, references=links) for name in ("a", "b"))
    assert judged("iam-role-per-workload", role, one, other).tripped == {"iam-role-per-workload"}
    assert not judged("iam-role-per-workload", role, one)
    # Nothing says what it is made of: it cannot be told.
    assert judged("iam-role-per-workload", association("a", UNKNOWN)).unevaluated == {"iam-role-per-workload"}


def test_pods_with_the_role_of_their_nodes() -> None:
    nodes = given("aws:eks/nodeGroup:NodeGroup", "nodes", {"nodeRoleArn": "arn:1"})
    account = given(
        "kubernetes:core/v1:ServiceAccount",
        "server",
        {
            "metadata": {
                "name": "server",
                "namespace": "n",
                "annotations": {"eks.amazonaws.com/role-arn": "arn:1"},
            }
        },
    )
    addon = given(
        "aws:eks/addon:Addon",
        "csi",
        {"podIdentityAssociations": [{"serviceAccount": "csi", "roleArn": "arn:2"}]},
    )
    assert judged("iam-role-per-workload", nodes, account, addon).tripped == {"iam-role-per-workload"}
    assert not judged("iam-role-per-workload", account, addon)


def test_an_account_that_two_workloads_share() -> None:
    def may_act(name: str, account: str, **others: Any) -> Given:
        member = f"serviceAccount:p.svc.id.goog[n/{name}]"
        inputs = {"serviceAccountId": account, "role": "roles/iam.workloadIdentityUser", "member": member}
        return given("gcp:serviceaccount/iAMMember:IAMMember", name, inputs, **others)

    rule = "google-identity-per-workload"
    assert judged(rule, may_act("a", "s"), may_act("b", "s")).tripped == {rule}
    assert not judged(rule, may_act("a", "s"), may_act("b", "t"))
    account = given("gcp:serviceaccount/account:Account", "one", {})
    links = {"references": {"serviceAccountId": [ACCOUNT_URN]}}
    shared = judged(rule, account, may_act("a", UNKNOWN, **links), may_act("b", UNKNOWN, **links))
    assert shared.tripped == {rule}
    assert judged(rule, may_act("a", UNKNOWN)).unevaluated == {rule}


def test_a_member_that_is_an_account_of_this_program_is_nobody_else() -> None:
    account = given("gcp:serviceaccount/account:Account", "one", {})
    grant = given("gcp:projects/iAMMember:IAMMember", "grant", {"role": "roles/x.y", "member": UNKNOWN})
    made = grant.but(references={"member": [ACCOUNT_URN]})
    assert not judged("google-public-members", account, made)
    assert judged("google-public-members", account, grant).unevaluated == {"google-public-members"}


def test_the_default_security_group_of_each_vpc_is_closed() -> None:
    rule = "aws-default-security-group"
    vpc = given("aws:ec2/vpc:Vpc", "vpc", {})
    kind = "aws:ec2/defaultSecurityGroup:DefaultSecurityGroup"
    closed = given(kind, "closed", {"vpcId": UNKNOWN}, references={"vpcId": [vpc.urn_in("stack", "project")]})
    assert not judged(rule, vpc, closed)
    assert judged(rule, vpc).tripped == {rule}
    assert judged(rule, vpc, closed, given("aws:ec2/vpc:Vpc", "other", {})).tripped == {rule}
    opened = closed.but(inputs={"vpcId": UNKNOWN, "ingress": [{"self": True, "protocol": "-1"}]})
    assert judged(rule, vpc, opened).tripped == {rule}
    assert judged(rule, vpc, closed.but(inputs={"vpcId": "v", "ingress": UNKNOWN})).unevaluated == {rule}


ALARM = {
    "comparisonOperator": "GreaterThanThreshold",
    "dimensions": {"EndpointName": "chat", "VariantName": "model"},
    "evaluationPeriods": 1,
    "metricName": "Invocation5XXErrors",
    "namespace": "AWS/SageMaker",
    "period": 300,
    "statistic": "Sum",
    "threshold": 5,
}


@pytest.mark.parametrize(
    "change",
    [
        {"comparisonOperator": "LessThanThreshold"},
        {"threshold": 100_000},
        {"period": 86_400},
        {"evaluationPeriods": 0},
        {"datapointsToAlarm": 3},
        {"statistic": ""},
        {"dimensions": {"EndpointName": "chat"}},
        {"dimensions": {"EndpointName": "other", "VariantName": "model"}},
        {"namespace": "AWS/EC2"},
    ],
    ids=str,
)
def test_an_alarm_that_never_fires(change: dict[str, Any]) -> None:
    kind = "aws:cloudwatch/metricAlarm:MetricAlarm"
    endpoint = given("aws:sagemaker/endpoint:Endpoint", "endpoint", {"name": "chat"})
    latency = given(kind, "latency", {**ALARM, "metricName": "ModelLatency"})
    errors = given(kind, "errors", ALARM)
    assert not judged("sagemaker-alarms", endpoint, latency, errors)
    assert judged("sagemaker-alarms", endpoint, latency, errors.but(inputs={**ALARM, **change})).tripped
    unknown = errors.but(inputs={**ALARM, "threshold": UNKNOWN})
    assert "sagemaker-alarms" in judged("sagemaker-alarms", endpoint, latency, unknown).unevaluated


def pool(name: str, machine: str, most: object, **config: Any) -> Given:
    """A node pool on GKE."""
    inputs = {"autoscaling": {"totalMaxNodeCount": most}, "nodeConfig": {"machineType": machine, **config}}
    return given("gcp:container/nodePool:NodePool", name, inputs)


def test_accelerators_are_counted_at_most_scale() -> None:
    rule = "cost-accelerators"
    eight = pool("a", "a3-highgpu-8g", 4)
    assert not judged(rule, eight)
    assert judged(rule, pool("a", "a3-highgpu-8g", 5)).tripped == {rule}
    # Each pool is within its cap, all of them together are not.
    several = [pool(name, "a3-highgpu-8g", 4) for name in "abc"]
    found = judged(rule, *several)
    assert [one.urn for one in found] == [""]
    assert "96 accelerators" in found[0].message
    assert judged(rule, eight, place="development").tripped == {rule}
    assert not judged(rule, eight, place="local")
    assert not judged(rule, *several, config={"in_all": {"production": 100}})
    counted = pool("n", "n1-standard-8", 40, guestAccelerators=[{"count": 1, "type": "nvidia-tesla-t4"}])
    assert judged(rule, counted).tripped == {rule}
    # The catalogue does not know it, and its name says that it has some.
    assert "is not known" in judged(rule, pool("b", "a4-future-8g", 1))[0].message
    assert judged(rule, pool("a", "a3-highgpu-8g", UNKNOWN)).unevaluated == {rule}


def test_machines_of_a_launch_template_and_of_karpenter_are_counted() -> None:
    template = given("aws:ec2/launchTemplate:LaunchTemplate", "t", {"instanceType": "p5.48xlarge"})
    links = {"references": {"launchTemplate": [template.urn_in("stack", "project")]}}
    group = given(
        "aws:eks/nodeGroup:NodeGroup",
        "g",
        {"launchTemplate": {"id": UNKNOWN}, "scalingConfig": {"maxSize": 5}},
        **links,
    )
    found = judged("cost-accelerators", template, group)
    assert "40 accelerators" in found[0].message
    limits = {"limits": {"nvidia.com/gpu": "100"}}
    karpenter = given("kubernetes:karpenter.sh/v1:NodePool", "k", {"spec": limits})
    assert judged("cost-accelerators", karpenter).tripped
    assert judged("cost-nodes-per-pool", karpenter.but(inputs={"spec": {}})).tripped


def test_spot_is_for_pools_that_are_named() -> None:
    spot = pool("batch", "g2-standard-4", 2, spot=True)
    assert judged("cost-spot-in-production", spot).tripped
    assert not judged("cost-spot-in-production", spot, config={"pools": ["batch"]})
    assert not judged("cost-spot-in-production", spot, place="development")


def test_a_price_that_nobody_knows_is_open_and_no_pass() -> None:
    found = judged("open-price", pool("a", "g2-standard-4", 3))
    assert [(one.policy, one.level) for one in found] == [("open-price", "advisory")]
    assert "3 g2-standard-4" in found[0].message
    assert not judged("open-price", given("kubernetes:core/v1:ConfigMap", "c", {}))


def costing(cost: Any) -> Given:
    more = {} if cost is None else {"cost": cost}
    return given(
        "berth:stacks:Environment", "environment", {"environment": "production", "findings": [], **more}
    )


def test_what_the_planner_knows_is_no_open_price() -> None:
    rented = pool("a", "g2-standard-4", 3)
    assert not judged("open-price", rented, declared=costing({"usdPerHourMost": 3.5}))
    assert judged("open-price", rented, declared=costing({"usdPerHourFewest": 3.5})).tripped
    assert judged("open-price", rented, declared=costing(UNKNOWN)).unevaluated == {"open-price"}


def test_a_cap_holds_and_a_price_that_nobody_knows_is_not_within_it() -> None:
    rented, cap = pool("a", "g2-standard-4", 3), {"most": {"production": 20}}

    def found(cost: Any, *resources: Given, config: dict[str, Any] = cap) -> Results:
        return judged("cost-per-hour", *resources, declared=costing(cost), config=config)

    assert not found({"usdPerHourMost": 20}, rented)
    tripped = found({"usdPerHourMost": 20.5}, rented)
    assert [(one.policy, one.level) for one in tripped] == [("cost-per-hour", "mandatory")]
    assert "at most scale it costs 20.5 USD/h; wanted: 20 at most" in tripped[0].message
    assert found({"usdPerHourMost": "free"}, rented).tripped
    assert found(None, rented).tripped
    assert not found(None)
    assert not found({"usdPerHourMost": 1000}, rented, config={})
    assert found(UNKNOWN, rented).unevaluated == {"cost-per-hour"}


def test_levels_depend_on_the_environment() -> None:
    cluster = given("aws:eks/cluster:Cluster", "c", {"deletionProtection": False})
    assert judged("eks-deletion-protection", cluster).tripped
    assert not judged("eks-deletion-protection", cluster, place="development")
    repository = given("aws:ecr/repository:Repository", "r", {})
    assert [one.level for one in judged("ecr-encryption", repository)] == ["mandatory"]
    assert [one.level for one in judged("ecr-encryption", repository, place="development")] == ["advisory"]


KEY = "aws:kms/key:Key"


def resource_policy(principal: Any, condition: Any = None) -> str:
    """A policy of a key."""
    statement = {"Effect": "Allow", "Principal": principal, "Action": "kms:Decrypt", "Resource": "*"}
    if condition:
        statement["Condition"] = condition
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.mark.parametrize(
    ("condition", "narrow"),
    [
        ({"StringEquals": {"aws:PrincipalOrgID": "o-1"}}, True),
        ({"ArnLike": {"aws:SourceArn": "arn:aws:logs:eu-central-1:111122223333:*"}}, True),
        ({"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-1/*"}}, True),
        ({"StringLike": {"aws:PrincipalArn": "*"}}, False),
        ({"StringNotEquals": {"aws:SourceAccount": "111122223333"}}, False),
        ({"StringEqualsIfExists": {"aws:SourceAccount": "111122223333"}}, False),
        ({"ForAllValues:StringEquals": {"aws:PrincipalOrgID": "o-1"}}, False),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),
    ],
    ids=str,
)
def test_everybody_with_a_condition(condition: Any, *, narrow: bool) -> None:
    key = given(KEY, "k", {"policy": resource_policy("*", condition)})
    assert judged("iam-resource-policies", key).tripped == (set() if narrow else {"iam-resource-policies"})


def test_documents_may_be_objects_and_statements_need_no_list() -> None:
    statement = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"}
    document = {"Version": "2012-10-17", "Statement": statement}
    for policy in (document, json.dumps(document)):
        one = given("aws:iam/policy:Policy", "p", {"policy": policy})
        assert judged("iam-wildcard-actions", one).tripped, policy
    inline = given(
        "aws:iam/role:Role", "r", {"inlinePolicies": [{"name": "n", "policy": json.dumps(document)}]}
    )
    assert judged("iam-wildcard-actions", inline).tripped


def test_what_is_unknown_in_a_document_hides_nothing_that_is_known() -> None:
    statements = [
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{UNKNOWN}/*"},
        {"Effect": "Allow", "Action": "s3:PutObject", "Resource": "*"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    found = judged("iam-wildcard-resources", given("aws:iam/policy:Policy", "p", {"policy": document}))
    assert found.tripped == {"iam-wildcard-resources"}
    assert found.unevaluated == {"iam-wildcard-resources"}


@pytest.mark.parametrize(
    ("subject", "narrow"),
    [
        ("repo:org/app:ref:refs/heads/main", True),
        ("repo:org/app:*", True),
        ("repo:org/*", False),
        ("repo:*", False),
        ("*", False),
        ("system:serviceaccount:chat:server", True),
        ("system:serviceaccount:*", False),
    ],
)
def test_federated_identities_are_known_by_their_subject(subject: str, *, narrow: bool) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/token.example"},
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": {"StringLike": {"token.example:sub": subject, "token.example:aud": "sts.amazonaws.com"}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = given("aws:iam/role:Role", "r", {"assumeRolePolicy": document})
    assert judged("iam-trust", role).tripped == (set() if narrow else {"iam-trust"})
