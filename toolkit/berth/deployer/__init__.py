"""Runs a Pulumi program where there is no Pulumi CLI.

`preview`, `up`, `down` and `outputs` take a `RunRequest`; the first three return a `Report`, which `render`
turns into text. Problems of the program or of a cluster are the report's diagnostics; a request that is
wrong in itself raises `ConfigError`. The deployer keeps no state file: what a stack owns is read from the
cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

from .config import Project, load_config, load_project, set_secret
from .drifted import Drift, DriftReport, Remedy, Unchecked, What, render_drift
from .errors import (
    ApiError,
    ClusterError,
    ConfigError,
    DeployError,
    Locked,
    LockLost,
    ProgramError,
    Refused,
    Unreachable,
)
from .expected import Expected, load_expected
from .managed import Writer
from .program import Interpreter
from .recorded import Recorded, load_recorded
from .render import render, render_findings, summary
from .report import (
    Diagnostic,
    Event,
    Op,
    PolicyInfo,
    PolicyPackRun,
    PolicyResult,
    PropertyChange,
    Report,
    Step,
)
from .request import PolicyPack, RunRequest
from .values import UNKNOWN, Secret

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence

    from .command import Command

    OnEvent = Callable[[Event], None]
    Confirm = Callable[[Report], bool | Awaitable[bool]]

__all__ = [
    "UNKNOWN",
    "ApiError",
    "ClusterError",
    "ConfigError",
    "DeployError",
    "Diagnostic",
    "Drift",
    "DriftReport",
    "Event",
    "Expected",
    "Interpreter",
    "LockLost",
    "Locked",
    "Op",
    "PolicyInfo",
    "PolicyPack",
    "PolicyPackRun",
    "PolicyResult",
    "ProgramError",
    "Project",
    "PropertyChange",
    "Recorded",
    "Refused",
    "Remedy",
    "Report",
    "RunRequest",
    "Secret",
    "Step",
    "Unchecked",
    "Unreachable",
    "What",
    "Writer",
    "down",
    "drift",
    "load_config",
    "load_expected",
    "load_project",
    "load_recorded",
    "outputs",
    "preview",
    "previews",
    "render",
    "render_drift",
    "render_findings",
    "set_secret",
    "summary",
    "up",
]


@contextlib.contextmanager
def _command(
    name: str, request: RunRequest, interpreter: Interpreter | None, on_event: OnEvent | None = None
) -> Iterator[Command]:
    """A command whose interpreter imports the SDK while this one imports gRPC and the rest."""
    if request.offline and name != "preview":
        raise ConfigError(f"{name} cannot be done offline; only a preview can")
    began = time.monotonic()
    used = interpreter or Interpreter(request.python)
    if not request.kubeconfigs or name in {"preview", "up", "drift"}:
        used.start()
    try:
        from .command import Command  # noqa: PLC0415 - see above; and `berth --help` need not pay for it

        yield Command(name, request, used, began, on_event)
    finally:
        if interpreter is None:
            used.close()


async def preview(
    request: RunRequest, *, on_event: OnEvent | None = None, interpreter: Interpreter | None = None
) -> Report:
    """What an `up` would do. Changes nothing, in no cluster.

    Problems of the program or of a cluster are diagnostics of the report, whose `ok` is then false.

    Args:
        request: what to preview.
        on_event: told what happens, as it happens.
        interpreter: a warm one to share between several commands; its `python` is used, not the request's.
    """
    with _command("preview", request, interpreter, on_event) as command:
        from . import deploy  # noqa: PLC0415 - see _command

        return await deploy.preview(command)


async def previews(
    requests: Sequence[RunRequest],
    *,
    on_event: Callable[[RunRequest, Event], None] | None = None,
    interpreter: Interpreter | None = None,
    parallel: int = 2,
) -> list[Report]:
    """Preview several stacks at a time, from one warm process; the reports are in the requests' order.

    Each runs in a process of its own: one that crashes, loops or is wrong in itself gives a report that is
    not ok, and does not touch the others. A program that does nothing is stopped after its request's
    `idle_seconds`.

    Args:
        requests: what to preview; their programs share the interpreter's `python`.
        on_event: as for `preview`, with the request that it is about.
        interpreter: a warm one; without it, one is made of the first request's `python`.
        parallel: how many programs run at once: about as many as there are processors.
    """
    used = interpreter or Interpreter(requests[0].python if requests else None)
    free = asyncio.Semaphore(parallel)

    async def one(request: RunRequest) -> Report:
        async with free:
            try:
                told = None if on_event is None else functools.partial(on_event, request)
                return await preview(request, on_event=told, interpreter=used)
            except DeployError as error:
                said = Diagnostic("error", str(error), code=error.code)
                return Report("preview", request.project, request.stack, diagnostics=[said], ok=False)

    try:
        # All are waited for, also where this is cancelled: gRPC must not be dropped half way.
        done = await asyncio.gather(*(one(request) for request in requests), return_exceptions=True)
        return [_result(one) for one in done]
    finally:
        if interpreter is None:
            used.close()


def _result(done: Report | BaseException) -> Report:
    if isinstance(done, BaseException):
        raise done
    return done


async def up(
    request: RunRequest,
    *,
    on_event: OnEvent | None = None,
    confirm: Confirm | None = None,
    stop: asyncio.Event | None = None,
    interpreter: Interpreter | None = None,
) -> Report:
    """Bring the stack into the state that its program describes.

    The program is planned first, so that whatever is not supported, protected or forbidden is refused before
    anything changes. Running it again finishes what a failed, cancelled or killed run left.

    Args:
        request: what to deploy. `offline` is refused.
        on_event: told what happens, as it happens.
        confirm: asked with the plan's report before anything changes; without it nobody is asked.
        stop: set it for an orderly end: what is under way is dropped, and the Lease is given back.
        interpreter: as for `preview`.

    Raises:
        ConfigError: the request itself is wrong. Everything else is a diagnostic of the report.
    """
    with _command("up", request, interpreter, on_event) as command:
        from . import deploy  # noqa: PLC0415 - see _command

        return await deploy.up(command, confirm, stop)


async def down(
    request: RunRequest,
    *,
    on_event: OnEvent | None = None,
    confirm: Confirm | None = None,
    stop: asyncio.Event | None = None,
    interpreter: Interpreter | None = None,
) -> Report:
    """Delete every object of the stack, in reverse order of dependency, and its record.

    The program need not work any more: it is asked only which clusters the stack is on, and not even that
    where the request hands over `kubeconfigs`. Arguments and errors as for `up`.
    """
    with _command("down", request, interpreter, on_event) as command:
        from . import deploy  # noqa: PLC0415 - see _command

        return await deploy.down(command, confirm, stop)


async def outputs(request: RunRequest, *, interpreter: Interpreter | None = None) -> Mapping[str, Any]:
    """The outputs that the last successful `up` left; a secret one is a `Secret`, to be opened by `.value`.

    Raises:
        DeployError: the stack is not deployed, or its clusters cannot be found or reached.
    """
    with _command("outputs", request, interpreter) as command:
        from . import deploy  # noqa: PLC0415 - see _command

        return await deploy.outputs(command)


async def drift(
    request: RunRequest,
    *,
    expected: Iterable[Expected] | None = None,
    on_event: OnEvent | None = None,
    interpreter: Interpreter | None = None,
) -> DriftReport:
    """What the stack's clusters have that its program did not ask, by field and by who wrote it.

    Changes nothing. Needs get, list and patch (for dry runs) on the stack's kinds. A report is `ok` only
    where everything was compared and nothing differs.

    Args:
        request: as for `preview`. `offline` is refused.
        expected: what controllers write; without it, `load_expected()`.
        on_event: told what happens, as it happens.
        interpreter: as for `preview`.
    """
    with _command("drift", request, interpreter, on_event) as command:
        from . import drifting  # noqa: PLC0415 - see _command

        return await drifting.drift(command, load_expected() if expected is None else expected)
