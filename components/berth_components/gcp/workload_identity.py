"""What one Kubernetes service account may do in Google Cloud, without a key."""

import re
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict

import pulumi
import pulumi_gcp.projects as projects
import pulumi_gcp.serviceaccount as serviceaccount
import pulumi_gcp.storage as storage

from berth_components import checks
from berth_components.arguments import Arguments, Refusal
from berth_components.gcp import checks as gcp_checks
from berth_components.gcp.project import number_of

_BASIC = ("roles/owner", "roles/editor", "roles/viewer")
_ROLE = re.compile(r"(roles/[A-Za-z0-9._]+|(projects|organizations)/[^/]+/roles/[A-Za-z0-9_.]+)")


class BucketRoleArgs(TypedDict):
    """A role on one bucket."""

    bucket: pulumi.Input[str]
    """The bucket's name, without gs://."""
    role: NotRequired[pulumi.Input[str]]
    """The role. Default: roles/storage.objectViewer: read objects, and list them."""


class GkeWorkloadIdentityArgs(TypedDict):
    """Args of `GkeWorkloadIdentity`."""

    project: pulumi.Input[str]
    """The ID of the cluster's project: its pool of identities is <project>.svc.id.goog."""
    project_number: NotRequired[pulumi.Input[str]]
    """The project's number, a string. Default: looked up, in mode direct (resourcemanager.projects.get)."""
    namespace: pulumi.Input[str]
    """The Kubernetes service account's namespace."""
    service_account: pulumi.Input[str]
    """The Kubernetes service account."""
    mode: NotRequired[str]
    """direct (default): the Kubernetes service account itself gets the roles. google-service-account: a
    service account of Google gets them and the Kubernetes one acts as it, for services that know no
    federated identities; set the output `annotations` on the Kubernetes service account then."""
    account_id: NotRequired[str]
    """Of google-service-account: its ID, 6 to 30 characters. Default: the component's name."""
    buckets: NotRequired[Sequence[BucketRoleArgs]]
    """Roles on buckets. Default: none."""
    project_roles: NotRequired[Sequence[pulumi.Input[str]]]
    """Roles in the whole project. Default: none. The basic ones (owner, editor, viewer) are refused."""
