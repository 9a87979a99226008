"""A review as one comment of a pull request: at most 65,536 characters, whatever is in it."""

from __future__ import annotations

import html
import re
from collections import defaultdict
from typing import TYPE_CHECKING

from berth.deployer.render import short_type

from . import words
from .model import DESTRUCTIVE

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from .model import Entry, Finding, Review, StackReview

LIMIT = 65_536
"""Characters of a comment on GitHub; here bytes are counted, which are never fewer."""
MARK = "<!-- berth-review -->"
"""The first line, by which a job finds the comment that it wrote before."""
_FOOT = 2_000  # bytes kept for the end
_SHARE = {"rows": 0.25, "destroyed": 0.3, "policies": 0.2}  # of the room, at most, before the next section
_FEW_CREATED = 20  # resources whose inputs are shown in the comment
_NAMED = 8  # resources that a line names


def code(text: object) -> str:
    """Text as a code span that nothing in it can end; in it, nobody is mentioned and nothing is linked."""
    told = words.clean(text)
    fence = "`" * (max((len(run) for run in re.findall("`+", told)), default=0) + 1)
    pad = " " if told[:1] in {"`", ""} or told[-1:] == "`" else ""
    return f"{fence}{pad}{told or ' '}{pad}{fence}"


def cell(text: object) -> str:
    """The same in a table."""
    return code(text).replace("|", "\\|")


def prose(text: object) -> str:
    """Text that others wrote, between words of ours: nothing in it is markup, and nobody is mentioned."""
    told = html.escape(words.clean(text), quote=False)
    told = re.sub(r"([\\`*_{}\[\]()#+!|~^$])", r"\\\1", told)
    return re.sub(r"(?<![\w&])([@:])(?=\w)|(?<=\w)(://)|(#)(?=\d)", lambda found: _apart(found[0]), told)


def _apart(mark: str) -> str:
    """A mark that would mention or link, followed by a comment that shows nothing."""
    return f"{mark[0]}<!-- -->{mark[1:]}"


