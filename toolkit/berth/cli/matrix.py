"""How good our own rules are, for `berth judge --matrix`."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth_policy.testing.score import Score

    from berth.cli.console import Console
    from berth.deployer import Report
    from berth.judges.agreement import Agreement
    from berth.judges.casecounts import Cases

EXCLUSIONS = ROOT / "policy" / "mutation-exclusions.yaml"


@dataclass(frozen=True)
class Matrix:
    """What was measured."""

    rules: int
    score: Score
    agreement: dict[str, Agreement]
    """With the reference evaluator on its fixtures, as pods and in deployments."""
    cases: Cases
    unused: tuple[str, ...]
    """Exclusions that cover no mutant of any stack."""

    @property
    def ok(self) -> bool:
        """The score is what is wanted, every exclusion covers something, and nobody differs."""
        from berth_policy.testing.score import WANTED

        differs = any(one.differences for one in self.agreement.values())
        return self.score.share >= WANTED and not self.unused and not differs

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "ok": self.ok,
            "rules": self.rules,
            "mutation": self.score.to_json(),
            "podSecurity": {name: asdict(one) for name, one in self.agreement.items()},
            "cases": asdict(self.cases),
            "unusedExclusions": list(self.unused),
        }


def measure(reports: Sequence[Report], program: Path, console: Console, *, every: bool) -> Matrix:
    """Mutate what the stacks would make, compare with the reference, count the tests.

    Whether an exclusion is of use shows only where the reports are of every stack.

    Raises:
        UserError: the file of exclusions is wrong.
        JudgeFailedError: the tests could not be counted.
    """
    from berth_policy import pack
    from berth_policy.testing import load_preview
    from berth_policy.testing.score import ExclusionsError, read_exclusions, score

    from berth import judges
    from berth.cli.errors import UserError
    from berth.judges.agreement import Pod, compare
    from berth.judges.casecounts import count_cases

    rules = {rule.name: rule.group for rule in pack.rules()}
    try:
        exclusions = read_exclusions(EXCLUSIONS)
    except ExclusionsError as error:
        raise UserError(str(error)) from None
    stacks = {}
    with tempfile.TemporaryDirectory(prefix="berth-matrix-") as scratch:
        for report in reports:
            file = Path(scratch, f"{report.stack}.json")
            file.write_text(json.dumps(report.to_json()))
            stacks[report.stack] = load_preview(file)
    with console.step("matrix", "every leaf of every resource, mutated", 60):
        made = score(stacks, exclusions)
    with console.step("matrix", "the reference's fixtures, and the tests"):
        pods = [Pod(one.name, one.metadata, one.spec) for one in judges.fixtures(program)]
        agreement = {
            "pods": compare(program, pods),
            "deployments": compare(program, pods, deployed=True),
        }
        unused = tuple(made.unused) if every else ()
        return Matrix(len(rules), made, agreement, count_cases(ROOT, rules), unused)


def show(matrix: Matrix) -> None:
    """Print it, within 80 columns."""
    made = matrix.score
    left_out = f"{made.excluded.total()} of {made.mutants} weaken nothing, by {len(made.excluded)} reasons:"
    lines = [
        "",
        f"{matrix.rules} rules of our own",
        f"  mutation      {made.share:.1%}: {made.killed.total()} of {made.tried} mutants that weaken safety",
        "                trip a rule",
        f"                {left_out}",
        f"                {EXCLUSIONS.relative_to(ROOT)}",
        *(f"                an exclusion covers no mutant: {pattern}" for pattern in matrix.unused),
    ]
    for name, one in matrix.agreement.items():
        agree = one.judged - len(one.differences)
        lines.append(f"  pod-security  {agree} of {one.judged} fixtures of the reference agree, as {name}")
        lines += (f"                {difference}" for difference in one.differences)
    lines += [
        f"  tests         {matrix.cases.tests}",
        "",
        f"    {'':<16}{'rules':>7}{'bad':>7}{'unknown':>9}{'whole':>7}",
        *(
            f"    {group:<16}{row['rules']:>7}{row['bad']:>7}{row['unknown']:>9}{row['whole']:>7}"
            for group, row in matrix.cases.per_group.items()
        ),
        "    bad: one thing of a good resource changed; unknown: a value that a preview",
        "    does not know; whole: rules that only tests of whole programs try",
        *(f"    {count:>5}  {text}" for text, count in matrix.cases.whole.items()),
    ]
    click.echo("\n".join(lines))
