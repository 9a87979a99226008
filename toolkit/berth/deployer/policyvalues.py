"""Resources as a policy pack gets them: the messages of Pulumi's analyzer protocol.

What the Pulumi engine sends is followed: inputs to `Analyze`, outputs to `AnalyzeStack`; secrets marked,
which the pack's runtime opens; unknown values as the unknown string, on which the runtime gives up; no output
values and no references to resources, which it does not read; no keys that begin with `__`, but for
remediations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from google.protobuf import struct_pb2
from pulumi.runtime.proto import analyzer_pb2

from . import urns
from .readiness import seconds
from .values import RESOURCE, SECRET, SIGNATURE, UNKNOWN, UNKNOWN_STRING, Secret

if TYPE_CHECKING:
    from .desired import Resource

_PROVIDERS = "pulumi:providers:"


@dataclass
class Subject:
    """One resource that policies look at.

    Attributes:
        resource: as the program registered it; inputs with `Secret` and `UNKNOWN` in them.
        inputs: its inputs as its provider would check them.
        provider: the resource of its provider: URN, type, inputs; None for structure.
        outputs: what it ended up as, for the policies of the whole stack.
    """

    resource: Resource
    inputs: Mapping[str, Any] = field(repr=False)
    provider: tuple[str, str, Mapping[str, Any]] | None = field(default=None, repr=False)
    outputs: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def request(self, *, internal: bool = False) -> analyzer_pb2.AnalyzeRequest:
        """What `Analyze` is asked; with `internal`, which is for `Remediate`, keys with `__` stay."""
        resource = self.resource
        return analyzer_pb2.AnalyzeRequest(
            type=resource.type,
            properties=_struct(self.inputs, internal=internal),
            urn=resource.urn,
            name=resource.name,
            options=_options(resource),
            provider=self._provider(),
        )

    def in_stack(self) -> analyzer_pb2.AnalyzerResource:
        """The resource as `AnalyzeStack` is asked about it."""
        resource = self.resource
        return analyzer_pb2.AnalyzerResource(
            type=resource.type,
            properties=_struct(self.outputs, internal=False),
            urn=resource.urn,
            name=resource.name,
            options=_options(resource),
            provider=self._provider(),
            parent=resource.parent,
            dependencies=resource.depends_on,
            propertyDependencies={
                key: analyzer_pb2.AnalyzerPropertyDependencies(urns=found)
                for key, found in resource.references.items()
            },
        )

    def _provider(self) -> analyzer_pb2.AnalyzerProviderResource | None:
        if self.provider is None:
            return None
        urn, type_, inputs = self.provider
        return analyzer_pb2.AnalyzerProviderResource(
            type=type_,
            properties=_struct(inputs, internal=False),
            urn=urn,
            name=urns.name_of(urn),
        )


def _options(resource: Resource) -> analyzer_pb2.AnalyzerResourceOptions:
    times = {key: seconds(text) for key, text in resource.timeouts.items() if text}
    return analyzer_pb2.AnalyzerResourceOptions(
        protect=resource.protect,
        ignoreChanges=resource.ignore,
        deleteBeforeReplace=bool(resource.delete_first),
        deleteBeforeReplaceDefined=resource.delete_first is not None,
        additionalSecretOutputs=resource.secret_outputs,
        aliases=resource.aliases,
        customTimeouts=analyzer_pb2.AnalyzerResourceOptions.CustomTimeouts(**times),
        parent=resource.parent,
    )


def _struct(properties: Mapping[str, Any], *, internal: bool) -> struct_pb2.Struct:
    """Properties as a pack's runtime reads them. Written in place: half of the deployer's work is in here."""
    struct = struct_pb2.Struct()
    _fill(struct, properties, internal)
    return struct


def _fill(struct: struct_pb2.Struct, properties: Mapping[str, Any], internal: bool) -> None:
    fields = struct.fields
    for key, item in properties.items():
        if internal or not key.startswith("__"):
            _put(fields[key], item, internal)


def _put(value: struct_pb2.Value, item: Any, internal: bool) -> None:
    if isinstance(item, str):
        value.string_value = item
    elif isinstance(item, bool):
        value.bool_value = item
    elif isinstance(item, (int, float)):
        value.number_value = item
    elif item is None:
        value.null_value = struct_pb2.NULL_VALUE
    elif isinstance(item, (list, tuple)):
        values = value.list_value.values
        value.list_value.SetInParent()
        for one in item:
            _put(values.add(), one, internal)
    elif isinstance(item, Mapping):
        value.struct_value.SetInParent()
        _fill(value.struct_value, item, internal)
    else:
        _put_wrapped(value, item, internal)


def _put_wrapped(value: struct_pb2.Value, item: Any, internal: bool) -> None:
    if item is UNKNOWN:
        value.string_value = UNKNOWN_STRING
    elif isinstance(item, Secret):
        fields = value.struct_value.fields
        fields[SIGNATURE].string_value = SECRET
        _put(fields["value"], item.value, internal)
    elif item.kind == RESOURCE:  # a reference is its id, or its URN where there is none
        known = item.fields["id"] or UNKNOWN if "id" in item.fields else item.fields.get("urn")
        _put(value, known, internal)
    else:
        value.struct_value.fields[SIGNATURE].string_value = item.kind
        _fill(value.struct_value, item.fields, internal)


def default_provider(
    project: str, stack: str, package: str, version: str, config: Mapping[str, Any]
) -> tuple[str, str, Mapping[str, Any]]:
    """The provider that Pulumi makes where a program names none: of a version, configured by the stack.

    Args:
        project: the project's name.
        stack: the stack's name.
        package: such as `aws`.
        version: of the package's SDK; may be empty.
        config: the stack's configuration by full key, secret values as `Secret`.
    """
    name = f"default_{version.replace('.', '_')}" if version else "default"
    type_ = f"{_PROVIDERS}{package}"
    inputs = {
        key.partition(":")[2]: value for key, value in config.items() if key.partition(":")[0] == package
    }
    urn = urns.make(stack, project, "", type_, name)
    return urn, type_, {**inputs, **({"version": version} if version else {})}
