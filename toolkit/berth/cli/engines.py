"""Which engine runs a stack: Berth's deployer, or the Pulumi CLI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import click

from berth.cli.errors import UserError
from berth.cli.stackfile import find_stack

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping

    from berth.deployer import Event, Report, RunRequest

    Confirm = Callable[[Report], Awaitable[bool]]

BERTH, PULUMI = "berth", "pulumi"

engine_option = click.option(
    "--engine",
    type=click.Choice([BERTH, PULUMI]),
    default=BERTH,
    help="Berth's deployer (Kubernetes objects), or the Pulumi CLI (everything).",
)
create_option = click.option(
    "--create", is_flag=True, help="With --engine pulumi: make the stack in its backend if it is not there."
)
secrets_provider_option = click.option(
    "--secrets-provider", metavar="URL", help="With --create: what keeps the stack's secrets."
)


class Engine(Protocol):
    """What both engines can do; the deployer's module does it as it is."""

    async def preview(
        self, request: RunRequest, *, on_event: Callable[[Event], None] | None = None
    ) -> Report:
        """Plan."""

    async def up(
        self,
        request: RunRequest,
        *,
        on_event: Callable[[Event], None],
        stop: asyncio.Event,
        confirm: Confirm | None,
    ) -> Report:
        """Deploy."""

    async def down(
        self,
        request: RunRequest,
        *,
        on_event: Callable[[Event], None],
        stop: asyncio.Event,
        confirm: Confirm | None,
    ) -> Report:
        """Delete."""

    async def outputs(self, request: RunRequest) -> Mapping[str, Any]:
        """The last deployment's outputs."""


class _Pulumi:
    """The Pulumi CLI, through its Automation API."""

    def __init__(self, *, create: bool, secrets_provider: str | None, refresh: bool) -> None:
        from berth import automation

        self._options = automation.Options(create, secrets_provider, refresh)

    async def preview(
        self, request: RunRequest, *, on_event: Callable[[Event], None] | None = None
    ) -> Report:
        from berth import automation

        return await automation.preview(request, on_event=on_event, options=self._options)

    async def up(
        self,
        request: RunRequest,
        *,
        on_event: Callable[[Event], None],
        stop: asyncio.Event,
        confirm: Confirm | None,
    ) -> Report:
        from berth import automation

        return await automation.up(
            request, on_event=on_event, confirm=confirm, stop=stop, options=self._options
        )

    async def down(
        self,
        request: RunRequest,
        *,
        on_event: Callable[[Event], None],
        stop: asyncio.Event,
        confirm: Confirm | None,
    ) -> Report:
        from berth import automation

        return await automation.down(
            request, on_event=on_event, confirm=confirm, stop=stop, options=self._options
        )

    async def outputs(self, request: RunRequest) -> Mapping[str, Any]:
        from berth import automation

        return await automation.outputs(request, options=self._options)


def engine_of(name: str, stack: str, *, create: bool = False, secrets_provider: str | None = None) -> Engine:
    """Return the engine of that name, for a stack.

    Raises:
        UserError: an option is for the other engine.
    """
    if name == PULUMI:
        refresh = "eks" in find_stack(stack).grounds
        return _Pulumi(create=create, secrets_provider=secrets_provider, refresh=refresh)
    for option, given in (("--create", create), ("--secrets-provider", secrets_provider)):
        if given:
            raise UserError(f"{option} goes with --engine pulumi; Berth's deployer needs no backend")
    from berth import deployer

    return deployer
