"""`berth choose`: compare cloud, own hardware, hybrid and managed endpoints, and write the stack file."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.errors import UserError
from berth.cli.reports import json_option
from berth.cli.stackfile import STACKS

if TYPE_CHECKING:
    from berth_stacks.choosing import Needs, Option

_WIDTH = 80
_MODEL = "qwen2.5-7b-instruct"


@click.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--write", "stack", metavar="STACK", help="Write the best as stacks/Pulumi.STACK.yaml.")
@click.option("--option", "wanted", metavar="NAME", help="With --write: that one instead of the best.")
@json_option
def choose(file: Path | None, *, stack: str | None, wanted: str | None, as_json: bool) -> None:
    """Compare ways to serve a model, by what FILE needs.

    FILE names model, load, data residency, clouds, own accelerators, budget
    and team (docs/choose.md); without it, a terminal is asked. Each way is a
    whole stack file that is planned like any other: what does not fit, is too
    dear or not allowed is said. Exit code 1 where nothing fits.
    """
    from berth_stacks.choosing import compare, read_needs
    from berth_stacks.new import CannotError

    from berth.cli.new import free_file

    if wanted is not None and stack is None:
        raise UserError("--option goes with --write STACK")
    target = free_file(stack) if stack is not None else None
    try:
        options = compare(read_needs(file) if file is not None else _asked(), STACKS)
    except CannotError as error:
        raise UserError(str(error)) from None
    click.echo(json.dumps([one.to_json() for one in options], indent=2) if as_json else _page(options))
    if target is not None:
        chosen = _chosen(options, wanted)
        target.write_text(chosen.text, encoding="utf-8")
        click.echo(f"wrote stacks/{target.name} ({chosen.title}); next: ./berth plan {stack}", err=as_json)
    if not options[0].fits:
        raise click.exceptions.Exit(1)


def _chosen(options: list[Option], wanted: str | None) -> Option:
    if wanted is None:
        if not options[0].fits:
            raise UserError(
                "nothing fits, so nothing was written; --option NAME takes one all the same", exit_code=1
            )
        return options[0]
    found = next((one for one in options if one.name == wanted), None)
    if found is None or not found.text:
        there = ", ".join(one.name for one in options if one.text) or "none"
        raise UserError(f"--option {wanted}: there is no stack file of it; there are: {there}")
    return found


def _asked() -> Needs:
    """The questions, at a terminal."""
    from berth_catalogue.models import models
    from berth_stacks.choosing import needs_of

    if not sys.stdin.isatty():
        raise UserError("name a FILE with what is needed (docs/choose.md), or run this at a terminal")
    content: dict[str, Any] = {
        "model": click.prompt("model", default=_MODEL, type=click.Choice(sorted(models()))),
        "load": {
            "requestsPerSecond": click.prompt("requests per second at the busiest", type=float),
            "inputTokens": click.prompt("tokens of a prompt", default=1000),
            "outputTokens": click.prompt("tokens of an answer", default=250),
        },
        "environment": click.prompt(
            "environment", default="production", type=click.Choice(["development", "production"])
        ),
        "residency": "own" if click.confirm("must every request stay on own hardware?") else "anywhere",
        "operatesKubernetes": click.confirm("does the team run Kubernetes?", default=True),
    }
    own = click.prompt("own accelerators that are free, such as nvidia-l40s=4", default="none")
    if own != "none":
        key, _, count = own.partition("=")
        content["ownAccelerators"] = {key.strip(): int(count) if count.strip().isdigit() else count}
    clouds = click.prompt("clouds with an account (aws, gcp, none)", default="aws, gcp")
    content["clouds"] = [one.strip() for one in clouds.split(",") if one.strip() not in {"", "none"}]
    budget = click.prompt("US dollars a month for machines, 0 for no limit", default=0.0)
    if budget:
        content["budgetPerMonth"] = budget
    return needs_of(content, "the answers")


def _page(options: list[Option]) -> str:
    lines = []
    for number, one in enumerate(options, 1):
        mark = "fits" if one.fits else "OUT"
        on = f", {one.accelerator}" if one.accelerator else ""
        lines.append(f"{number}. {mark}: {one.title}{on}")
        if one.usd_per_month:
            fewest, most = one.usd_per_month
            lines.append(f"   machines: {fewest:,.0f} to {most:,.0f} USD a month")
        for reason in one.reasons:
            lines += textwrap.wrap(
                reason, _WIDTH, initial_indent="   - ", subsequent_indent="     ", break_on_hyphens=False
            )
        if one.unknown:
            lines += textwrap.wrap(
                f"open: {', '.join(one.unknown)}", _WIDTH, initial_indent="   ", subsequent_indent="     "
            )
        lines.append("")
    if options[0].fits and not any(one.usd_per_month for one in options if one.fits):
        lines.append("No price is known, so the order is that of the list in docs/choose.md.")
    return "\n".join(lines).rstrip()
