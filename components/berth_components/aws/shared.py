"""What the components on AWS have in common: explicit providers, regions, roles and policies."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as kubernetes
from pulumi_aws import iam

from berth_components.arguments import ArgumentError, Arguments, Check, combine

T = TypeVar("T")
Json = Mapping[str, object]
POD_IDENTITY_ADDRESS = "169.254.170.23/32"
"""Where EKS' Pod Identity agent answers on every node (pod-id-how-it-works in EKS' user guide)."""
POD_IDENTITY_ADDRESS_V6 = "fd00:ec2::23/128"


ROLE_NAME = 64
"""Longest name of an IAM role (CreateRole in IAM's API, botocore 1.44.5)."""
_RANDOM = 8


def check_name(who: str, name: str, suffix: str, longest: int) -> None:
    """Refuse a component's name that AWS would refuse in the middle of an update.

    Pulumi names what has no name of its own <component>-<suffix>-<7 random characters>.

    Args:
        who: the component, for the error.
        name: its name.
        suffix: the longest that it gives to a resource whose name AWS limits.
        longest: that limit, in characters.

    Raises:
        ArgumentError: it is too long.
    """
    most = longest - _RANDOM - len(suffix)
    if len(name) > most:
        given = f"(the component's) has {len(name)} characters"
        reason = (
            f"AWS takes {longest} for '{name}{suffix}-' and 7 random ones; in a stack shorten the site's key"
        )
        raise ArgumentError(who, "name", given, f"at most {most}", reason)


def partition_of(region: str) -> str:
    """The partition that a region belongs to: the first part of every ARN after `arn:`."""
    for prefix, partition in (("cn-", "aws-cn"), ("us-gov-", "aws-us-gov"), ("eusc-", "aws-eusc")):
        if region.startswith(prefix):
            return partition
    return "aws"


class Place:
    """Where a component's resources go: the region of its provider, which must be an explicit one.

    Attributes:
        region: such as eu-central-1.
        partition: aws, aws-cn, aws-us-gov or aws-eusc.
    """

    def __init__(self, component: pulumi.ComponentResource, who: str) -> None:
        """Find it.

        Raises:
            ArgumentError: no AWS provider was passed, or one without a region.
        """
        provider = component.get_provider("aws:index/region:Region")
        if provider is None:
            raise ArgumentError(
                who,
                "opts",
                "has no AWS provider",
                "an explicit one with a region",
                'pass pulumi.ResourceOptions(provider=aws.Provider("…", region="…"))',
            )

        def known(region: str | None) -> str:
            if not region:
                raise ArgumentError(
                    who, "opts", "has an AWS provider without a region", 'aws.Provider("…", region="…")'
                )
            return region

        if isinstance(provider, aws.Provider):
            self.region: pulumi.Output[str] = provider.region.apply(known)
        else:
            # From another language the provider is a reference, whose properties are not there.
            found = aws.get_region_output(opts=pulumi.InvokeOutputOptions(parent=component))
            self.region = found.region
        self.partition: pulumi.Output[str] = self.region.apply(partition_of)

    def managed_policy(self, path: str) -> pulumi.Output[str]:
        """ARN of a policy that AWS manages, such as service-role/AmazonEBSCSIDriverPolicy."""
        return pulumi.Output.concat("arn:", self.partition, ":iam::aws:policy/", path)

    def access_policy(self, name: str) -> pulumi.Output[str]:
        """ARN of one of EKS' access policies, such as AmazonEKSClusterAdminPolicy."""
        return pulumi.Output.concat("arn:", self.partition, ":eks::aws:cluster-access-policy/", name)

    def ec2_principal(self) -> pulumi.Output[str]:
        """EC2 as a service principal, whose name in China has a suffix of its own."""

        def principal(partition: str) -> str:
            return "ec2.amazonaws.com.cn" if partition == "aws-cn" else "ec2.amazonaws.com"

        return self.partition.apply(principal)


def require_kubernetes(component: pulumi.ComponentResource, who: str) -> None:
    """Refuse to fall back on whatever cluster a kubeconfig happens to name.

    Raises:
        ArgumentError: no Kubernetes provider was passed.
    """
    if not isinstance(component.get_provider("kubernetes:core/v1:Namespace"), pulumi.ProviderResource):
        raise ArgumentError(
            who,
            "opts",
            "has no Kubernetes provider",
            "an explicit one",
            'pass pulumi.ResourceOptions(providers={"kubernetes": cluster.provider, "aws": …})',
        )


def cluster_provider(
    name: str,
    kubeconfig: pulumi.Input[str],
    identifier: pulumi.Input[str],
    opts: pulumi.ResourceOptions,
) -> kubernetes.Provider:
    """A provider for a cluster; its identifier keeps a changed kubeconfig from replacing every object.

    ConfigMaps and Secrets are changed in place: Pulumi's default is to replace them, which would take API
    keys away from running model servers for a moment.
    """
    return kubernetes.Provider(
        f"{name}-provider",
        kubeconfig=kubeconfig,
        cluster_identifier=identifier,
        enable_config_map_mutable=True,
        enable_secret_mutable=True,
        opts=opts,
    )


def document(statements: Sequence[Json]) -> pulumi.Output[str]:
    """An IAM policy document; its statements may hold outputs."""
    return pulumi.Output.json_dumps({"Version": "2012-10-17", "Statement": [*statements]})


def trust(
    principal: pulumi.Input[str], conditions: Json | None = None, *, tag: bool = False
) -> pulumi.Output[str]:
    """Who may take a role on: one AWS service; `tag` lets it pass session tags on, as EKS does."""
    actions = ["sts:AssumeRole", "sts:TagSession"] if tag else ["sts:AssumeRole"]
    statement: dict[str, object] = {
        "Effect": "Allow",
        "Principal": {"Service": principal},
        "Action": actions,
    }
    if conditions:
        statement["Condition"] = conditions
    return document([statement])


def pod_trust(namespace: pulumi.Input[str], account: pulumi.Input[str]) -> pulumi.Output[str]:
    """Who may take a role on: pods with one service account (pod-id-role in EKS' user guide)."""
    tags = {
        "aws:RequestTag/kubernetes-namespace": namespace,
        "aws:RequestTag/kubernetes-service-account": account,
    }
    return trust("pods.eks.amazonaws.com", {"StringEquals": tags}, tag=True)


def role(  # noqa: PLR0917 - they are what a role is
    name: str,
    description: str,
    trusted: pulumi.Input[str],
    managed: Mapping[str, pulumi.Input[str]],
    tags: pulumi.Input[Mapping[str, str]],
    opts: pulumi.ResourceOptions,
) -> tuple[iam.Role, list[pulumi.Resource]]:
    """A role with policies that AWS manages, by a short name each; and what whoever uses it must await."""
    made = iam.Role(name, description=description, assume_role_policy=trusted, tags=tags, opts=opts)
    attached = [
        iam.RolePolicyAttachment(
            f"{name}-{short}",
            role=made.name,
            policy_arn=arn,
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=[made])),
        )
        for short, arn in managed.items()
    ]
    return made, [made, *attached]


