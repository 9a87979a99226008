"""`berth preview` against something else: every stack's change as one review, and its files."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.paths import ROOT
from berth.cli.preparing import Need, prepare
from berth.cli.revisions import Checkout, checked_out, this_checkout
from berth.cli.stackfile import PROJECT, find_stack, stack_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from berth.deployer import Report, RunRequest
    from berth.review import Review, StackReview

    Side = tuple[str, Checkout | None]  # a stack, here or in another revision

EXCEPTIONS = Path("policy") / "exceptions.yaml"
NOTES = ("Secrets are not opened: that there is one is compared, its value is not.",)
_PLANNED_BY = ("Pulumi.yaml", "stacks/", "components/", "catalogue/")  # what plans are made of
FILES = ("review.md", "review.html", "review.json", "review.sarif", "review.junit.xml")


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What a review is asked for.

    Attributes:
        names: the stacks; empty for all.
        base: a revision to compare with.
        against: a file or folder of exports to compare with.
        live: whether to compare with the clusters.
        judged: gives a request the policy packs that look at it, on both sides the same.
        context: the kubeconfig context of the cluster that is looked at.
    """

    names: tuple[str, ...] = ()
    base: str | None = None
    against: Path | None = None
    live: bool = False
    judged: Callable[[RunRequest], RunRequest] = lambda request: request
    context: str | None = None


def ops_of(text: str) -> frozenset[str]:
    """Return the operations that `--fail-on` names.

    Raises:
        UserError: it names something else.
    """
    from berth.review.model import OPS

    found = frozenset(text.replace(",", " ").split())
    if odd := sorted(found - set(OPS)):
        raise UserError(f"--fail-on {odd[0]}: allowed are {', '.join(OPS)}, with commas between")
    return found


def make_review(wanted: Wanted, console: Console) -> Review:
    """Plan what is to be planned, and compare.

    Raises:
        UserError: a stack, revision or export is not there.
    """
    from berth.review import Review

    ways = {"--base": wanted.base is not None, "--against": wanted.against is not None, "--live": wanted.live}
    if len(given := [way for way, there in ways.items() if there]) > 1:
        raise UserError(f"{' and '.join(given)}: a review compares with one thing")
    if wanted.context and not wanted.live:
        raise UserError("--context names the cluster of --live")
    if wanted.base is not None:
        with checked_out(wanted.base) as old:
            return _against_revision(wanted, old, console)
    names = list(wanted.names) or stack_names()
    for name in names:
        find_stack(name)
    if wanted.against is not None:
        return _against_exports(wanted, wanted.against, names, console)
    planned = _plan([(name, None) for name in names], wanted, console)
    from berth.review import live, new_stack

    if wanted.live:
        stacks = [live(planned[name, None]) for name in names]
        return Review("the live clusters", this_checkout(), tuple(stacks), notes=NOTES)
    stacks = [new_stack(planned[name, None]) for name in names]
    return Review("nothing", this_checkout(), tuple(stacks), notes=NOTES)


def _against_revision(wanted: Wanted, old: Checkout, console: Console) -> Review:
    from berth.review import (
        ExceptionsError,
        Review,
        changed_exceptions,
        gone_stack,
        new_stack,
        plan_against_plan,
    )

    now, then = stack_names(), stack_names(old.root / "stacks")
    names = list(wanted.names) or sorted({*now, *then})
    for name in names:
        if name not in {*now, *then}:
            find_stack(name)  # says what there is
    planned = _plan_both(wanted, old, [name for name in names if name in now], then, console)
    stacks: list[StackReview] = []
    for name in names:
        after, before = planned.get((name, None)), planned.get((name, old))
        if after is None:
            stacks.append(gone_stack(name, before))
        elif before is None:
            stacks.append(new_stack(after))
        else:
            stacks.append(plan_against_plan(after, before))
    texts = [path.read_text() if path.exists() else "" for path in (old.root / EXCEPTIONS, ROOT / EXCEPTIONS)]
    try:
        exceptions = changed_exceptions(*texts)
    except ExceptionsError as error:
        raise UserError(f"{EXCEPTIONS}: {error}") from None
    return Review(old.name, this_checkout(), tuple(stacks), exceptions, notes=NOTES)


def _plan_both(
    wanted: Wanted, old: Checkout, now: list[str], then: list[str], console: Console
) -> dict[Side, Report]:
    """Plan stacks here and in another revision, there with policies only where they may say something else.

    The same plan has the same results. Where a stack is likely to change, both sides are shown to the packs
    at once; where one changes against expectation, the other revision is planned again.
    """
    names = wanted.names or then
    before = [(name, old) for name in names if name in then]
    quick = [side for side in before if side[0] in now and not _is_touched(side[0], old.changed)]
    sides: list[Side] = [*((name, None) for name in now), *before]
    planned = dict(_plan(sides, wanted, console, without=quick))
    again = [side for side in quick if not _take_results(planned[side], planned[side[0], None])]
    if again:
        planned |= _plan(again, wanted, console)
    return planned


def _is_touched(stack: str, changed: tuple[str, ...]) -> bool:
    """Whether a change of these files is likely to change a stack."""
    own = re.compile(r"stacks/Pulumi\.(.+)\.yaml")
    for path in changed:
        found = own.fullmatch(path)
        if (found and found[1] == stack) or (not found and path.startswith(_PLANNED_BY)):
            return True
    return False


def _take_results(before: Report, after: Report) -> bool:
    """Give a plan the policies' results of one that is the same; false where it is not."""
    if before.steps != after.steps or before.errors:
        return not after.policy_packs
    before.policy_packs, before.policy_results = after.policy_packs, after.policy_results
    return True


