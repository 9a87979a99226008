"""Grants on Google Cloud: resources that give a role to members."""

from collections.abc import Iterator

from pulumi_policy.proxy import UnknownValueError

from berth_policy.reading import has, made_from
from berth_policy.subject import Resource, sequence

PACKAGE = ("gcp:",)
MADE_HERE = "serviceAccount:(made here)"
"""Stands for the member that an account of the same program will be."""
_KINDS = ("iammember", "iambinding")
_ACCOUNTS = ("gcp:serviceaccount/account:", "gcp:projects/serviceIdentity:")


def is_grant(resource: Resource) -> bool:
    """Whether it gives a role to somebody."""
    return resource.token.rpartition(":")[2].lower().endswith(_KINDS)


def members(resource: Resource) -> Iterator[tuple[str, str]]:
    """Each member with its place.

    A member that a preview does not know, but that is made of a service account's address, is MADE_HERE:
    everybody and Google's default accounts are constants, and those are known.

    Raises:
        UnknownValueError: a preview does not know one; the others came before.
    """
    unknown: UnknownValueError | None = None
    if has(resource.props, "member"):
        try:
            yield "member", str(resource.props.get("member"))
        except UnknownValueError as error:
            if made_from(resource, "member", *_ACCOUNTS):
                yield "member", MADE_HERE
            else:
                unknown = error
    listed = sequence(resource.props.get("members")) if has(resource.props, "members") else ()
    for number in range(len(listed)):
        try:
            yield f"members[{number}]", str(listed[number])
        except UnknownValueError as error:
            unknown = unknown or error
    if unknown is not None:
        raise unknown
