"""A review as one comment of a pull request: at most 65,536 characters, whatever is in it."""

from __future__ import annotations

import html
import json
import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from berth.deployer.render import short_type

from . import words
from .model import DESTRUCTIVE
from .replacing import JUST_MADE, MAYBE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .model import Change, Entry, Finding, Review

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
    told = re.sub(r"([\\`*_\[\]#|~^$])", r"\\\1", told)
    return re.sub(r"(?<![\w&])([@:])(?=\w)|(?<=\w)(://)|(#)(?=\d)", lambda found: _apart(found[0]), told)


def marked(text: str) -> str:
    """Text of ours in which code stands in backticks: the code as code, the rest as prose."""
    parts = text.split("`")
    return "".join(code(part) if index % 2 else prose(part) for index, part in enumerate(parts))


def _apart(mark: str) -> str:
    """A mark that would mention or link, followed by a space without width."""
    return f"{mark[0]}&#8203;{mark[1:]}"


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
        found = prose(words.policies_of(stack))
        found = f"**{found}**" if stack.stopping or any(pack.error for pack in stack.packs) else found
        cells = [cell(stack.stack), told, *numbers, found, words.open_of(stack)]
        line = f"| {' | '.join(cells)} |"
        if sum(len(one.encode()) for one in lines) + len(line.encode()) > limit:
            left += 1
            continue
        lines.append(line)
    room.add("\n".join(lines))
    if left:
        room.omitted["rows of the table"] += left


def _failures(review: Review) -> list[str]:
    """What is wrong before any change is looked at, the same in several stacks once."""
    texts: dict[str, list[str]] = defaultdict(list)
    for stack in review.stacks:
        if stack.state in {"failed", "not compared", "gone"} or (stack.state == "new" and stack.note):
            text = f"**{prose(stack.note)}**"
            lines = [line for error in stack.errors for line in error.splitlines()]
            if lines:
                told = [words.cut(words.clean(line), 300) for line in lines[:20]]
                told += [f"… {words.count(len(lines) - 20, 'more line')}"] if len(lines) > len(told) else []
                text += f"\n\n{block(told, 'text')}"
            texts[text].append(stack.stack)
        for pack in stack.packs:
            if pack.error:
                text = f"**policy pack {code(pack.name)} did not run**: {prose(words.cut(pack.error, 600))}"
                texts[text].append(stack.stack)
    return [f"- {', '.join(map(code, stacks))}: {text}" for text, stacks in texts.items()]


def _destroyed(review: Review) -> list[str]:
    """A line for everything that goes, the same in several stacks once; a component with what is in it."""
    alike: dict[tuple[object, ...], list[_Place]] = {}
    for stack in review.stacks:
        by_urn = {entry.urn: entry for entry in stack.entries}
        groups: dict[str, list[Entry]] = defaultdict(list)
        for entry in stack.changes:
            if entry.op in DESTRUCTIVE:
                groups[_root(entry, by_urn)].append(entry)
        for urn, members in groups.items():
            place = _Place(stack.stack, by_urn[urn], members, by_urn.get(by_urn[urn].twin))
            types = tuple(sorted(one.type for one in members))
            alike.setdefault((members[0].op, place.root.type, types, _facts(place)), []).append(place)
    return [_destroys(places) for places in alike.values()]


class _Place(NamedTuple):
    """What is destroyed together in a stack: the component or the resource itself, and what looks like it."""

    stack: str
    root: Entry
    members: list[Entry]
    twin: Entry | None


def _facts(place: _Place) -> tuple[str, ...]:
    """Why, and what is lost, in words in which no name stands, so that they are the same for many."""
    facts = [
        f"`{words.clean(one.path)}` changes, and {one.text}" for one in place.root.reasons if one.certain
    ]
    notes = sorted({note for one in place.members for note in one.notes})
    if place.twin is not None:
        renamed = place.twin.name != place.root.name
        alias = "`aliases=[pulumi.Alias(name=<the old name>)]`" if renamed else "an alias with its old URN"
        facts.append(f"looks {'renamed' if renamed else 'moved'}, and {alias} on it would keep it")
        if any(note.endswith(JUST_MADE) for note in notes):
            facts.append(f"both names stand for the same object: {JUST_MADE}")
    elif not place.root.custom:
        facts.append("no longer declared")
    known = (*facts, "no longer declared") if place.twin is not None else facts
    return (*facts, *(note for note in notes if note not in known and not _is_hint(note)))


