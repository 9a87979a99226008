"""What one Kubernetes service account may do in Google Cloud, without a key."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import pulumi
from pulumi_gcp import projects, serviceaccount, storage

from berth_components import checks
from berth_components.arguments import Arguments, Refusal
from berth_components.gcp import checks as gcp_checks
from berth_components.gcp.project import number_of
from berth_components.gcp.shared import load_quietly, needed, needed_input, require_google

_BASIC = ("roles/owner", "roles/editor", "roles/viewer")
_ROLE = re.compile(r"(roles/[A-Za-z0-9._]+|(projects|organizations)/[^/]+/roles/[A-Za-z0-9_.]+)")


class BucketRoleArgs(TypedDict):
    """A role on one bucket."""

    bucket: str
    """The bucket's name, without gs://. With the role it names the grant, so the program must know it."""
    role: NotRequired[str]
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
    project_roles: NotRequired[Sequence[str]]
    """Roles in the whole project. Default: none. The basic ones (owner, editor, viewer) are refused."""


class GkeWorkloadIdentity(pulumi.ComponentResource):
    """Gives one Kubernetes service account roles on buckets, or in the project, and nothing more.

    It makes no Kubernetes object. Google makes the project's pool of identities with its first cluster, and
    knows no member of it before ("Identity Pool does not exist"): pass `depends_on=[cluster]` in the options.
    Pods of the account need a way to GKE's metadata server through their network policies: 169.254.169.254
    and 169.254.169.252, ports 80 and 988.
    """

    member: pulumi.Output[str]
    """Who has the roles, as IAM spells it."""
    email: pulumi.Output[str]
    """E-mail address of Google's service account; "" in mode direct."""
    annotations: pulumi.Output[Mapping[str, str]]
    """What the Kubernetes service account must be annotated with; empty in mode direct."""

    def __init__(
        self, name: str, args: GkeWorkloadIdentityArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        """Declare it.

        Raises:
            ArgumentError: an argument is unknown, missing, not allowed, or contradicts another one.
        """
        who = f"GkeWorkloadIdentity '{name}'"
        given = Arguments(who, args, GkeWorkloadIdentityArgs)
        settings = _read(given, name)
        super().__init__("berth:gcp:GkeWorkloadIdentity", name, {}, opts)
        require_google(self, who)
        load_quietly(lambda: storage.BucketIAMMember)
        child = pulumi.ResourceOptions(parent=self)
        self.email = pulumi.Output.from_input("")
        nothing: Mapping[str, str] = {}
        self.annotations = pulumi.Output.from_input(nothing)
        if settings.account_id is None:
            self.member = pulumi.Output.format(
                "principal://iam.googleapis.com/projects/{0}/locations/global/workloadIdentityPools/"
                "{1}.svc.id.goog/subject/ns/{2}/sa/{3}",
                number_of(settings.project, settings.project_number, self),
                settings.project,
                settings.namespace,
                settings.service_account,
            )
        else:
            self._make_account(name, settings, settings.account_id)
        # Named by what they are, not by their place: a grant that moved in a list would be made once more
        # under its new name, and then taken away under the old one.
        for grant in settings.buckets:
            storage.BucketIAMMember(
                f"{name}-{grant.bucket}-{_slug(grant.role)}",
                bucket=grant.bucket,
                role=grant.role,
                member=self.member,
                opts=child,
            )
        for role in settings.project_roles:
            projects.IAMMember(
                f"{name}-{_slug(role)}",
                project=settings.project,
                role=role,
                member=self.member,
                opts=child,
            )
        self.register_outputs({"member": self.member, "email": self.email, "annotations": self.annotations})

    def _make_account(self, name: str, settings: "_Settings", account_id: str) -> None:
        child = pulumi.ResourceOptions(parent=self)
        account = serviceaccount.Account(
            f"{name}-account",
            project=settings.project,
            account_id=account_id,
            display_name=pulumi.Output.format(
                "Pods of {0}/{1}", settings.namespace, settings.service_account
            ),
            opts=child,
        )
        serviceaccount.IAMMember(
            f"{name}-acts-as",
            service_account_id=account.name,
            role="roles/iam.workloadIdentityUser",
            member=pulumi.Output.format(
                "serviceAccount:{0}.svc.id.goog[{1}/{2}]",
                settings.project,
                settings.namespace,
                settings.service_account,
            ),
            opts=child,
        )
        self.email = account.email
        self.member = pulumi.Output.format("serviceAccount:{0}", account.email)
        self.annotations = account.email.apply(_annotation)


@dataclass(frozen=True)
class _Grant:
    bucket: str
    role: str


@dataclass(frozen=True)
class _Settings:
    project: pulumi.Input[str]
    project_number: pulumi.Input[str] | None
    namespace: pulumi.Input[str]
    service_account: pulumi.Input[str]
    account_id: str | None
    buckets: Sequence[_Grant]
    project_roles: Sequence[str]


def _annotation(email: str) -> Mapping[str, str]:
    return {"iam.gke.io/gcp-service-account": email}


def _read(given: Arguments, name: str) -> _Settings:
    direct = given.plain("mode", checks.choice("direct", "google-service-account"), "direct") == "direct"
    if direct and "account_id" in given:
        raise given.refuse("account_id", "given", "only with mode google-service-account", "mode is direct")
    if not direct and "project_number" in given:
        raise given.refuse(
            "project_number", "given", "only in mode direct", "no name is made of it otherwise"
        )
    none: Sequence[str] = ()
    settings = _Settings(
        project=needed_input(given, "project", gcp_checks.project_id),
        project_number=given.maybe("project_number", gcp_checks.project_number),
        namespace=needed_input(given, "namespace", checks.dns_label),
        service_account=needed_input(given, "service_account", checks.dns_label),
        account_id=None if direct else given.plain("account_id", _account_id, name),
        buckets=[
            _Grant(
                bucket=needed(one, "bucket", gcp_checks.bucket),
                role=one.plain("role", _role, "roles/storage.objectViewer"),
            )
            for one in given.groups("buckets", BucketRoleArgs)
        ],
        project_roles=given.plain("project_roles", checks.list_of(_role), none),
    )
    if not settings.buckets and not settings.project_roles:
        raise given.refuse(
            "buckets", "empty", "at least one of buckets or project_roles", "it may do nothing"
        )
    if len(set(settings.buckets)) < len(settings.buckets):
        raise given.refuse("buckets", "a list with one entry twice", "each bucket and role once")
    if len(set(settings.project_roles)) < len(settings.project_roles):
        raise given.refuse("project_roles", list(settings.project_roles), "each role once")
    return settings


def _slug(role: str) -> str:
    return role.removeprefix("roles/").replace("/", "-")


def _account_id(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[a-z][-a-z0-9]{4,28}[a-z0-9]", value):
        raise Refusal("6 to 30 lower-case letters, digits and '-', beginning with a letter")
    return value


def _role(value: object) -> str:
    if not isinstance(value, str) or not _ROLE.fullmatch(value):
        raise Refusal("a role such as roles/storage.objectViewer")
    if value in _BASIC:
        raise Refusal(
            "roles for what the pods really do",
            f"{value} covers every service of the project; for weights in a bucket give buckets",
        )
    return value
