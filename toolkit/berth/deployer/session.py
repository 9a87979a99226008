"""One run of a program: what it registers, what it gets back, and what it may not do."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING, Any, Protocol

from pulumi.runtime.proto import resource_pb2

from . import foreign, urns
from .cluster import Access, Provider, hide
from .desired import Desired, Resource, build, step_of
from .errors import DeployError, ForbiddenError, Refused
from .monitor import response
from .plan import Outcome, offline
from .policywatch import Watch
from .references import read_object, read_stack
from .report import Diagnostic, Op
from .values import UNKNOWN, Secret, decode, encode, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .policy import Policies
    from .report import Step
    from .request import Context

_KUBERNETES = "kubernetes:"
_PROVIDERS = "pulumi:providers:"
_REFERENCE = "pulumi:pulumi:StackReference"
_GET = "pulumi:pulumi:getResource"
_PROVIDER_ID = "berth"  # provider resources have no object, so any fixed id will do
_EXIT_SECONDS = 15.0  # between the program's last word and its exit: threads and atexit handlers
_LACKING = "the deployer does not support; run this stack with the Pulumi CLI"
_CLI_LACKS = re.compile(
    r"The Pulumi CLI does not support (?:the )?(.+?)(?: option)?\. Please update the Pulumi CLI\."
)


class Handler(Protocol):
    """What is done with each Kubernetes object: planned or applied."""

    async def object(self, desired: Desired, access: Access) -> Outcome:
        """Plan or apply one object."""

    def halt(self) -> None:
        """Begin nothing more."""


class Session:
    """The monitor's side of one run.

    Args:
        context: what the runs of one command share.
        handler: what is done with objects; without one they are worked out from their inputs alone.
        dry_run: whether the program is told that it previews.
        preview: whether it truly is no more than that, so that recorded answers count, and what is
            missing is unknown rather than an error.
        policies: the policy packs that see every resource; none without it.

    `lacking` names what the program asked of providers that are not here: an `up` is then refused.
    """

    def __init__(
        self,
        context: Context,
        handler: Handler | None,
        *,
        dry_run: bool,
        preview: bool,
        policies: Policies | None = None,
    ) -> None:
        self.context, self.request = context, context.request
        self.dry_run, self.is_preview = dry_run, preview
        self._handler = handler
        self.lacking: list[str] = []
        self._unanswered = foreign.Unanswered()
        self.resources: dict[str, Resource] = {}
        self.outcomes: dict[str, Outcome] = {}
        self._answers: dict[str, tuple[str, dict[str, Any]]] = {}
        self.steps: dict[str, Step] = {}
        self.declared: dict[str, dict[Any, str]] = {}
        self.providers: dict[str, Provider] = {}
        self.outputs: dict[str, Any] = {}
        self.logs: list[Diagnostic] = []
        self.failed = self.done = self.provoked = False
        self._open = 0
        self._quiet_since: float | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._default = Provider("", self._default_inputs())
        self.watch = Watch(policies, self) if policies else None

    def _default_inputs(self) -> dict[str, Any]:
        config, secret = self.request.config, self.request.secret_keys
        found = {key.partition(":")[2]: key for key in config if key.startswith("kubernetes:")}
        return {name: Secret(config[k]) if k in secret else config[k] for name, k in found.items()}

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Count a call of the program's that is being answered."""
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1
            self._quiet_since = asyncio.get_running_loop().time()

    def idle_since(self) -> float | None:
        """Since when the program owes the next call; None while we owe it an answer."""
        if self._open or self._quiet_since is None:
            return None
        early = max(self.request.idle_seconds - _EXIT_SECONDS, 0.0) if self.done else 0.0
        return self._quiet_since - early

    def finished(self) -> None:
        """The program says that it has registered everything."""
        self.done = True

    def log(self, severity: str, message: str, urn: str) -> None:
        """A message of the program's; kept until all secrets are known."""
        lacks = _CLI_LACKS.search(message)
        if lacks:
            self._provoke(f"the program uses {lacks[1]}, which {_LACKING}")
            return
        if message.startswith(foreign.AT_ONCE):
            self.failed = self.provoked = True
            if self.is_preview:  # an up is refused for having called it at all
                self.context.complain(self._unanswered.explain(message))
            return
        self.logs.append(Diagnostic(severity, message, urn, "program"))

    def whisper(self, message: str) -> None:
        """A message that nobody is shown: the launcher's."""
        if self.watch is not None:
            self.watch.heard(message)

    def set_outputs(self, urn: str, outputs: dict[str, Any]) -> None:
        """The outputs of a component or of the stack."""
        if self.watch is not None:
            self.watch.registered(urn, outputs)
        ident, known = self._answers.get(urn, ("", {}))
        self._answers[urn] = (ident, known | outputs)
        if urns.type_of(urn) == urns.STACK:
            self.outputs = outputs
            self.context.redactor.add_secrets(outputs)

    def invoke(self, token: str, args: dict[str, Any]) -> Mapping[str, Any] | None:
        """What was recorded as a function's result; None where it counts as unknown.

        Raises:
            Refused: it cannot be left unknown either.
        """
        if token == _GET:
            return self._get(str(args.get("urn")))
        if not self.dry_run or token.startswith((_KUBERNETES, "pulumi:")):
            raise self._provoke(
                f"the function {token} needs a Pulumi plugin, which the deployer does not run"
            )
        result = self.request.recorded.answer(token, args)
        self.lacking.append(f"the function {token}")
        if result is None:
            self._unanswered.add(token, args)
        return result

    def _get(self, urn: str) -> Mapping[str, Any]:
        """A resource of this run, for a program that was handed a reference to it.

        Raises:
            Refused: there is none.
        """
        if urn not in self._answers:
            raise self._provoke(f"the program asks for {urn}, which it did not register in this run")
        ident, outputs = self._answers[urn]
        return {"urn": urn, "id": ident, "state": outputs}

    def refuse_call(self, token: str) -> Refused:
        """Why a method of a remote component is not called."""
        reason = f"the method {token} belongs to a remote component, which the deployer does not run"
        return self._provoke(reason)

    def _provoke(self, reason: str) -> Refused:
        """Refuse something in a way that makes the program raise; what it raises is then no news."""
        self.failed = self.provoked = True
        refused = Refused(reason)
        self.context.complain(refused)
        return refused

    async def register(
        self, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        """Answer one registration, when what it asks for is done."""
        resource = self._resource(request)
        if resource.urn in self.resources:
            kind = f"{resource.type} {resource.name!r}"
            self._fail(Refused(f"{kind} is declared twice: give one of them another name"), resource.urn)
            return response(resource.urn, "", {}, failed=True)
        self.resources[resource.urn] = resource
        self.context.redactor.add_secrets(resource.inputs)
        task = asyncio.create_task(self._act(resource, request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def _act(
        self, resource: Resource, request: resource_pb2.RegisterResourceRequest
    ) -> resource_pb2.RegisterResourceResponse:
        urn = resource.urn
        try:
            self._refuse_options(resource, request)
            ident, outputs = await self._dispatch(resource)
        except DeployError as error:
            if isinstance(error, ForbiddenError) and self._handler is not None:
                self._handler.halt()
            done: Outcome | None = getattr(error, "outcome", None)
            if done is not None:
                self.steps[urn] = done.step
            self._fail(error, urn)
            return response(urn, "", {}, failed=True)
        self._answers[urn] = (ident, outputs)
        return response(urn, ident, outputs)

    def _fail(self, error: DeployError, urn: str) -> None:
        self.failed = True
        self.context.complain(error, urn)

    async def _dispatch(self, resource: Resource) -> tuple[str, dict[str, Any]]:
        """Do what a resource asks for: its id and its outputs."""
        if self.watch is not None and not resource.type.startswith(_KUBERNETES):
            await self.watch.structure(resource)
        if not resource.custom or resource.type.startswith(_PROVIDERS):
            self._structure(resource)
            return (_PROVIDER_ID if resource.custom else ""), dict(resource.inputs)
        if resource.type.startswith(_KUBERNETES):
            desired, outcome = await self._object(resource)
            self.outcomes[resource.urn] = outcome
            self.steps[resource.urn] = outcome.step
            self.context.redactor.add_secrets(outcome.outputs)
            return ("" if desired.name_is_unknown else desired.ident), dict(outcome.outputs)
        self._lack(resource)
        step = self.steps[resource.urn] = foreign.step(resource)
        self.context.tell("planned", f"{resource.type} {resource.name}", step)
        return resource.import_id, foreign.outputs(resource)

    def _lack(self, resource: Resource) -> None:
        """Note that the program wants something of another provider.

        Raises:
            Refused: this run would have to make it.
        """
        name = f"{resource.type} {resource.name!r}"
        if not self.dry_run:
            raise foreign.refusal([name], "this stack")
        self.lacking.append(name)

    def _structure(self, resource: Resource) -> None:
        inputs = resource.inputs
        if resource.type == f"{_PROVIDERS}kubernetes":
            provider = self.providers[resource.urn] = Provider(resource.urn, inputs)
            if refusal := provider.refuse():
                raise Refused(f"provider {resource.name!r}: {refusal}")
            inputs = hide(dict(inputs))
            self.context.redactor.add_secrets(inputs)
        self.steps[resource.urn] = step_of(resource, Op.SAME, inputs=shown(inputs), custom=False)

    async def _object(self, resource: Resource) -> tuple[Desired, Outcome]:
        """Plan or apply one Kubernetes object."""
        provider = resource.provider or self._default
        access = None
        if self._handler is not None and not self.request.offline and not provider.is_unknown:
            access = await self.context.clusters.access(provider)
        desired = await build(resource, access)
        if self.watch is not None and await self.watch.object(resource, desired):
            desired = await build(resource, access)
        desired.force = desired.force or self.request.take_back
        self._declare(desired, access.cluster.uid if access else _assumed(provider))
        if access is None or self._handler is None:
            if not self.dry_run:
                raise Refused(f"{desired.key}: its provider does not say which cluster is meant")
            return desired, offline(desired)
        self.context.redactor.add(_values_at(desired))
        return desired, await self._handler.object(desired, access)

    def _declare(self, desired: Desired, cluster: str) -> None:
        """Note that the program wants this object in a cluster.

        Raises:
            Refused: another resource of the program is the same object.
        """
        if desired.name_is_unknown:
            return
        seen = self.declared.setdefault(cluster, {})
        other = seen.setdefault(desired.key, desired.resource.urn)
        if other != desired.resource.urn:
            raise Refused(f"{desired.key} is declared twice: as {other} and as {desired.resource.urn}")

    async def read(self, request: resource_pb2.ReadResourceRequest) -> resource_pb2.ReadResourceResponse:
        """Answer a read of an existing object (`ConfigMap.get`), or a StackReference."""
        urn = self._urn(request)
        resource = Resource(
            urn,
            request.type,
            request.name,
            request.parent,
            inputs=decode(request.properties),
            secret_outputs=tuple(request.additionalSecretOutputs),
            provider_ref=request.provider,
        )
        self.resources[urn] = resource
        self.steps[urn] = step_of(resource, Op.READ, inputs=shown(resource.inputs))
        try:
            if request.type == _REFERENCE:
                outputs = await read_stack(self, request.id)
            elif request.type.startswith(_KUBERNETES):
                resource.provider = self._provider_of(request.provider, request.parent)
                outputs = await self._read_object(resource, request.id)
            else:
                self._lack(resource)
                self.steps[urn] = foreign.step(resource, Op.READ)
                outputs = foreign.outputs(resource)
        except DeployError as error:
            self._fail(error, urn)
            outputs = {}
        self.context.redactor.add_secrets(outputs)
        ident = "" if request.id == UNKNOWN.value else request.id
        self._answers[urn] = (ident, outputs)
        return resource_pb2.ReadResourceResponse(urn=urn, id=ident, properties=encode(outputs))

    async def _read_object(self, resource: Resource, ident: str) -> dict[str, Any]:
        provider = resource.provider or self._default
        if self._handler is None or self.request.offline or provider.is_unknown or ident == UNKNOWN.value:
            return {}
        return await read_object(await self.context.clusters.access(provider), resource, ident)

    def _provider_of(self, reference: str, parent: str) -> Provider | None:
        """The provider that a resource names, or that the nearest parent gives it."""
        if reference:
            return self.providers.get(reference.rpartition("::")[0])
        above = self.resources.get(parent)
        while above is not None:
            if "kubernetes" in above.providers:
                return self.providers.get(above.providers["kubernetes"].rpartition("::")[0])
            above = self.resources.get(above.parent)
        return None

    def _urn(self, request: resource_pb2.RegisterResourceRequest | resource_pb2.ReadResourceRequest) -> str:
        stack, project = self.request.stack, self.request.project
        return urns.make(stack, project, request.parent, request.type, request.name)

    def _resource(self, request: resource_pb2.RegisterResourceRequest) -> Resource:
        urn = self._urn(request)
        parent = self.resources.get(request.parent)
        depends_on = set(request.dependencies)
        if parent is not None and parent.custom:
            depends_on.add(parent.urn)
        former = urns.former(
            urn, request.parent, parent.aliases if parent else (), request.aliases, request.aliasURNs
        )
        protect = request.protect if request.HasField("protect") else bool(parent and parent.protect)
        retain = (
            request.retainOnDelete if request.HasField("retainOnDelete") else bool(parent and parent.retain)
        )
        times = request.customTimeouts
        return Resource(
            urn=urn,
            type=request.type,
            name=request.name,
            parent=request.parent,
            custom=request.custom,
            inputs=decode(request.object),
            depends_on=tuple(sorted(depends_on)),
            aliases=former,
            references={
                key: tuple(sorted(found.urns))
                for key, found in sorted(request.propertyDependencies.items())
                if found.urns
            },
            provider=self._provider_of(request.provider, request.parent) if request.custom else None,
            provider_ref=request.provider,
            providers=dict(request.providers),
            protect=protect,
            retain=retain,
            delete_first=request.deleteBeforeReplace if request.deleteBeforeReplaceDefined else None,
            import_id=request.importId,
            ignore=tuple(request.ignoreChanges),
            replace_on=tuple(request.replaceOnChanges),
            secret_outputs=tuple(request.additionalSecretOutputs),
            timeouts={"create": times.create, "update": times.update, "delete": times.delete},
            version=request.version,
        )

    def _refuse_options(self, resource: Resource, request: resource_pb2.RegisterResourceRequest) -> None:
        """Refuse what would otherwise be silently without effect.

        Raises:
            Refused: it names the option.
        """
        options = {
            "a remote component (it needs a plugin)": request.remote,
            "transforms": bool(request.transforms),
            "state migrations": bool(request.state_migrations),
            "replacement_trigger": request.HasField("replacement_trigger"),
            "replace_with": bool(request.replace_with),
            # What goes together with a cloud's resource is for the Pulumi CLI to delete anyway.
            "deleted_with": bool(request.deletedWith)
            and not any(map(foreign.is_foreign, (resource.type, urns.type_of(request.deletedWith)))),
            "resource hooks": any(getattr(request.hooks, name) for name in _HOOKS),
            "a parameterized provider": bool(request.packageRef),
        }
        found = [name for name, used in options.items() if used]
        if found:
            raise Refused(f"{resource.type} {resource.name!r} uses {', '.join(found)}, which {_LACKING}")

    def used_providers(self) -> list[Provider]:
        """Every Kubernetes provider of this stack, the default one where it is used."""
        found = list(self.providers.values())
        if any(r.type.startswith(_KUBERNETES) and r.provider is None for r in self.resources.values()):
            found.append(self._default)
        return found

    def lookup_providers(self) -> list[Provider]:
        """Where another stack may be looked for: every known provider, then the default one."""
        return [provider for provider in self.providers.values() if not provider.is_unknown] + [self._default]

    async def stop(self) -> None:
        """Drop what is still under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _assumed(provider: Provider) -> str:
    """What stands for the cluster of a provider where none is asked: the same name, the same cluster."""
    if provider.is_unknown:
        return provider.urn
    return "|".join(provider.text(name) or "" for name in ("kubeconfig", "context", "cluster"))


def _values_at(desired: Desired) -> list[Any]:
    """The secret values of an object in the form in which Kubernetes holds them."""
    values = []
    for path in desired.secrets:
        value: Any = desired.manifest
        for part in path:
            value = value[part]
        values.append(value)
    return values


_HOOKS = (
    "before_create",
    "after_create",
    "before_update",
    "after_update",
    "before_delete",
    "after_delete",
    "on_error",
)