def _is_hint(note: str) -> bool:
    return note.startswith(("in a component renamed", "looks ")) or note.endswith(JUST_MADE)


def _destroys(places: Sequence[_Place]) -> str:
    root, members = places[0].root, places[0].members
    what = f"{members[0].op} {code(short_type(root.type))}"
    if not root.custom:
        types = sorted({short_type(one.type) for one in members})
        told = ", ".join(map(code, types[:_NAMED])) + (", …" if len(types) > _NAMED else "")
        what += f" with {words.count(len(members), 'resource')} in it ({told})"
    where = [
        f"{code(place.stack)} {code(place.root.name)}"
        + (f" → {code(place.twin.name)}" if place.twin and place.twin.name != place.root.name else "")
        for place in places[:_NAMED]
    ]
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return f"- **{what}**: {'; '.join(where)}{more}: **{'; '.join(map(marked, _facts(places[0])))}**"


def _root(entry: Entry, by_urn: dict[str, Entry]) -> str:
    """The outermost component that is deleted together with a resource; else the resource itself."""
    root, above = entry, by_urn.get(entry.parent)
    while entry.op == "delete" and above is not None:
        if not above.custom and above.op == "delete":
            root = above
        above = by_urn.get(above.parent)
    return root.urn


def _policies(review: Review) -> list[str]:
    """What policies newly found, each policy once with all that breaks it; the rest is counted and folded."""
    found: dict[tuple[str, ...], list[tuple[str, Finding]]] = defaultdict(list)
    rest: dict[str, list[str]] = defaultdict(list)
    for stack in review.stacks:
        for one in stack.findings:
            row = f"{stack.stack}: {one.policy} ({one.level}): {_subject(one)}"
            if one.status == "unevaluated" and one.since != "closed":
                rest["could not be evaluated, since values are unknown: no pass"].append(row)
            elif one.since in {"new", "unknown"}:
                found[(one.since, one.level, one.status, one.pack, one.policy)].append((stack.stack, one))
            elif one.status != "unevaluated":
                rest["there before the change" if one.since == "already" else "no longer so"].append(row)
    ordered = sorted(found.items(), key=lambda item: (not item[1][0][1].fails, item[0]))
    lists = [_list(f"{words.count(len(rows), 'result')} {what}", rows) for what, rows in rest.items()]
    return [*(_violation(places) for _, places in ordered), *lists]


def _subject(one: Finding) -> str:
    return one.urn.rpartition("::")[2] or "the stack"


def _violation(places: Sequence[tuple[str, Finding]]) -> str:
    one = places[0][1]
    word = f"{'new: ' if one.since == 'new' else ''}{one.level} {one.status}"
    bold = f"**{word}**" if one.fails else word
    by_stack: dict[str, list[str]] = defaultdict(list)
    for stack, other in places:
        by_stack[stack].append(_subject(other))
    named = [f"{code(stack)} {', '.join(map(code, dict.fromkeys(by_stack[stack])))}" for stack in by_stack]
    more = f"; {words.count(len(named) - _NAMED, 'more stack')}" if len(named) > _NAMED else ""
    message = [prose(line) for line in words.cut(one.message, 900).splitlines() if line.strip()]
    text = "\n  <br>".join([f"- {bold} {code(one.policy)} in {'; '.join(named[:_NAMED])}{more}", *message])
    if len(places) == 1:
        return text
    messages = [other.message.splitlines() for _, other in places]
    said = set.intersection(*map(set, messages))  # once, above
    rows = [
        f"{stack} {_subject(other)}: {' '.join(line.strip() for line in lines if line not in said)}"
        for (stack, other), lines in zip(places, messages, strict=True)
    ]
    return f"{text}\n\n{_list(f'all {len(places)} of {one.policy}', rows)}"


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
    """Every changed property once, with all the resources in which it changes so."""
    places: dict[tuple[str, ...], list[tuple[str, str]]] = {}
    changes: dict[tuple[str, ...], Change] = {}
    for stack in review.stacks:
        for entry in stack.changes:
            if entry.op not in {"update", "replace"}:
                continue
            why = {reason.path: reason.text for reason in entry.reasons}
            for one in entry.changes:
                if one.churn:
                    continue
                before, after = (json.dumps(item, sort_keys=True) for item in (one.before, one.after))
                key: tuple[str, ...] = (
                    entry.op,
                    entry.type,
                    one.path,
                    one.kind,
                    before,
                    after,
                    why.get(one.path, ""),
                )
                places.setdefault(key, []).append((stack.stack, entry.name))
                changes[key] = one
    blocks: dict[tuple[object, ...], list[tuple[str, ...]]] = defaultdict(list)
    for key, where in places.items():
        blocks[(*key[:2], tuple(where))].append(key)
    ordered = sorted(
        blocks.values(), key=lambda keys: (keys[0][0] != "replace", -len(places[keys[0]]), keys[0])
    )
    return [_block_of(places[keys[0]], keys, changes) for keys in ordered]


