"""What the policies of a run get to see: each resource as it is registered, and the stack when all are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import foreign, urns
from .desired import Resource
from .policyvalues import Subject, default_provider
from .values import UNKNOWN, Secret

if TYPE_CHECKING:
    from .desired import Desired
    from .policy import Policies
    from .request import RunRequest
    from .session import Session

COMPUTED = "What a provider computes: "  # the launcher's words, followed by JSON: type, names
_PROVIDERS = "pulumi:providers:"


class Watch:
    """Shows a session's resources to policies, in the way of the Pulumi engine.

    That is: components, providers and the stack itself, too; the provider that Pulumi makes where none is
    named; nothing that is only read.
    """

    def __init__(self, policies: Policies, session: Session) -> None:
        self.policies = policies
        self._session = session
        self._subjects: dict[str, Subject] = {}
        self._registered: dict[str, Mapping[str, Any]] = {}
        self._computed: dict[str, list[str]] = {}

    def heard(self, message: str) -> None:
        """Take in what the launcher says of a type: which outputs only the provider knows."""
        if message.startswith(COMPUTED):
            said = json.loads(message.removeprefix(COMPUTED))
            self._computed[said["type"]] = said["names"]

    def registered(self, urn: str, outputs: Mapping[str, Any]) -> None:
        """Keep the outputs of a component or of the stack."""
        self._registered[urn] = outputs

    async def structure(self, resource: Resource) -> None:
        """Show a component, a provider, the stack, or a resource of which nothing but its inputs is known.

        Raises:
            ForbiddenError: this run would deploy it, and may not.
        """
        subject = await self._check(resource, resource.inputs)
        resource.inputs = subject.inputs

    async def object(self, resource: Resource, desired: Desired) -> bool:
        """Show a Kubernetes resource; true where its inputs have changed, so that its object is another one.

        Raises:
            ForbiddenError: this run would deploy it, and may not.
        """
        before = _completed(resource.inputs, desired)
        subject = await self._check(resource, before)
        if subject.inputs is before:
            return False
        resource.inputs = _without_generated(subject.inputs, resource.inputs, desired)
        return True

    async def _check(self, resource: Resource, inputs: Mapping[str, Any]) -> Subject:
        provider, is_default = self._provider(resource)
        if provider is not None and is_default and provider[0] not in self._subjects:
            urn, type_, config = provider
            made = Subject(Resource(urn, type_, urns.name_of(urn), inputs=config), config, outputs=config)
            self._subjects[urn] = made
            await self._judge(made)
        subject = self._subjects[resource.urn] = Subject(resource, inputs, provider)
        await self._judge(subject)
        return subject

    async def _judge(self, subject: Subject) -> None:
        if await self.policies.check(subject):
            self._session.context.redactor.add_secrets(subject.inputs)
        if not self.policies.dry_run:
            self.policies.require_allowed(subject)

    def _provider(self, resource: Resource) -> tuple[tuple[str, str, Mapping[str, Any]] | None, bool]:
        """The provider's resource, and whether it is one that the program does not name."""
        package = resource.type.partition(":")[0]
        if not resource.custom or package == "pulumi":
            return None, False
        resources = self._session.resources
        reference, above = resource.provider_ref, resources.get(resource.parent)
        while not reference and above is not None:
            reference = above.providers.get(package, "")
            above = resources.get(above.parent)
        named = resources.get(reference.rpartition("::")[0])
        if named is not None:
            return (named.urn, named.type, named.inputs), False
        request = self._session.request
        return default_provider(
            request.project, request.stack, package, resource.version, _config(request)
        ), True

    def subjects(self) -> list[Subject]:
        """Every resource with what it came to, in the order of registration."""
        for urn, subject in self._subjects.items():
            if urn in self._session.resources:
                subject.outputs = self._outputs(self._session.resources[urn])
        return list(self._subjects.values())

    def _outputs(self, resource: Resource) -> Mapping[str, Any]:
        if outcome := self._session.outcomes.get(resource.urn):
            return outcome.outputs
        if not resource.custom:
            return self._registered.get(resource.urn, {})
        if resource.type.startswith(_PROVIDERS):
            return resource.inputs
        unknown = dict.fromkeys(self._computed.get(resource.type, ()), UNKNOWN)
        return {**unknown, **foreign.outputs(resource)}


def _config(request: RunRequest) -> dict[str, Any]:
    return {k: Secret(v) if k in request.secret_keys else v for k, v in request.config.items()}


def _completed(inputs: Mapping[str, Any], desired: Desired) -> dict[str, Any]:
    """The inputs with the name and the namespace that the object gets, which Pulumi's provider fills in."""
    metadata = inputs.get("metadata", {})
    if not isinstance(metadata, Mapping):
        return dict(inputs)
    key = desired.key
    known = {"name": key.name, "namespace": key.namespace}
    return {**inputs, "metadata": {**{name: value for name, value in known.items() if value}, **metadata}}


def _without_generated(
    inputs: Mapping[str, Any], before: Mapping[str, Any], desired: Desired
) -> Mapping[str, Any]:
    """The inputs without a name that was only generated, so that it stays one."""
    metadata, earlier = inputs.get("metadata"), before.get("metadata", {})
    if not isinstance(metadata, Mapping) or not isinstance(earlier, Mapping) or "name" in earlier:
        return inputs
    if metadata.get("name") != desired.key.name:
        return inputs
    return {**inputs, "metadata": {key: value for key, value in metadata.items() if key != "name"}}
