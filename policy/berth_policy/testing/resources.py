"""Resources given as data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"
"""Stands for a value that a preview does not know; policies that read it cannot be judged."""
SIGNATURE = "4dabf18193072939515e22adb298388d"
SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - the protocol's signature of a secret
OUTPUT_VALUE = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
PROJECT = "project"
STACK = "stack"
STACK_TYPE = "pulumi:pulumi:Stack"


def secret(value: Any) -> dict[str, Any]:
    """A secret, as Pulumi writes it; policies see its value."""
    return {SIGNATURE: SECRET, "value": value}


def output_value(value: Any = UNKNOWN) -> dict[str, Any]:
    """An output value, as Pulumi writes it; without a value it is unknown."""
    return {SIGNATURE: OUTPUT_VALUE, **({} if value == UNKNOWN else {"value": value})}


@dataclass(frozen=True)
class Given:
    """A resource as a policy is to see it.

    Attributes:
        type: its type token, such as kubernetes:apps/v1:Deployment.
        name: its name in the program.
        inputs: its inputs in camelCase; may hold UNKNOWN, secrets and output values.
        outputs: its outputs, that stack policies see; the inputs where None.
        urn: its URN; made from stack, project, type and name where "".
        parent: its parent's URN, or "".
        dependencies: URNs of what it depends on.
        references: by input, URNs of the resources that its value comes from.
        provider: its provider, or None.
        protect: whether it may not be deleted.
    """

    type: str
    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] | None = None
    urn: str = ""
    parent: str = ""
    dependencies: Sequence[str] = ()
    references: Mapping[str, Sequence[str]] = field(default_factory=dict)
    provider: "Given | None" = None
    protect: bool = False

    def urn_in(self, stack: str, project: str) -> str:
        """Its URN in a stack."""
        return self.urn or f"urn:pulumi:{stack}::{project}::{self.type}::{self.name}"

    def but(self, **changes: Any) -> "Given":
        """The same with some fields replaced."""
        return replace(self, **changes)


def given(kind: str, name: str, inputs: Mapping[str, Any] | None = None, **others: Any) -> Given:
    """A resource of a type, by name, with inputs; `others` are further fields of `Given`."""
    return Given(kind, name, inputs or {}, **others)


def flat(value: Any) -> Any:
    """A value as the engine hands it to policies: secrets and output values replaced by what they hold.

    Numbers become doubles, and mappings' null values stay, as in the protocol.
    """
    if isinstance(value, Mapping):
        kind = value.get(SIGNATURE)
        if kind == SECRET:
            return flat(value.get("value"))
        if kind == OUTPUT_VALUE:
            return flat(value["value"]) if "value" in value else UNKNOWN
        return {str(key): flat(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [flat(item) for item in value]
    return value
