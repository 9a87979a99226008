"""`--engine pulumi`: the deployer's four commands, done by the Pulumi CLI through its Automation API.

`preview`, `up`, `down` and `outputs` take the same `RunRequest` as the deployer's, tell the same events and
return the same `Report`, so that displays and scripts need not know which engine ran. What the CLI does
itself stays its own: the state's backend, secrets, plugins, locks.

The request's `config` may be a stack's whole configuration or only what the stack's file does not have; the
user's stack file is never written, except by `pulumi stack init` where `Options.create` asks for it. Errors
before the run begins are raised (`PulumiError`, a `DeployError`); those of the run are the report's
diagnostics.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import (
    DeployersStack,
    NoPlugin,
    NoPulumi,
    NoStack,
    NotLoggedIn,
    Passphrase,
    PulumiError,
    StackLocked,
)
from .run import Options

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    from berth.deployer import Event, Interpreter, Report, RunRequest

    OnEvent = Callable[[Event], None]
    Confirm = Callable[[Report], bool | Awaitable[bool]]

__all__ = [
    "DeployersStack",
    "NoPlugin",
    "NoPulumi",
    "NoStack",
    "NotLoggedIn",
    "Options",
    "Passphrase",
    "PulumiError",
    "StackLocked",
    "down",
    "outputs",
    "preview",
    "up",
]


async def preview(
    request: RunRequest,
    *,
    on_event: OnEvent | None = None,
    interpreter: Interpreter | None = None,
    options: Options | None = None,
) -> Report:
    """What an `up` would do, as the Pulumi CLI plans it: with every provider's plugin, and its state.

    Args:
        request: what to preview; `offline`, `kubeconfigs` and `state_namespace` mean nothing to the CLI.
        on_event: told what happens, as it happens.
        interpreter: a warm one to share between commands; it runs the program once, to learn its clusters.
        options: what only the CLI can be told.

    Raises:
        PulumiError: there is no usable CLI, backend, stack or passphrase; or the deployer made the stack.
        ConfigError: the project is not the request's.
    """
    from . import run  # noqa: PLC0415 - `berth --help` need not pay for the Automation API

    return await run.preview(run.Run("preview", request, options or Options(), on_event, interpreter))


async def up(
    request: RunRequest,
    *,
    on_event: OnEvent | None = None,
    confirm: Confirm | None = None,
    stop: asyncio.Event | None = None,
    interpreter: Interpreter | None = None,
    options: Options | None = None,
) -> Report:
    """Bring the stack into the state that its program describes, by the Pulumi CLI.

    Args:
        request: what to deploy.
        on_event: told what happens, as it happens.
        confirm: asked with the plan's report before anything changes; without it nothing is planned first.
        stop: set it for an orderly end: the CLI finishes what is under way and frees the stack.
        interpreter: as for `preview`.
        options: what only the CLI can be told.

    Raises:
        PulumiError: as for `preview`.
    """
    from . import run  # noqa: PLC0415 - see preview

    return await run.up(run.Run("up", request, options or Options(), on_event, interpreter), confirm, stop)


async def down(
    request: RunRequest,
    *,
    on_event: OnEvent | None = None,
    confirm: Confirm | None = None,
    stop: asyncio.Event | None = None,
    interpreter: Interpreter | None = None,
    options: Options | None = None,
) -> Report:
    """Delete everything that the Pulumi CLI made for the stack; the empty stack stays in its backend."""
    from . import run  # noqa: PLC0415 - see preview

    return await run.down(
        run.Run("down", request, options or Options(), on_event, interpreter), confirm, stop
    )


async def outputs(request: RunRequest, *, options: Options | None = None) -> Mapping[str, Any]:
    """The outputs of the stack's last update; a secret one is a `Secret`, to be opened by `.value`.

    Raises:
        PulumiError: as for `preview`; or the stack has none.
    """
    from . import run  # noqa: PLC0415 - see preview

    return await run.outputs(run.Run("outputs", request, options or Options()))
