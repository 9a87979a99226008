"""`berth policy`: stacks against a policy pack, planned without any account, cluster or network."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.packs import FOLDER, judging, seconds_option
from berth.cli.paths import ROOT
from berth.cli.previews import plan_offline
from berth.cli.reports import json_option
from berth.cli.stackfile import find_stack, stack_names

if TYPE_CHECKING:
    from pathlib import Path

    from berth.deployer import PolicyResult, Report

PACK = ROOT / "policy"
CLEAN, OPEN, FAILED = "clean", "open", "failed"
EXIT_CODES = {CLEAN: 0, FAILED: 1, OPEN: 3}
HEAD = ["stack", "environment", "resources", "violated", "advice", "unevaluated", "broken", "open", "state"]
_OPEN = "open-"  # how policies begin that report what only another place can answer
_PRODUCTION = "production"


@dataclass(frozen=True)
class Verdict:
    """What the policies say of one stack."""

    environment: str
    report: Report

    @property
    def state(self) -> str:
        """`failed`, `open` where findings are open and nothing else is wrong, else `clean`."""
        report = self.report
        results = report.policy_results
        lenient = self.environment != _PRODUCTION
        if not report.ok or any(_fails(result, lenient=lenient) for result in results):
            return FAILED
        return OPEN if any(map(_is_open, results)) else CLEAN

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain JSON values without secrets."""
        whole = self.report.to_json()
        return {
            "stack": self.report.stack,
            "environment": self.environment,
            "state": self.state,
            "errors": [message.message for message in self.report.errors],
            **{key: whole[key] for key in ("policyPacks", "policyResults")},
        }

    def row(self) -> list[str]:
        """The stack's line of the table."""
        counts = [
            sum(result.status == "violated" and result.fails for result in self.report.policy_results),
            sum(
                result.status == "violated" and not result.fails and not _is_open(result)
                for result in self.report.policy_results
            ),
            *(self._count(status) for status in ("unevaluated", "broken")),
            sum(map(_is_open, self.report.policy_results)),
        ]
        resources = max((run.analyzed for run in self.report.policy_packs), default=0)
        return [
            self.report.stack,
            self.environment,
            str(resources),
            *(str(count or "-") for count in counts),
            self.state,
        ]

    def _count(self, status: str) -> int:
        return sum(result.status == status for result in self.report.policy_results)


def _is_open(result: PolicyResult) -> bool:
    return result.status == "violated" and result.policy.startswith(_OPEN) and not result.fails


def _fails(result: PolicyResult, *, lenient: bool) -> bool:
    """Whether a result fails its stack: in production also a mandatory rule that could not be evaluated."""
    unevaluated = result.status == "unevaluated" and result.level == "mandatory"
    return result.fails or (unevaluated and not lenient)


@click.command()
@click.argument("stacks", nargs=-1, metavar="[STACK]...")
@click.option("--all", "every", is_flag=True, help="Every stack that has a file.")
@click.option("--pack", metavar="DIR", type=FOLDER, default=PACK, help="Instead of policy/.")
@click.option("--config", metavar="FILE", type=FOLDER, help="JSON with levels and settings for the pack.")
@seconds_option
@json_option
def policy(
    stacks: tuple[str, ...],
    *,
    every: bool,
    pack: Path,
    config: Path | None,
    policy_seconds: float,
    as_json: bool,
) -> None:
    """Check what STACKs would deploy against the policy pack.

    Nothing is changed and nobody is asked. Exit codes: 0 nothing to say
    against it; 1 a mandatory rule is violated, a rule or the pack is broken,
    or in production a mandatory rule could not be evaluated; 3 only findings
    are open that another place has to answer (docs/stacks.md).
    """
    if every == bool(stacks):
        raise UserError(f"name stacks, or --all of them: {', '.join(stack_names())}")
    names = stack_names() if every else list(dict.fromkeys(stacks))
    environments = {
        name: str(find_stack(name).config.get("berth:environment") or _PRODUCTION) for name in names
    }
    judged = judging((pack,), (config,) if config else (), policy_seconds)
    reports = asyncio.run(plan_offline(names, Console(), judged))
    verdicts = [Verdict(environments[report.stack], report) for report in reports]
    states = [verdict.state for verdict in verdicts]
    state = next(one for one in (FAILED, OPEN, CLEAN) if one in states)
    if as_json:
        found = {"version": 1, "state": state, "stacks": [verdict.to_json() for verdict in verdicts]}
        click.echo(json.dumps(found, indent=2))
    else:
        _print(verdicts)
    if EXIT_CODES[state]:
        raise click.exceptions.Exit(EXIT_CODES[state])


def _print(verdicts: list[Verdict]) -> None:
    from berth.deployer import render_findings

    for verdict in verdicts:
        click.echo(f"==== {verdict.report.stack} ({verdict.environment})")
        click.echo(render_findings(verdict.report))
    rows = [HEAD, *(verdict.row() for verdict in verdicts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        left = (cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True))
        right = (cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))
        click.echo(" ".join((*left, *right)))
