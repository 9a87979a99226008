"""`berth plan`: whether a stack's models fit, carry their load and can be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.errors import UserError
from berth.cli.reports import json_option
from berth.cli.stackfile import STACKS, Stack, find_stack, local_clusters, request_for, stack_names

if TYPE_CHECKING:
    from berth_planner.plan import Plan
    from berth_stacks.load import Loaded


@click.command()
@click.argument("stack", required=False)
@click.option("--all", "every", is_flag=True, help="Every stack that has a file.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A model's config.json, instead of a stack.",
)
@click.option("--on", metavar="KEY", help="With --config: the accelerator, such as nvidia-l4.")
@click.option("--count", default=1, show_default=True, help="With --config: accelerators of a replica.")
@click.option("--slots", default=16, show_default=True, help="With --config: requests at once.")
@click.option("--tokens", default=8192, show_default=True, help="With --config: tokens of a request.")
@click.option("--engine", default="vllm", show_default=True, help="With --config: vllm or sglang.")
@click.option(
    "--ask", is_flag=True, help="Ask clouds and clusters first: prices, quotas, offers, free accelerators."
)
@json_option
def plan(
    stack: str | None,
    *,
    every: bool,
    config: Path | None,
    on: str | None,
    count: int,
    slots: int,
    tokens: int,
    engine: str,
    ask: bool,
    as_json: bool,
) -> None:
    """Say whether the models of STACK fit, carry their load, and can be had.

    Memory, replicas, quotas and prices, by formulas that can be recomputed by
    hand (docs/planner.md). What was measured is in stacks/measurements, prices
    are in stacks/prices.yaml, and --ask asks clouds and clusters: answers are
    kept with their day. Without it, nothing is asked of anybody. The stack's
    program plans the same, and stops where this would say 1.

    Exit code: 0 every check passed, 1 one failed, 3 none failed and one is
    unknown, 2 wrong input.
    """
    from berth_planner.page import page
    from berth_stacks.planned import plan as planned

    from berth.cli.plan_asking import ask_all

    if config is not None or on is not None:
        if config is None or on is None or stack is not None or every or ask:
            raise UserError("--config FILE goes with --on ACCELERATOR, and without a stack, --all and --ask")
        made_one = _of_config(config, on, (count, slots, tokens), engine)
        click.echo(json.dumps(made_one.to_json(), indent=2) if as_json else page(made_one))
        raise click.exceptions.Exit(made_one.exit_code)
    if every == (stack is not None):
        raise UserError(f"name one stack, or --all of them: {', '.join(stack_names())}")
    read = [read_stack(find_stack(name)) for name in ([stack] if stack is not None else stack_names())]
    if ask:
        ask_all(read, STACKS)
    plans = [planned(one.name, one.settings, STACKS) for one in read]
    if as_json:
        made: Any = [one.to_json() for one in plans]
        click.echo(json.dumps(made if every else made[0], indent=2))
    else:
        click.echo("\n\n".join(map(page, plans)))
    codes = {one.exit_code for one in plans}
    raise click.exceptions.Exit(1 if 1 in codes else max(codes))


def _of_config(file: Path, on: str, numbers: tuple[int, int, int], engine: str) -> Plan:
    """A model that is in no stack: only whether it fits."""
    from berth_planner.configs import from_file, placed
    from berth_planner.fit import fit
    from berth_planner.plan import Plan

    asked = placed(from_file(file), file.name, on, numbers, engine)
    return Plan(stack=file.name, environment="no stack", sections=(fit(asked, {}),))


def read_stack(stack: Stack) -> Loaded:
    """A stack's settings as a plan needs them: where a local cluster is changes nothing."""
    from berth_stacks.load import read

    overlay: dict[str, Any] = {}
    if stack.is_local:
        overlay["berth:connections"] = {
            site: {"kubeconfig": f"not-asked-{cluster}", "nodeAddress": "127.0.0.1"}
            for site, cluster in local_clusters(stack).items()
        }
    request = request_for(stack, overlay, {}, offline=True)
    return read(stack.file.parent, stack.name, request.config, request.secret_keys)
