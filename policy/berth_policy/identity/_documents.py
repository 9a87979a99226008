"""Policy documents of IAM, as JSON or as objects: their statements, and what each says."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from pulumi_policy.proxy import UNKNOWN_STRING_VALUE, UnknownValueError

from berth_policy.reading import has, items, one_or_many
from berth_policy.subject import Resource, mapping, sequence

IDENTITY = ("aws:iam/policy:", "aws:iam/rolePolicy:", "aws:iam/groupPolicy:", "aws:iam/userPolicy:")
"""Resources whose `policy` says what somebody may do."""
ROLES = ("aws:iam/role:",)
"""Roles: `assumeRolePolicy` says who takes them on, `inlinePolicies` what they may do."""
RESOURCE = (
    "aws:kms/key:",
    "aws:kms/keyPolicy:",
    "aws:kms/externalKey:",
    "aws:ecr/repositoryPolicy:",
    "aws:ecr/registryPolicy:",
    "aws:s3/bucketPolicy:",
    "aws:s3/bucket:",
    "aws:sns/topic:",
    "aws:sns/topicPolicy:",
    "aws:sqs/queue:",
    "aws:sqs/queuePolicy:",
    "aws:secretsmanager/secret:",
    "aws:secretsmanager/secretPolicy:",
    "aws:cloudwatch/logResourcePolicy:",
    "aws:lambda/permission:",
)
"""Resources whose `policy` says who may use them."""
_LOOSE = {"StringNotEquals", "StringNotLike", "StringNotEqualsIgnoreCase", "ArnNotEquals", "ArnNotLike"}
_LOOSE |= {"NotIpAddress", "Null"}


class DocumentError(ValueError):
    """A document cannot be read as one of IAM's."""


@dataclass(frozen=True)
class Statement:
    """One statement of a document.

    Attributes:
        path: where it is, such as "policy.Statement[0]".
        body: what it says.
    """

    path: str
    body: Mapping[str, Any]

    @property
    def allows(self) -> bool:
        """Whether it allows something; anything but a clear Deny does."""
        return bool(self.body.get("Effect") != "Deny")

    def words(self, key: str) -> list[str]:
        """The words under a key, whether there is one or a list.

        Raises:
            UnknownValueError: a preview does not know one.
        """
        return [_known(one, self.path, key) for one in one_or_many(self.body.get(key))]

    def principals(self) -> list[tuple[str, str]]:
        """Kind and name of everybody it is about; ("AWS", "*") for a bare star.

        Raises:
            UnknownValueError: a preview does not know one.
        """
        value = self.body.get("Principal")
        if value is None:
            return []
        if isinstance(value, str):
            return [("AWS", _known(value, self.path, "Principal"))]
        return [
            (kind, _known(one, self.path, "Principal"))
            for kind, names in mapping(value).items()
            for one in one_or_many(names)
        ]

    def conditions(self) -> dict[str, list[str]]:
        """The words that a request must match, by key in lower case, of operators that really hold it back.

        Left out are negations, and those that let a request pass that has no such key.
        """
        found: dict[str, list[str]] = {}
        for operator, tests in mapping(self.body.get("Condition")).items():
            name = operator.rpartition(":")[2]
            if name in _LOOSE or name.endswith("IfExists") or operator.startswith("ForAllValues:"):
                continue
            for key, values in mapping(tests).items():
                words = [_known(one, self.path, key) for one in one_or_many(values)]
                found.setdefault(key.lower(), []).extend(words)
        return found

    def narrowed_by(self, *keys: str) -> bool:
        """Whether a condition on one of these keys, by their beginnings in lower case, names something."""
        return any(
            key.startswith(keys) and words and not any(set(word) <= set("*?:/") for word in words)
            for key, words in self.conditions().items()
        )


@dataclass(frozen=True)
class Document:
    """A document that has not been read yet.

    Attributes:
        path: where it is, such as "policy".
        holder: what holds it.
        key: under which key.
    """

    path: str
    holder: Mapping[str, Any]
    key: str


def documents(resource: Resource) -> Iterator[Document]:
    """The documents of a resource that say what somebody may do."""
    if resource.token.startswith(IDENTITY) and has(resource.props, "policy"):
        yield Document("policy", resource.props, "policy")
    if resource.token.startswith(ROLES) and has(resource.props, "inlinePolicies"):
        for number, one in items(resource.props, "inlinePolicies"):
            if has(one, "policy"):
                yield Document(f"inlinePolicies[{number}].policy", mapping(one), "policy")


def parsed(given: Document) -> Mapping[str, Any]:
    """A document as an object.

    Raises:
        DocumentError: it is none, and no JSON of one.
        UnknownValueError: a preview does not know it.
    """
    document = given.holder.get(given.key)
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except ValueError as error:
            if UNKNOWN_STRING_VALUE in document:
                raise UnknownValueError(UNKNOWN_STRING_VALUE, [given.path]) from error
            raise DocumentError(f"{given.path} is no JSON") from error
    if not isinstance(document, Mapping):
        raise DocumentError(f"{given.path} is no object")
    return document


def statements(given: Document) -> list[Statement]:
    """The statements of a document.

    Raises:
        DocumentError: it cannot be read, or has none.
        UnknownValueError: a preview does not know it.
    """
    found = parsed(given).get("Statement")
    every = [found] if isinstance(found, Mapping) else [*sequence(found)]
    if not every or not all(isinstance(one, Mapping) for one in every):
        raise DocumentError(f"{given.path} has no statements")
    return [Statement(f"{given.path}.Statement[{number}]", one) for number, one in enumerate(every)]


def readable(document: Document) -> list[Statement]:
    """As `statements`; none where the document cannot be read, which the rule iam-documents reports."""
    try:
        return statements(document)
    except DocumentError:
        return []


def whole(statement: Statement) -> list[str]:
    """Words of Resource that leave open which one of a kind is meant."""
    return [one for one in statement.words("Resource") if _open(one)]


def scoped(action: str) -> bool:
    """Whether an action can be allowed for a named resource; one we know nothing of can."""
    service, _, name = action.partition(":")
    return name.lower() not in _unscoped().get(service.lower(), frozenset())


def _open(arn: str) -> bool:
    parts = arn.split(":", 5)
    if len(parts) < 6:  # noqa: PLR2004 - an ARN has six
        return "*" in arn
    last = parts[5].replace(":", "/").split("/")
    if parts[2] == "s3":
        return set(last[0]) <= set("*?")  # the bucket; keys in it have no type before them
    named = last[1:] if len(last) > 1 else last
    return all(set(one) <= set("*?") for one in named)


def _known(value: object, *path: str) -> str:
    text = str(value)
    if UNKNOWN_STRING_VALUE in text:
        raise UnknownValueError(UNKNOWN_STRING_VALUE, [*path])
    return text


@cache
def _unscoped() -> Mapping[str, frozenset[str]]:
    text = files("berth_policy.identity").joinpath("unscoped_actions.json").read_text("utf-8")
    return {
        service: frozenset(map(str.lower, names)) for service, names in json.loads(text)["actions"].items()
    }