def _against_exports(wanted: Wanted, place: Path, names: list[str], console: Console) -> Review:
    from berth.review import Deployed, ExportError, Review, new_stack, plan_against_state, read_export

    if place.is_dir():
        files = {name: place / f"{name}.json" for name in names}
    elif not place.exists():
        raise UserError(f"--against {place}: there is no such file or folder")
    elif len(names) == 1:
        files = {names[0]: place}
    else:
        raise UserError(
            f"--against {place} is one file, and {len(names)} stacks are asked for: name the stack that it "
            "is of, or give a folder with a <stack>.json for each"
        )
    exports: dict[str, Deployed] = {}
    for name, file in files.items():
        if file.exists():
            try:
                exports[name] = read_export(file, PROJECT, name)
            except ExportError as error:
                raise UserError(f"--against: {error}") from None
    if not exports:
        raise UserError(
            f"--against {place}: has no export of {', '.join(names)}; they are named <stack>.json"
        )
    planned = _plan([(name, None) for name in names], wanted, console)
    stacks = [
        plan_against_state(planned[name, None], exports[name].resources, exports[name].outputs)
        if name in exports
        else new_stack(planned[name, None], f"{place.name} has no {name}.json: taken as not deployed")
        for name in names
    ]
    return Review(f"what {place.name} says is deployed", this_checkout(), tuple(stacks), notes=NOTES)


def _plan(
    sides: Sequence[Side], wanted: Wanted, console: Console, without: Sequence[Side] = ()
) -> Mapping[Side, Report]:
    """Plan stacks of this checkout and of another one, all from the same warm processes.

    Args:
        sides: what to plan.
        wanted: what the review is asked for.
        console: where progress goes.
        without: of these, what no policy pack need look at.
    """
    prepared = {side: _request(side, wanted, console, judged=side not in without) for side in sides}
    requests = {side: one for side, one in prepared.items() if not isinstance(one, str)}
    with console.step("preview", f"planning {len(requests)} times, {'live' if wanted.live else 'offline'}"):
        done = asyncio.run(_previews(requests))
    return {
        side: done[side] if side in done else _refused(side[0], str(one)) for side, one in prepared.items()
    }


def _request(side: Side, wanted: Wanted, console: Console, *, judged: bool) -> RunRequest | str:
    """How a stack is planned, or why it cannot be: a wrong file is its own stack's failure."""
    from berth_stacks.errors import SettingsError

    from berth.deployer import DeployError

    name, old = side
    quiet = console if wanted.live else Console(quiet=True)
    try:
        request = prepare(
            name,
            quiet,
            need=Need.LOOK,
            offline=not wanted.live,
            context=wanted.context,
            root=old.root if old else None,
        ).request
    except (SettingsError, DeployError) as error:
        return _relative(str(error), old)
    path = old.rooms if old else ()
    request = dataclasses.replace(request, path=path)
    return wanted.judged(request) if judged else request


def _relative(text: str, old: Checkout | None) -> str:
    """A message without the folder in which a revision lies only now: the same every time."""
    return text.replace(f"{old.root}/", "") if old else text.replace(f"{ROOT}/", "")


def _refused(name: str, why: str) -> Report:
    from berth.deployer import Diagnostic, Report

    return Report("preview", PROJECT, name, diagnostics=[Diagnostic("error", why)], ok=False)


async def _previews(
    requests: Mapping[Side, RunRequest],
) -> dict[Side, Report]:
    from berth.cli.planning import ground_of, plan_all
    from berth.deployer import Diagnostic

    with_ground = {
        (name, old): (ground_of(find_stack(name, old.root if old else None)), request)
        for (name, old), request in requests.items()
    }
    one_revision = all(old is None for _, old in requests)
    reports = await plan_all(with_ground, one_revision=one_revision)
    for (_, old), report in reports.items():
        report.diagnostics = [
            Diagnostic(d.severity, _relative(d.message, old), d.urn, d.code) for d in report.diagnostics
        ]
    return reports


def make_folder(folder: Path) -> None:
    """Make the folder of a report, if need be: before anything is planned, so that nobody waits for nothing.

    Raises:
        UserError: it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"--report {folder}: {error.strerror}; name a folder that can be written") from None


def write_files(review: Review, folder: Path) -> list[Path]:
    """Write every form of a review into a folder; return the files.

    Raises:
        UserError: it cannot be written.
    """
    from berth.review import as_json, as_junit, as_sarif, comment, page, to_text

    texts = (
        comment(review, report=str(folder / "review.html") if not folder.is_absolute() else "review.html"),
        page(review),
        to_text(as_json(review)),
        to_text(as_sarif(review)),
        as_junit(review),
    )
    try:
        for name, text in zip(FILES, texts, strict=True):
            (folder / name).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UserError(f"--report {folder}: {error.strerror}: {error.filename}") from None
    return [folder / name for name in FILES]


def run(
    wanted: Wanted, console: Console, folder: Path | None, *, as_json: bool, fail_on: frozenset[str]
) -> None:
    """Make a review, write and print it; exit code 1 where a stack fails, or at something of `fail_on`."""
    from berth import review as reviewing

    if folder is not None:
        make_folder(folder)
    review = make_review(wanted, console)
    if folder is not None:
        write_files(review, folder)
    if as_json:
        click.echo(json.dumps(reviewing.as_json(review), indent=2))
    else:
        click.echo(reviewing.summary(review), nl=False)
        if folder is not None:
            click.echo(f"\nWritten to {folder}: {', '.join(FILES)}")
    unwanted = [op for op in fail_on if review.counts[op]]
    if unwanted and not as_json:
        click.echo(f"--fail-on: the change has {' and '.join(sorted(unwanted))} operations")
    if unwanted or not review.is_ok:
        raise click.exceptions.Exit(1)
