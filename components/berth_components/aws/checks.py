"""Checks of single values that only AWS knows."""

import ipaddress
from collections.abc import Mapping, Sequence

from berth_components import checks
from berth_components.arguments import Check, Refusal

LOG_RETENTION_DAYS = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 3653),
)
"""Numbers of days that CloudWatch Logs keeps logs for."""
_MAX_TAGS = 40
"""AWS takes 50 per resource; ours and EKS' own need a few."""


def role_arn(value: object) -> str:
    """ARN of an IAM role; an existing cluster that was told none gives an empty one."""
    if value == "":
        raise Refusal("the ARN of an IAM role", "give the existing cluster's EksCluster a node_role_arn")
    return checks.text(
        r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+",
        "the ARN of an IAM role, such as arn:aws:iam::111122223333:role/berth-nodes",
    )(value)


def principal_arn(value: object) -> str:
    """ARN of an IAM role or user."""
    return checks.text(
        r"arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/[A-Za-z0-9+=,.@_/-]+",
        "the ARN of one IAM role or user, such as arn:aws:iam::111122223333:role/platform",
    )(value)


def key_arn(value: object) -> str:
    """ARN of a KMS key."""
    return checks.text(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+",
        "the ARN of a KMS key, such as arn:aws:kms:eu-central-1:111122223333:key/<id>",
    )(value)


def any_arn(value: object) -> str:
    """Any ARN without a wildcard."""
    return checks.text(r"arn:aws[a-z-]*:[^*?\s]+", "an ARN without wildcards")(value)


def subnet_id(value: object) -> str:
    """Id of a subnet."""
    return checks.text(r"subnet-[0-9a-f]{8,17}", "ids of subnets, such as subnet-0123456789abcdef0")(value)


def security_group_id(value: object) -> str:
    """Id of a security group."""
    return checks.text(r"sg-[0-9a-f]{8,17}", "ids of security groups, such as sg-0123456789abcdef0")(value)


def reservation_id(value: object) -> str:
    """Id of a capacity reservation."""
    return checks.text(r"cr-[0-9a-f]{8,17}", "a capacity reservation's id, such as cr-0123456789abcdef0")(
        value
    )


def cluster_name(value: object) -> str:
    """Name of an EKS cluster."""
    return checks.text(
        r"[0-9A-Za-z][A-Za-z0-9_-]{0,99}", "1 to 100 letters, digits, '-' and '_', not beginning with '-'"
    )(value)


def kubernetes_version(value: object) -> str:
    """A minor version of Kubernetes; unquoted, YAML makes a number of it and loses a zero at the end."""
    if isinstance(value, float):
        raise Refusal("a minor version of Kubernetes such as '1.34'", "quote it: 1.40 would become 1.4")
    return checks.text(r"1\.[1-9][0-9]", "a minor version of Kubernetes such as '1.34'")(value)


def addon_version(value: object) -> str:
    """Version of an EKS add-on."""
    return checks.text(
        r"v[0-9]+\.[0-9]+\.[0-9]+-eksbuild\.[0-9]+",
        "a version of an EKS add-on, such as v1.20.4-eksbuild.1",
    )(value)


def machine_type(value: object) -> str:
    """Name of an EC2 instance type."""
    return checks.text(r"[a-z][a-z0-9-]*\.[a-z0-9-]+", "an EC2 instance type such as m6i.large")(value)


def retention(value: object) -> int:
    """Days that CloudWatch Logs keeps logs."""
    allowed = "one of " + ", ".join(map(str, LOG_RETENTION_DAYS))
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or number not in LOG_RETENTION_DAYS:
        raise Refusal(allowed)
    return number


def public_ranges(value: object) -> Sequence[str]:
    """Address ranges that reach an API from outside: never everybody."""
    found = checks.list_of(checks.cidr)(value)
    if checks.is_everybody(found):
        raise Refusal(
            "ranges that are not together the whole internet",
            "0.0.0.0/0 lets everybody try; name your offices', VPN's and runners' addresses",
        )
    if any(":" in one for one in found):
        raise Refusal("ranges of IPv4", "EKS filters IPv6 clients only on dual-stack clusters")
    return found


def vpc_cidr(value: object) -> str:
    """Addresses of a VPC that has room for pods in three zones."""
    allowed = "private addresses of /16 to /20, such as 10.20.0.0/16 (host bits zero)"
    try:
        network = ipaddress.IPv4Network(value) if isinstance(value, str) else None
    except ValueError:
        network = None
    if network is None or not 16 <= network.prefixlen <= 20 or not network.is_private:  # noqa: PLR2004 - said
        raise Refusal(allowed)
    return str(network)


def zones(value: object) -> Sequence[str]:
    """Two or three zones of one region, by name."""
    allowed = "two or three different zones of one region, such as eu-central-1a and eu-central-1b"
    name = checks.text(r"[a-z]{2}(-[a-z]+)+-[0-9][a-z]", allowed)
    found = checks.list_of(name)(value)
    if not 2 <= len(found) <= 3 or len({*found}) != len(found) or len({one[:-1] for one in found}) != 1:  # noqa: PLR2004 - said
        raise Refusal(allowed)
    return found


def tags(value: object) -> Mapping[str, str]:
    """AWS tags."""
    key = checks.text(r"(?!aws:)[\w .:/=+@-]{1,128}", "tag keys of 1 to 128 characters without aws: before")
    content = checks.text(r"[\w .:/=+@-]{0,256}", "tag values of at most 256 letters, digits and _.:/=+-@")
    found = checks.mapping_of(key, content)(value)
    if len(found) > _MAX_TAGS:
        raise Refusal(f"at most {_MAX_TAGS} tags")
    return found


def ids(check: Check[str], *, at_least: int = 1) -> Check[Sequence[str]]:
    """A list of so many different ids."""

    def check_all(value: object) -> Sequence[str]:
        found = checks.list_of(check, at_least=at_least)(value)
        if len({*found}) != len(found):
            raise Refusal("ids that are all different")
        return found

    return check_all
