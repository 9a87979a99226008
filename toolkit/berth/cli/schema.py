"""`berth schema`: what editors need to check stack files while they are written."""

from __future__ import annotations

import click

from berth.cli.stackfile import STACKS


@click.command()
@click.option("--write", is_flag=True, help="Write stacks/schema.json instead of printing it.")
def schema(*, write: bool) -> None:
    """Print the JSON Schema of stack files and bases.

    Stack files name it in their first line, so that an editor with a YAML
    language server completes keys and marks mistakes.
    """
    from berth_stacks.schema import FILE, text

    made = text()
    if not write:
        click.echo(made, nl=False)
        return
    (STACKS / FILE).write_text(made, encoding="utf-8")
    click.echo(f"wrote stacks/{FILE}")