def _block_of(
    where: Sequence[tuple[str, str]],
    keys: Sequence[tuple[str, ...]],
    changes: Mapping[tuple[str, ...], Change],
) -> str:
    op, type_ = keys[0][:2]
    by_stack: dict[str, list[str]] = defaultdict(list)
    for stack, name in where[:_NAMED]:
        by_stack[stack].append(name)
    named = [f"{code(stack)} {', '.join(map(code, names))}" for stack, names in by_stack.items()]
    named += [f"{len(where) - _NAMED} more"] if len(where) > _NAMED else []
    lines: list[str] = []
    for key in sorted(keys):
        lines += words.diff_lines(changes[key])
        lines += [f"  {words.clean(key[-1])}"] if key[-1] not in {"", MAYBE} else []
    maybe = " (may replace: the provider decides)" if any(key[-1] == MAYBE for key in keys) else ""
    return f"**{op}** {code(short_type(type_))}{maybe} in {'; '.join(named)}\n\n{block(lines)}"


def _created(review: Review) -> list[str]:
    parts = []
    for stack in review.stacks:
        made = [entry for entry in stack.changes if entry.op == "create"]
        if not made:
            continue
        names = {entry.urn: entry.name for entry in stack.entries}
        lines: list[str] = []
        for entry in made:
            twin = f"  in place of {words.clean(names[entry.twin])}" if entry.twin in names else ""
            lines.append(f"+ {words.clean(words.title(entry))}{twin}")
            if len(made) <= _FEW_CREATED and not twin:
                lines += [f"+     {line[2:]}" for one in entry.changes for line in words.diff_lines(one, 120)]
        name = f"<code>{html.escape(words.clean(stack.stack))}</code>"
        parts.append(folded(f"{words.count(len(made), 'resource')} created in {name}", block(lines)))
    return parts


def _outputs(review: Review) -> list[str]:
    lines = [
        f"{line[:2]}{words.clean(stack.stack)}: {line[2:]}"
        for stack in review.stacks
        if stack.state != "new"
        for one in stack.outputs
        for line in words.diff_lines(one)
    ]
    number = sum(len(stack.outputs) for stack in review.stacks if stack.state != "new")
    return [folded(f"{words.count(number, 'change')} of outputs", block(lines))] if lines else []


def _churn(review: Review) -> list[str]:
    rows = [
        f"{stack.stack}: {words.title(entry)}: {', '.join(one.path for one in entry.changes if one.churn)}"
        for stack in review.stacks
        for entry in stack.changes
        if entry.op in {"update", "replace"} and any(one.churn for one in entry.changes)
    ]
    text = f"Churn: {words.count(len(rows), 'resource')} with hashes that follow from other changes"
    return [_list(text, rows)] if rows else []


def _open(review: Review) -> list[str]:
    """What is still open, the same in several stacks once."""
    parts = []
    heads = {"new": "newly open", "closed": "closed by this change", "already": "open before and after"}
    for since, what in heads.items():
        texts: dict[str, list[str]] = defaultdict(list)
        for stack in review.stacks:
            for word, text in stack.open:
                if word == since:
                    texts[text].append(stack.stack)
        if texts:
            number = words.count(sum(map(len, texts.values())), "finding")
            told = _list(f"{number} {what}", [f"{text} ({', '.join(some)})" for text, some in texts.items()])
            parts.append(f"**{number} {what}**\n\n{told}" if since == "new" else told)
    rows = [f"{stack.stack}: {text}" for stack in review.stacks for text in stack.warnings]
    return [*parts, _list(words.count(len(rows), "new warning"), rows)] if rows else parts
