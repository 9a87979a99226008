"""`berth explain`: where the settings of a stack come from."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

import click

from berth.cli.stackfile import STACKS, find_stack

if TYPE_CHECKING:
    from berth_stacks.explain import Explained


@click.command()
@click.argument("stack")
@click.argument("key", default="")
@click.option("--json", "as_json", is_flag=True, help="Print JSON on standard output.")
def explain(stack: str, key: str, *, as_json: bool) -> None:
    """Show where the settings of STACK come from, all of them or those below KEY.

    Each with its value, the file and line that says so, and what that overrode;
    a default with the reason for it. Secrets are never shown or opened.
    """
    from berth_stacks.explain import explain as explained

    found = explained(STACKS, find_stack(stack).name, key)
    if as_json:
        click.echo(json.dumps([one.to_json() for one in found], indent=2))
        return
    # All of a stack's defaults are many: their reasons show where one asks for less.
    for one in found:
        click.echo("\n".join(_lines(one, reasons=bool(key))))


def _lines(one: Explained, *, reasons: bool) -> list[str]:
    origin = "default" if one.origin is None else str(one.origin)
    lines = [f"{one.key} = {_text(one.value)}  # {origin}"]
    lines += [f"    over {_text(before.value)}  # {before}" for before in one.overrode]
    if one.removed:
        lines.append(f"    removed by null  # {one.removed}")
    if reasons and one.reason:
        before = " " * 4
        lines += textwrap.wrap(
            one.reason, 80, initial_indent=before, subsequent_indent=before, break_on_hyphens=False
        )
    return lines


def _text(value: Any) -> str:
    if value is None:
        return "(not set)"
    return value if isinstance(value, str) else json.dumps(value)