def tagged(tags: pulumi.Input[Mapping[str, str]], **further: str) -> pulumi.Input[Mapping[str, str]]:
    """Tags with further ones."""

    def merge(known: Mapping[str, str]) -> Mapping[str, str]:
        return {**known, **further}

    return combine(merge, tags)


def needed(given: Arguments, key: str, check: Check[T]) -> T:
    """An argument without a default that the program knows; the strict checker sees its type."""
    return given.plain(key, check)  # pyright: ignore[reportAny] # the default is the reader's sentinel


def needed_input(given: Arguments, key: str, check: Check[T]) -> pulumi.Input[T]:
    """An argument without a default, which may be an output."""
    return given.read(key, check)  # pyright: ignore[reportAny] # the default is the reader's sentinel


def kubeconfig(
    cluster: pulumi.Input[str],
    context: pulumi.Input[str],
    endpoint: pulumi.Input[str],
    authority: pulumi.Input[str],
    region: pulumi.Input[str],
) -> pulumi.Output[str]:
    """A kubeconfig whose token AWS' command line makes, from whatever credentials it finds (exec plugin)."""
    arguments = ["eks", "get-token", "--output", "json", "--cluster-name", cluster, "--region", region]
    return pulumi.Output.json_dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": context,
            "contexts": [{"name": context, "context": {"cluster": context, "user": context}}],
            "clusters": [
                {
                    "name": context,
                    "cluster": {"server": endpoint, "certificate-authority-data": authority},
                }
            ],
            "users": [
                {
                    "name": context,
                    "user": {
                        "exec": {
                            "apiVersion": "client.authentication.k8s.io/v1beta1",
                            "command": "aws",
                            "args": arguments,
                            "interactiveMode": "Never",
                        }
                    },
                }
            ],
        }
    )
