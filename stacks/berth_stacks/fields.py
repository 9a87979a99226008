"""The kinds of values that settings have. Their limits are the components' own checks, said once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from berth_components import checks
from berth_components.arguments import Refusal
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

Json = dict[str, Any]


def _listed(schema: tuple[tuple[str, Any], ...]) -> Json:
    """As JSON has it."""
    return {key: [*value] if isinstance(value, tuple) else value for key, value in schema}


@dataclass(frozen=True)
class Hint:
    """What editors are told of a field whose limits a component checks; a test compares the two."""

    schema: tuple[tuple[str, Any], ...]
    kind: str = "a whole number"

    @property
    def described(self) -> str:
        """What it allows, in words."""
        known = dict(self.schema)
        if "enum" in known:
            return "one of " + ", ".join(known["enum"])
        return f"{self.kind} from {known['minimum']} to {known['maximum']}"

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        """Pydantic's own, with the hint."""
        return {**handler(schema), **_listed(self.schema)}


@dataclass(frozen=True)
class Allowed:
    """A check of the components, as a constraint of a field; `schema` says the same to editors."""

    check: Callable[[Any], Any]
    schema: tuple[tuple[str, Any], ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Run the check before pydantic's own."""
        return core_schema.no_info_before_validator_function(self._run, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Json:
        """Pydantic's own, with what the check allows."""
        return {**handler(schema), **_listed(self.schema)}

    @property
    def described(self) -> str:
        """What it allows, in words."""
        try:
            self.check(None)
        except Refusal as refusal:
            return refusal.allowed
        return "a value"

    def _run(self, value: Any) -> Any:
        try:
            return self.check(value)
        except Refusal as refusal:
            context = {"allowed": refusal.allowed, "remedy": refusal.remedy}
            raise PydanticCustomError("berth", "{allowed}", context) from None


def within(low: int, high: int, unit: str = "") -> Allowed:
    """A whole number within limits that no component could say early enough."""
    return Allowed(checks.whole_number(low, high, unit), (("minimum", low), ("maximum", high)))


def one_of(*allowed: str) -> Allowed:
    """One of some words that no component could say early enough."""
    return Allowed(checks.choice(*allowed), (("enum", allowed),))


def limits(low: float, high: float, kind: str = "a whole number") -> Hint:
    """A number from one limit to another, both included."""
    return Hint((("minimum", low), ("maximum", high)), kind)


def words(*allowed: str) -> Hint:
    """One of some words."""
    return Hint((("enum", allowed),))


def _node_address(value: Any) -> str:
    return checks.text(r"[A-Za-z0-9.:-]{1,253}", "an address or host name, without scheme and port")(value)


def _pattern(pattern: str) -> tuple[tuple[str, Any], ...]:
    return (("pattern", f"^({pattern})$"),)


Name = Annotated[str, Allowed(checks.dns_label, _pattern(checks.DNS_LABEL.pattern))]
Text = Annotated[str, Allowed(checks.plain_text, (("minLength", 1),))]
Flag = Annotated[bool, Allowed(checks.boolean)]
Quantity = Annotated[
    str, Allowed(checks.quantity, _pattern(r"[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?"))
]
Cidr = Annotated[str, Allowed(checks.cidr, _pattern(r"[0-9a-fA-F.:]+/[0-9]{1,3}"))]
Image = Annotated[str, Allowed(checks.image)]
LabelKey = Annotated[str, Allowed(checks.qualified_name)]
LabelValue = Annotated[str, Allowed(checks.label_value, (("maxLength", 63),))]
Labels = dict[LabelKey, LabelValue]
# YAML reads an unquoted version as a number, which loses a zero at its end.
KubernetesVersion = Annotated[
    str, Allowed(checks.text(r"1\.[1-9][0-9](\.[0-9A-Za-z.-]+)?", "a version in quotes, such as '1.34'"))
]
NodeAddress = Annotated[str, Allowed(_node_address)]
# Numbers with limits that depend on the component: the component checks them, see component_rules.py.
Whole = Annotated[int, Allowed(checks.whole_number(-(10**12), 10**12))]
Number = Annotated[float, Allowed(checks.number(-1e12, 1e12))]


class Settings(BaseModel):
    """A group of settings: unknown keys are errors, values keep their type."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, strict=True)
