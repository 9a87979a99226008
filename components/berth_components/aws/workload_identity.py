"""The AWS permissions of one Kubernetes service account, through EKS Pod Identity."""

import re
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi
from pulumi_aws import eks, iam

from berth_components import checks
from berth_components.arguments import Arguments, Refusal, combine
from berth_components.aws import checks as aws_checks
from berth_components.aws.shared import (
    ROLE_NAME,
    Json,
    Place,
    check_name,
    document,
    needed,
    needed_input,
    pod_trust,
    role,
)


class StatementArgs(TypedDict):
    """Something that is allowed."""

    actions: Sequence[str]
    """The actions in full, such as s3:GetObject. Wildcards are refused: what AWS adds later would be allowed
    too."""
    resources: pulumi.Input[Sequence[pulumi.Input[str]]]
    """ARNs. "*" alone needs conditions that narrow it."""
    conditions: NotRequired[Mapping[str, Mapping[str, Sequence[str]]]]
    """Operator, key and values, such as {"StringEquals": {"s3:prefix": ["models/"]}}. Default: none."""


class EksWorkloadIdentityArgs(TypedDict):
    """Args of `EksWorkloadIdentity`. The provider comes by the options."""

    cluster_name: pulumi.Input[str]
    """The cluster: `EksCluster.cluster_name`."""
    namespace: pulumi.Input[str]
    """Namespace of the service account."""
    service_account: pulumi.Input[str]
    """The service account, whose pods alone get the permissions. They must be able to reach
    169.254.170.23, port 80."""
    statements: Sequence[StatementArgs]
    """What is allowed; at least one."""
    tags: NotRequired[Mapping[str, pulumi.Input[str]]]
    """AWS tags of the role. Default: none."""


class EksWorkloadIdentity(pulumi.ComponentResource):
    """A role for the pods of one service account, and nobody else."""

    role_arn: pulumi.Output[str]
    """The role; known once the association is there. EKS lets it take effect some seconds later, and a pod
    that is made before never gets it: make it anew, or say in its manifest what EKS adds
    (`berth_components.pod_identity`)."""

    def __init__(
        self, name: str, args: EksWorkloadIdentityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        who = f"EksWorkloadIdentity '{name}'"
        given = Arguments(who, args, EksWorkloadIdentityArgs)
        cluster = needed_input(given, "cluster_name", aws_checks.cluster_name)
        namespace = needed_input(given, "namespace", checks.dns_label)
        account = needed_input(given, "service_account", checks.dns_label)
        statements = [_statement(one) for one in given.groups("statements", StatementArgs)]
        if not statements:
            raise given.refuse("statements", "empty", "at least one", "or leave the identity out")
        untagged: Mapping[str, str] = {}
        tags = given.read("tags", aws_checks.tags, untagged)
        check_name(who, name, "-role", ROLE_NAME)
        super().__init__("berth:aws:EksWorkloadIdentity", name, {}, opts)
        Place(self, who)
        child = pulumi.ResourceOptions(parent=self)
        made, _ = role(f"{name}-role", "A workload on EKS", pod_trust(namespace, account), {}, tags, child)
        permissions = iam.RolePolicy(
            f"{name}-policy", role=made.name, policy=document(statements), opts=child
        )
        association = eks.PodIdentityAssociation(
            f"{name}-association",
            cluster_name=cluster,
            namespace=namespace,
            service_account=account,
            role_arn=made.arn,
            tags=tags,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[permissions]),
        )
        self.role_arn = pulumi.Output.all(made.arn, association.urn).apply(_first)
        self.register_outputs({"roleArn": self.role_arn})


def _statement(given: Arguments) -> Json:
    conditions: Mapping[str, Mapping[str, Sequence[str]]] = {}
    conditions = given.plain(
        "conditions",
        checks.mapping_of(
            checks.text(r"[A-Z][A-Za-z:]+", "operators such as StringEquals"),
            checks.mapping_of(
                checks.text(r"[A-Za-z0-9-]+:[^\s*]+", "condition keys such as s3:prefix"),
                checks.list_of(checks.plain_text, at_least=1),
            ),
        ),
        conditions,
    )

    def resources(known: object) -> Sequence[str]:
        found = checks.list_of(checks.plain_text, at_least=1)(known)
        for one in found:
            if one == "*" and not conditions:
                raise Refusal("ARNs", "or conditions, which narrow '*'")
            if one != "*" and not re.fullmatch(r"arn:aws[a-z-]*:[a-z0-9-]+:[^\s]+", one):
                raise Refusal("ARNs such as arn:aws:s3:::weights/models/*")
        return found

    statement: dict[str, object] = {
        "Effect": "Allow",
        "Action": [*needed(given, "actions", checks.list_of(_action, at_least=1))],
        "Resource": combine(_texts, needed_input(given, "resources", resources)),
    }
    if conditions:
        statement["Condition"] = conditions
    return statement


def _action(value: object) -> str:
    if isinstance(value, str) and ("*" in value or "?" in value):
        raise Refusal("actions in full, such as s3:GetObject", "name each one that is needed")
    return checks.text(r"[a-z0-9-]+:[A-Za-z0-9]+", "actions such as s3:GetObject")(value)


def _texts(known: Sequence[str]) -> list[str]:
    return [*known]


def _first(known: Sequence[str]) -> str:
    return known[0]
