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

from pulumi.runtime.proto import analyzer_pb2

from . import urns
from .readiness import seconds
from .values import RESOURCE, UNKNOWN, Secret, Special, encode

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
            properties=encode(_flat(self.inputs, internal=internal)),
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
            properties=encode(_flat(self.outputs, internal=False)),
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
            properties=encode(_flat(inputs, internal=False)),
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


def _flat(value: Any, *, internal: bool) -> Any:
    """The value in what a pack's runtime reads; a reference to a resource is its id, or its URN."""
    if isinstance(value, Mapping):
        return {
            key: _flat(item, internal=internal)
            for key, item in value.items()
            if internal or not key.startswith("__")
        }
    if isinstance(value, list):
        return [_flat(item, internal=internal) for item in value]
    if isinstance(value, Secret):
        return Secret(_flat(value.value, internal=internal))
    if isinstance(value, Special):
        if value.kind == RESOURCE:
            return value.fields["id"] or UNKNOWN if "id" in value.fields else value.fields.get("urn")
        return Special(value.kind, {k: _flat(item, internal=internal) for k, item in value.fields.items()})
    return value


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
