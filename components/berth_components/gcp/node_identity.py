"""The service account of a cluster's nodes: what GKE needs to run them, and reading images."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi
from pulumi_gcp import artifactregistry, projects, serviceaccount

from berth_components.arguments import combine
from berth_components.gcp.cluster_settings import Place

_NODE = "roles/container.defaultNodeServiceAccount"
_READ_IMAGES = "roles/artifactregistry.reader"
_LONGEST = 24


@dataclass(frozen=True)
class NodeIdentity:
    """The account's e-mail address, and the grants that nodes need before they start."""

    email: pulumi.Input[str]
    before: Sequence[pulumi.Resource]


def node_identity(
    prefix: str, name: pulumi.Input[str], place: Place, parent: pulumi.Resource
) -> NodeIdentity:
    """Make the account with its roles, or take the one that was named.

    Args:
        prefix: the component's name.
        name: the cluster's name, of which the account's ID is made.
        place: project, and what was said of the account.
        parent: the component.
    """
    if place.node_service_account is not None:
        return NodeIdentity(place.node_service_account, [])
    child = pulumi.ResourceOptions(parent=parent)
    account = serviceaccount.Account(
        f"{prefix}-nodes",
        project=place.project,
        account_id=combine(_account_id, name),
        display_name=pulumi.Output.format("Nodes of the cluster {0}", name),
        opts=child,
    )
    member = account.email.apply(lambda email: f"serviceAccount:{email}")
    grants: list[pulumi.Resource] = [
        projects.IAMMember(
            f"{prefix}-nodes-role", project=place.project, role=_NODE, member=member, opts=child
        )
    ]
    if place.image_repositories is None:
        grants.append(
            projects.IAMMember(
                f"{prefix}-nodes-images", project=place.project, role=_READ_IMAGES, member=member, opts=child
            )
        )
    for repository in place.image_repositories or ():
        _, project, _, location, _, short = repository.split("/")
        grants.append(
            artifactregistry.RepositoryIamMember(
                f"{prefix}-nodes-images-{project}-{location}-{short}",
                project=project,
                location=location,
                repository=short,
                role=_READ_IMAGES,
                member=member,
                opts=child,
            )
        )
    return NodeIdentity(account.email, grants)


def _account_id(cluster: str) -> str:
    # IDs have 6 to 30 characters, a cluster's name may have 40; the digest keeps two long ones apart.
    if len(cluster) <= _LONGEST:
        return f"{cluster}-nodes"
    digest = hashlib.sha256(cluster.encode()).hexdigest()[:6]
    return f"{cluster[:17].rstrip('-')}-{digest}-nodes"