def block(lines: Iterable[str], language: str = "diff") -> str:
    """Lines as a block of code that none of them can end."""
    text = "\n".join(lines)
    fence = "`" * max(3, max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def folded(summary: str, body: str) -> str:
    """Text that opens at a click; the summary is HTML."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


class _Room:
    """What still fits: text is added in the order of its weight, and what does not fit is counted."""

    def __init__(self, size: int) -> None:
        self.left = size
        self.parts: list[str] = []
        self.omitted: dict[str, int] = defaultdict(int)

    def add(self, text: str) -> bool:
        """Add a part, if it fits."""
        size = len(text.encode()) + 2
        if size > self.left:
            return False
        self.left -= size
        self.parts.append(text)
        return True

    def section(self, heading: str, parts: Sequence[str], what: str, share: float = 1.0) -> None:
        """A heading with as many parts as fit into a share of the room."""
        if not parts:
            return
        floor = self.left * (1 - share)
        if not self.add(heading):
            self.omitted[what] += len(parts)
            return
        for number, part in enumerate(parts):
            if self.left - len(part.encode()) - 2 < floor or not self.add(part):
                self.omitted[what] += len(parts) - number
                return


def comment(review: Review, report: str = "") -> str:
    """The comment, with a line of what was left out and where all of it is.

    Args:
        review: the review.
        report: where people find the full report; nothing where there is none.
    """
    room = _Room(LIMIT - _FOOT)
    room.add(f"{MARK}\n## Berth: {code(review.after)} against {code(review.before)}")
    room.add(f"**{words.headline(review)}**")
    _table(review, room)
    room.section("### Fails", _failures(review), "failures", 0.3)
    room.section(
        "### Destroyed and replaced",
        _destroyed(review),
        "lines of what is destroyed or replaced",
        _SHARE["destroyed"],
    )
    room.section("### Policies", _policies(review), "lines about policies", _SHARE["policies"])
    room.section("### Exceptions from policies", _exceptions(review), "exceptions", 0.3)
    room.section("### What changes", _changes(review), "changes")
    room.section("### Open findings and warnings", _open(review), "lists of open findings")
    foot = [f"Cost: {prose(review.cost)}.", *map(prose, review.notes)]
    if room.omitted:
        left = ", ".join(f"{number} {what}" for what, number in room.omitted.items())
        foot.insert(0, f"**Left out for want of room: {left}.**")
    if report:
        foot.append(f"Full report: {code(report)}.")
    return "\n\n".join([*room.parts, " ".join(foot)]) + "\n"


def _table(review: Review, room: _Room) -> None:
    heads = ["Stack", "", "Create", "Update", "Replace", "Delete", "Policies", "Open"]
    lines = [f"| {' | '.join(heads)} |", "|---|---|--:|--:|--:|--:|---|--:|"]
    limit, left = room.left * _SHARE["rows"], 0
    rows = sorted(review.stacks, key=lambda stack: (stack.is_ok and stack.state == "same", stack.stack))
    for stack in rows:
        counts = stack.counts
        counts["delete"] += counts.pop("retain")
        unknown = stack.state in {"failed", "not compared", "gone"}
        numbers = [
            "?"
            if unknown
            else ""
            if not counts[op]
            else f"**{counts[op]}**"
            if op in DESTRUCTIVE
            else str(counts[op])
            for op in ("create", "update", "replace", "delete")
        ]
        state = words.STATES[stack.state]
        told = f"**{state}**" if state.isupper() else state
        found = words.policies_of(stack)
        found = f"**{found}**" if stack.stopping or found.startswith("DID NOT") else found
        cells = [cell(stack.stack), told, *numbers, prose(found), words.open_of(stack)]
        line = f"| {' | '.join(cells)} |"
        if sum(len(one.encode()) for one in lines) + len(line.encode()) > limit:
            left += 1
            continue
        lines.append(line)
    room.add("\n".join(lines))
    if left:
        room.omitted["rows of the table"] += left


def _failures(review: Review) -> list[str]:
    found = []
    for stack in review.stacks:
        if stack.state in {"failed", "not compared", "gone"} or (stack.state == "new" and stack.note):
            told = f"- **{prose(stack.stack)}: {prose(stack.note)}**"
            if stack.errors:
                text = "\n".join(stack.errors)
                told += "\n\n" + block(
                    [words.cut(words.clean(one), 300) for one in text.splitlines()[:20]], "text"
                )
            found.append(told)
        for pack in stack.packs:
            if pack.error:
                error = words.cut(pack.error, 600)
                found.append(
                    f"- **{prose(stack.stack)}: policy pack {code(pack.name)} did not run**: {prose(error)}"
                )
    return found


def _destroyed(review: Review) -> list[str]:
    """One line for each thing that goes; what goes with its component is named there."""
    found: list[str] = []
    for stack in review.stacks:
        by_urn = {entry.urn: entry for entry in stack.entries}
        groups: dict[str, list[Entry]] = defaultdict(list)
        for entry in stack.changes:
            if entry.op in DESTRUCTIVE:
                groups[_root(entry, by_urn)].append(entry)
        for urn, members in groups.items():
            root = by_urn[urn]
            if root.custom:
                found.append(_destroys(stack, root))
            else:
                named = ", ".join(code(words.title(member)) for member in members[:_NAMED])
                more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
                lost = sorted({note for one in members for note in one.notes if _is_loss(note)})
                notes = "; ".join(map(prose, [*root.notes, *lost]))
                found.append(
                    f"- **delete {words.count(len(members), 'resource')}** in {code(stack.stack)}, all of "
                    f"{code(words.title(root))}: {named}{more}" + (f". {notes}" if notes else "")
                )
    return found


def _is_loss(note: str) -> bool:
    return not note.startswith(("goes with its component", "no longer", "looks "))


def _root(entry: Entry, by_urn: dict[str, Entry]) -> str:
    """The outermost component that is deleted together with a resource; else the resource itself."""
    root, above = entry, by_urn.get(entry.parent)
    while entry.op == "delete" and above is not None:
        if not above.custom and above.op == "delete":
            root = above
        above = by_urn.get(above.parent)
    return root.urn


def _destroys(stack: StackReview, entry: Entry) -> str:
    reason = words.why(entry)
    name = f" ({code(entry.object)})" if entry.object and entry.name not in entry.object else ""
    return f"- **{entry.op}** {code(words.title(entry))}{name} in {code(stack.stack)}: **{prose(reason)}**"


def _policies(review: Review) -> list[str]:
    """New violations, each with its message; what was so before is counted and folded."""
    lines = []
    for since, head in (("new", "new"), ("unknown", "found")):
        for stack in review.stacks:
            lines += [
                _violation(stack, one, head)
                for one in stack.findings
                if one.since == since and _is_found(one)
            ]
    for since, what in (("already", "there before the change"), ("closed", "no longer so")):
        some = [
            (s, one) for s in review.stacks for one in s.findings if one.since == since and _is_found(one)
        ]
        if some:
            rows = [
                f"{s.stack}: {one.policy} ({one.level}): {one.urn.rpartition('::')[2]}" for s, one in some
            ]
            lines.append(_list(f"{words.count(len(some), 'result')} {what}", rows))
    open_ = [
        (s, one)
        for s in review.stacks
        for one in s.findings
        if one.status == "unevaluated" and one.since != "closed"
    ]
    if open_:
        rows = sorted({f"{s.stack}: {one.policy}: {one.urn.rpartition('::')[2]}" for s, one in open_})
        lines.append(_list(f"{len(open_)} could not be evaluated, since values are unknown: no pass", rows))
    return lines


def _is_found(one: Finding) -> bool:
    return one.status != "unevaluated"


def _violation(stack: StackReview, one: Finding, word: str) -> str:
    level = f"{one.level} {one.status}"
    bold = f"**{word}: {level}**" if one.fails else f"{word}: {level}"
    where = code(one.urn.rpartition("::")[2]) if one.urn else "the stack"
    message = "<br>".join(prose(line) for line in words.cut(one.message, 900).splitlines() if line.strip())
    return f"- {bold} {code(one.policy)} in {code(stack.stack)}, {where}: {message}"


def _list(summary: str, rows: Sequence[str], most: int = 60) -> str:
    told = [words.cut(words.clean(row), 240) for row in rows[:most]]
    if len(rows) > most:
        told.append(f"… {len(rows) - most} more")
    return folded(html.escape(words.clean(summary)), block(told, "text"))


def _exceptions(review: Review) -> list[str]:
    found = []
    for one in review.exceptions:
        word = "**new exception**" if one.kind == "add" else "exception gone"
        who = f"{prose(one.owner) or 'nobody'} until {prose(one.expires) or 'no date'}"
        found.append(
            f"- {word} from {code(one.rule)} in {code(one.stack)} for {code(one.object)}: "
            f"{prose(one.reason)} ({who})"
        )
    return found


def _changes(review: Review) -> list[str]:
    """Diffs, the same change of several stacks once; then what is made, then outputs, then churn."""
    return [*_updates(review), *_created(review), *_outputs(review), *_churn(review)]


def _updates(review: Review) -> list[str]:
    same: dict[object, list[tuple[StackReview, Entry]]] = defaultdict(list)
    for stack in review.stacks:
        for entry in stack.changes:
            if entry.op in {"update", "replace"} and not entry.only_churn:
                shape = [
                    (one.path, one.kind, words.value(one.before, 10_000), words.value(one.after, 10_000))
                    for one in entry.changes
                    if not one.churn
                ]
                same[(entry.op, entry.type, str(shape), str(entry.reasons))].append((stack, entry))
    parts = []
    for places in same.values():
        entry = places[0][1]
        where = "; ".join(f"{code(stack.stack)} {code(one.name)}" for stack, one in places[:_NAMED])
        more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
        lines = [line for one in entry.changes if not one.churn for line in words.diff_lines(one)]
        churn = sum(one.churn for one in entry.changes)
        if churn:
            lines.append(
                f"  and {words.count(churn, 'hash', 'hashes')} that follow{'s' if churn == 1 else ''} from it"
            )
        if maybe := [reason for reason in entry.reasons if not reason.certain]:
            lines.append(f"  {maybe[0].text}")
        if entry.policies:
            lines.append(f"! violates {', '.join(map(words.clean, entry.policies))}")
        parts.append(f"**{entry.op}** {code(short_type(entry.type))} in {where}{more}\n\n{block(lines)}")
    return parts


def _created(review: Review) -> list[str]:
    parts = []
    for stack in review.stacks:
        made = [entry for entry in stack.changes if entry.op == "create"]
        if not made:
            continue
        lines: list[str] = []
        for entry in made:
            lines.append(
                f"+ {words.clean(words.title(entry))}"
                + (f"  {words.clean(entry.notes[0])}" if entry.notes else "")
            )
            if len(made) <= _FEW_CREATED:
                lines += [f"+     {line[2:]}" for one in entry.changes for line in words.diff_lines(one, 120)]
        name = f"<code>{html.escape(words.clean(stack.stack))}</code>"
        parts.append(folded(f"{words.count(len(made), 'resource')} created in {name}", block(lines)))
    return parts


def _outputs(review: Review) -> list[str]:
    signs = {"add": "+", "update": "~", "delete": "-"}
    rows = [
        f"{stack.stack}: {signs[one.kind]} {one.name}: "
        + (f"{words.value(one.before, 100)} => " if one.kind == "update" else "")
        + words.value(one.before if one.kind == "delete" else one.after, 100)
        for stack in review.stacks
        if stack.state != "new"
        for one in stack.outputs
    ]
    return [_list(f"{words.count(len(rows), 'output')} differ", rows)] if rows else []


def _churn(review: Review) -> list[str]:
    rows = [
        f"{stack.stack}: {words.title(entry)}: {', '.join(one.path for one in entry.changes)}"
        for stack in review.stacks
        for entry in stack.changes
        if entry.only_churn
    ]
    return (
        [_list(f"{words.count(len(rows), 'resource')} changed only by hashes of other changes", rows)]
        if rows
        else []
    )


def _open(review: Review) -> list[str]:
    parts = []
    for since, what in (
        ("new", "newly open"),
        ("closed", "closed by this change"),
        ("already", "open before and after"),
    ):
        rows = [
            f"{stack.stack}: {text}" for stack in review.stacks for word, text in stack.open if word == since
        ]
        if rows:
            told = _list(f"{words.count(len(rows), 'finding')} {what}", rows)
            parts.append(
                f"**{words.count(len(rows), 'finding')} newly open**\n\n{told}" if since == "new" else told
            )
    rows = [f"{stack.stack}: {text}" for stack in review.stacks for text in stack.warnings]
    return [*parts, _list(f"{words.count(len(rows), 'new warning')}", rows)] if rows else parts
