"""Asks before an environment is changed or removed, as people know it from `pulumi up` and `destroy`."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click

from berth.cli.errors import UserError
from berth.cli.stackfile import find_stack

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from berth.deployer import Report


async def _answer() -> str:
    """Return the next line of standard input; unlike `input()`, it can be cancelled."""
    loop = asyncio.get_running_loop()
    line: asyncio.Future[str] = loop.create_future()

    def ready() -> None:
        if not line.done():
            line.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin.fileno(), ready)
    try:
        return await line
    finally:
        loop.remove_reader(sys.stdin.fileno())


def consent(stack: str, command: str, *, yes: bool) -> Callable[[Report], Awaitable[bool]] | None:
    """Return what the engine asks before it changes anything; None where nobody need be asked.

    The local stack is made by Berth for trying things in, so nobody is asked. Without a terminal there is
    nobody to ask: an `up` goes on, since its plan was reviewed elsewhere, a `down` does not.

    Args:
        stack: its name.
        command: `up` or `down`.
        yes: whether the answer was given on the command line.

    Raises:
        UserError: a `down` would remove an environment, and nobody was there to say so.
    """
    if yes or find_stack(stack).is_local:
        return None
    if not sys.stdin.isatty():
        if command == "up":
            return None
        raise UserError(
            f"down removes everything of the stack '{stack}', and there is no terminal to ask at: add --yes. "
            "Nothing was changed"
        )

    async def asked(report: Report) -> bool:
        from berth.deployer import render

        doomed = command == "down"
        if not doomed and not report.changes:
            return True
        click.echo(render(report, diff=False, layout="tree"), err=True)
        what = (
            f"Remove everything above of stack '{stack}'?" if doomed else f"Deploy this to stack '{stack}'?"
        )
        click.echo(f"{what} [y/N] ", nl=False, err=True)
        return (await _answer()).strip().lower() in {"y", "yes"}

    return asked
