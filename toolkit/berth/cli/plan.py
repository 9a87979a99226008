"""`berth plan`: whether a stack's models fit, before anything is deployed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from berth.cli.errors import UserError
from berth.cli.reports import json_option
from berth.cli.stackfile import Stack, find_stack, request_for, stack_names

if TYPE_CHECKING:
    from berth_planner.plan import Plan


@click.command()
@click.argument("stack", required=False)
@click.option("--all", "every", is_flag=True, help="Every stack that has a file.")
@json_option
def plan(stack: str | None, *, every: bool, as_json: bool) -> None:
    """Say whether the models of STACK fit what they are placed on.

    Memory of each device at the planned concurrency and context, by formulas
    that can be recomputed by hand (docs/planner.md). Nothing is asked of any
    cluster, cloud or hub.

    Exit code: 0 every check passed, 1 one failed, 3 none failed and one is
    unknown, 2 wrong input.
    """
    if every == (stack is not None):
        raise UserError(f"name one stack, or --all of them: {', '.join(stack_names())}")
    from berth_planner.page import page

    plans = [_plan(find_stack(name)) for name in ([stack] if stack is not None else stack_names())]
    if as_json:
        made: Any = [one.to_json() for one in plans]
        click.echo(json.dumps(made if every else made[0], indent=2))
    else:
        click.echo("\n\n".join(map(page, plans)))
    codes = {one.exit_code for one in plans}
    raise click.exceptions.Exit(1 if 1 in codes else max(codes))


def _plan(stack: Stack) -> Plan:
    from berth_planner.fit import fit
    from berth_planner.plan import Plan
    from berth_stacks.load import read
    from berth_stacks.planned import asked

    overlay: dict[str, Any] = {}
    if stack.is_local:
        # Where the cluster is changes nothing here, and it need not be there.
        anywhere = {"kubeconfig": "not-asked", "nodeAddress": "127.0.0.1"}
        overlay["berth:connections"] = dict.fromkeys(stack.sites, anywhere)
    request = request_for(stack, overlay, {}, offline=True)
    loaded = read(stack.file.parent, stack.name, request.config, request.secret_keys)
    return Plan(
        stack=stack.name,
        environment=loaded.settings.environment,
        sections=tuple(fit(one, lambda _: None) for one in asked(loaded.settings)),
    )
