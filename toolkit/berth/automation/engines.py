"""Which engine made a stack: it is recorded in each cluster that the stack has objects in.

The deployer keeps a stack's record in a Secret. Where the Pulumi CLI deploys, a Secret of the same name says
that, so that each engine meets the other's mark and refuses. Nothing but the mark is kept there: the CLI's
state is in its backend.
"""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import shutil
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from berth.deployer import ApiError, ClusterError, ConfigError, DeployError, Event, Interpreter
from berth.deployer import kubeconfig as kubeconfigs
from berth.deployer.client import SECRETS, Api
from berth.deployer.command import Command as DeployerCommand
from berth.deployer.lease import who
from berth.deployer.state import ENGINE, RECORD_TYPE, StackState

from .errors import DeployersStack
from .stackfile import whole_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from berth.deployer import RunRequest
    from berth.deployer.values import Redactor

PULUMI = "the Pulumi CLI (--engine pulumi)"
_CONFLICT = 409
_HOW_TO_MOVE = (
    "To move it to the Pulumi CLI: `berth down {stack}`, then `berth up {stack} --engine pulumi`; its "
    "objects are deleted and made anew. To serve meanwhile, deploy it under another stack name "
    "and namespace first"
)


@dataclass
class Marks:
    """The clusters that a program names, and what marks the stack there.

    Attributes:
        tell: told what is being waited for.
        states: the stack's place in each cluster that answered.
        warnings: what could not be found out.
    """

    tell: Callable[[str], None]
    states: list[StackState] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    async def write(self) -> None:
        """Say in every cluster that the Pulumi CLI deploys this stack."""
        for state in self.states:
            try:
                await _mark(state, self.tell)
            except ClusterError as error:
                self.warnings.append(
                    f"{state.api.target.label}: could not record that the Pulumi CLI deploys this stack, so "
                    f"the deployer can only tell from its objects: {error}"
                )

    async def remove(self) -> None:
        """Take the marks away: the CLI has destroyed the stack."""
        for state in self.states:
            try:
                await state.delete()
                await state.remove_namespace_if_unused(self.tell)
            except ClusterError as error:
                where = f"Secret {state.namespace}/{state.name}"
                self.warnings.append(f"{state.api.target.label}: could not delete {where}: {error}")


@contextlib.asynccontextmanager
async def marks(
    request: RunRequest,
    redactor: Redactor,
    tell: Callable[[Event], None],
    interpreter: Interpreter | None = None,
) -> AsyncIterator[Marks]:
    """Ask every cluster that the program names who deployed the stack.

    The program is run as the deployer would, in dry-run mode and asking no cluster, to learn which it names.

    Raises:
        DeployersStack: Berth's deployer did, and has not taken it down.
    """
    found = Marks(lambda text: tell(Event("waiting", redactor.text(text))))
    apis: list[Api] = []
    try:
        for target in await _targets(request, interpreter, found.warnings):
            for secret in target.secrets():
                redactor.add(secret)
            api = Api(target, lambda text: tell(Event("retry", redactor.text(text))))
            apis.append(api)
            state = StackState(api, request.project, request.stack, request.state_namespace)
            try:
                live = await api.get(SECRETS, state.namespace, state.name)
            except (ClusterError, ConfigError) as error:
                found.warnings.append(f"could not ask {target.label} which engine made the stack: {error}")
                continue
            if live is not None and _engine(live) == ENGINE:
                raise DeployersStack(
                    f"stack '{request.stack}' was deployed by Berth's own deployer on {target.label} (its "
                    f"record is Secret {state.namespace}/{state.name}), so --engine pulumi refuses it: the "
                    f"CLI knows nothing of its objects. {_HOW_TO_MOVE.format(stack=request.stack)}"
                )
            found.states.append(state)
        yield found
    finally:
        for api in apis:
            await api.close()


async def _targets(
    request: RunRequest, interpreter: Interpreter | None, warnings: list[str]
) -> list[kubeconfigs.Target]:
    """The clusters that the program names now; those that only the run will make are not among them."""
    whole = dataclasses.replace(request, config=whole_config(request))
    used = interpreter or Interpreter(request.python)
    with contextlib.nullcontext() if interpreter else contextlib.closing(used):
        used.start()
        command = DeployerCommand("preview", whole, used, time.monotonic())
        try:
            providers = await command.learn()
        except DeployError as error:
            warnings.append(f"could not find out which clusters the stack is on: {error}")
            return []
        finally:
            shutil.rmtree(command.folder, ignore_errors=True)
            await command.context.clusters.close()
    targets: dict[kubeconfigs.Target, None] = {}
    for provider in providers:
        try:
            named = (provider.text("kubeconfig"), provider.text("context"), provider.text("cluster"))
            targets[kubeconfigs.load(*named)] = None
        except ConfigError as error:
            warnings.append(f"could not find out which engine made the stack: {error}")
    return list(targets)


def _engine(live: Any) -> str:
    encoded = (live.get("data") or {}).get("engine") or ""
    return base64.b64decode(encoded).decode(errors="replace")


async def _mark(state: StackState, tell: Callable[[str], None]) -> None:
    await state.make_namespace(f"{who()} for the Pulumi CLI", tell)
    text = {"engine": PULUMI, "project": state.project, "stack": state.stack, "by": who()}
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": RECORD_TYPE,
        "metadata": {
            "name": state.name,
            "namespace": state.namespace,
            "labels": {"app.kubernetes.io/managed-by": "berth"},
        },
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in text.items()},
    }
    try:
        await state.api.create(SECRETS, state.namespace, manifest)
    except ApiError as error:
        if error.status != _CONFLICT:  # it is there already: this is not the first `up`
            raise
