"""Nobody on Google Cloud has a role for everything."""

import re
from collections.abc import Iterator

from berth_policy.identity._google import PACKAGE, is_grant
from berth_policy.reading import has
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource

_BASIC = {"roles/owner", "roles/editor", "roles/viewer", "roles/admin", "roles/writer", "roles/reader"}
_ADMIN = re.compile(r"roles/(iam\.\w*|resourcemanager\.\w*|container\.(cluster)?|\w+\.)[aA]dmin$")
_PROJECT = ("gcp:projects/", "gcp:folder/", "gcp:organizations/")
_IMPERSONATE = {
    "roles/iam.serviceAccountTokenCreator",
    "roles/iam.serviceAccountUser",
    "roles/iam.serviceAccountKeyAdmin",
    "roles/iam.workloadIdentityUser",
    "roles/iam.securityAdmin",
}


def check(resource: Resource) -> Iterator[Finding]:
    """Look at the role that is given."""
    if not is_grant(resource) or not has(resource.props, "role"):
        return
    role = str(resource.props.get("role"))
    if role in _BASIC:
        yield Finding(f"role is {role}", "a role for what is needed")
    elif resource.token.startswith(_PROJECT) and (role in _IMPERSONATE or _ADMIN.match(role)):
        yield Finding(f"role is {role}, for all of a project", "a role for what is needed, on one resource")


RULE = Rule(
    name="google-basic-roles",
    group="identity",
    title="Nobody is owner, editor or viewer, nor administrator of a whole project.",
    why="The basic roles cover every service of a project; an administrator gives itself all others.",
    fix="Give predefined roles, on the resource they are needed for.",
    types=PACKAGE,
    answers=("CIS GCP 1.6", "CIS GCP 1.7", "CKV_GCP_41", "CKV_GCP_42", "CKV_GCP_49", "CKV_GCP_117"),
    check=check,
)
