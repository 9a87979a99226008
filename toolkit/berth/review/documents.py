"""A review for programs: JSON of our own, SARIF for code scanning, JUnit for whatever shows tests."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

from . import words
from .model import DESTRUCTIVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .model import Change, Entry, Finding, Review, StackReview

FORMAT = 1  # of the JSON; raised by a change that breaks readers
_SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_DOCS = "docs/reviews.md"
_LEVELS = {"mandatory": "error", "advisory": "warning"}
_BASELINE = {"new": "new", "already": "unchanged", "closed": "absent"}
_OWN_RULES = {
    "stack-fails": "A stack's program fails, or there is nothing to compare it with.",
    "pack-does-not-run": "A policy pack did not run.",
    "delete": "A resource is deleted.",
    "replace": "A resource is replaced: deleted, and made anew.",
}
_XML_CANNOT = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(review: Review) -> dict[str, Any]:
    """The review as plain JSON values, in the shape of `docs/review.schema.json`."""
    return {
        "version": FORMAT,
        "before": review.before,
        "after": review.after,
        "ok": review.is_ok,
        "headline": words.headline(review),
        "counts": review.counts,
        "cost": review.cost,
        "notes": list(review.notes),
        "exceptions": [dataclasses.asdict(one) for one in review.exceptions],
        "stacks": [_stack(stack) for stack in review.stacks],
    }


def to_text(document: object) -> str:
    """A JSON document as the same bytes every time."""
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _stack(stack: StackReview) -> dict[str, Any]:
    return {
        "stack": stack.stack,
        "state": stack.state,
        "note": stack.note,
        "ok": stack.is_ok,
        "counts": stack.counts,
        "entries": [_entry(entry) for entry in stack.entries],
        "outputs": [_change(one) for one in stack.outputs],
        "errors": list(stack.errors),
        "warnings": list(stack.warnings),
        "packs": [{**vars(pack), "policies": list(pack.policies)} for pack in stack.packs],
        "findings": [vars(one) for one in stack.findings],
        "open": [{"since": since, "text": text} for since, text in stack.open],
    }


def _change(change: Change) -> dict[str, Any]:
    return {**vars(change), "lines": list(change.lines)}


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        **vars(entry),
        "changes": [_change(change) for change in entry.changes],
        "reasons": [vars(reason) for reason in entry.reasons],
        "notes": list(entry.notes),
        "policies": list(entry.policies),
    }


def as_sarif(review: Review) -> dict[str, Any]:
    """The review as SARIF 2.1.0: what policies found, what is destroyed, and what fails.

    Each result is placed in the stack's file, and names the resource as its logical location.
    """
    results = [result for stack in review.stacks for result in _results(stack)]
    names = sorted({result["ruleId"] for result in results})
    return {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "berth-review",
                        "semanticVersion": f"{FORMAT}.0.0",
                        "rules": [_rule(name) for name in names],
                    }
                },
                "automationDetails": {"id": "berth/review/"},
                "columnKind": "utf16CodeUnits",
                "results": [{**result, "ruleIndex": names.index(result["ruleId"])} for result in results],
            }
        ],
    }


def _rule(name: str) -> dict[str, Any]:
    own = _OWN_RULES.get(name.removeprefix("berth/"))
    text = own or f"Policy {name.partition('/')[2]} of the pack {name.partition('/')[0]}."
    return {"id": name, "shortDescription": {"text": words.clean(text)}, "help": {"text": f"See {_DOCS}."}}


def _results(stack: StackReview) -> Iterator[dict[str, Any]]:
    if stack.state in {"failed", "not compared"}:
        yield _result(stack, "berth/stack-fails", "error", "\n".join([stack.note, *stack.errors]))
    for pack in stack.packs:
        if pack.error:
            yield _result(stack, "berth/pack-does-not-run", "error", f"{pack.name}: {pack.error}")
    for entry in stack.changes:
        if entry.op in DESTRUCTIVE:
            text = f"{entry.op} {words.title(entry)}: {words.why(entry)}"
            yield _result(stack, f"berth/{entry.op}", "warning", text, entry.urn)
    for found in stack.findings:
        yield _finding(stack, found)


def _finding(stack: StackReview, found: Finding) -> dict[str, Any]:
    level = _LEVELS[found.level] if found.status in {"violated", "broken"} else "note"
    text = found.message if found.status == "violated" else f"{found.status}: {found.message}"
    result = _result(stack, f"{found.pack}/{found.policy}", level, text, found.urn)
    if found.since in _BASELINE:
        result["baselineState"] = _BASELINE[found.since]
    if found.status == "unevaluated":
        result |= {"kind": "open", "level": "none"}  # SARIF's word for what could not be decided
    return result


def _result(stack: StackReview, rule: str, level: str, text: str, urn: str = "") -> dict[str, Any]:
    place: dict[str, Any] = {
        "physicalLocation": {
            "artifactLocation": {"uri": f"stacks/Pulumi.{_uri(stack.stack)}.yaml"},
            "region": {"startLine": 1},
        }
    }
    if urn:
        name = urn.rpartition("::")[2]
        place["logicalLocations"] = [{"name": name, "fullyQualifiedName": urn, "kind": "resource"}]
    print_ = hashlib.sha256(f"{rule}\n{stack.stack}\n{urn}".encode()).hexdigest()[:32]
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": f"{stack.stack}: {text}"},
        "locations": [place],
        "partialFingerprints": {"berthReview/v1": print_},
    }


def _uri(text: str) -> str:
    """A stack's name in a URI; names that engines take need no change."""
    return re.sub(
        r"[^A-Za-z0-9_.-]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text
    )


def as_junit(review: Review) -> str:
    """The review as JUnit XML: a suite for each stack, a case for its plan and for each policy."""
    root = ET.Element("testsuites", name="berth review")
    totals = dict.fromkeys(("tests", "failures", "errors", "skipped"), 0)
    for stack in review.stacks:
        suite = ET.SubElement(root, "testsuite", name=_xml(stack.stack))
        _cases(stack, suite)
        for word, tag in (
            ("tests", "testcase"),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            number = len(list(suite.iter(tag)))
            suite.set(word, str(number))
            totals[word] += number
        suite.set("time", "0")
    for word, number in totals.items():
        root.set(word, str(number))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _xml(text: str) -> str:
    return _XML_CANNOT.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _case(stack: StackReview, suite: ET.Element, name: str, tag: str = "", text: str = "") -> None:
    place = {"classname": _xml(f"berth.{stack.stack}"), "name": _xml(name), "time": "0"}
    case = ET.SubElement(suite, "testcase", place)
    if tag:
        first = next(iter(text.splitlines()), tag)
        ET.SubElement(case, tag, message=_xml(words.cut(first, 300)), type=tag).text = _xml(text)


def _cases(stack: StackReview, suite: ET.Element) -> None:
    if stack.state in {"failed", "not compared"}:
        _case(stack, suite, "plan", "error", "\n".join([stack.note, *stack.errors]))
    else:
        _case(stack, suite, "plan")
    for pack in stack.packs:
        if pack.error:
            _case(stack, suite, f"policy pack {pack.name}", "error", pack.error)
            continue
        for policy in pack.policies:
            found = [
                one
                for one in stack.findings
                if (one.pack, one.policy) == (pack.name, policy) and one.since != "closed"
            ]
            _policy_case(stack, suite, f"{pack.name}/{policy}", found)


def _policy_case(stack: StackReview, suite: ET.Element, name: str, found: list[Finding]) -> None:
    def told(some: list[Finding]) -> str:
        return "\n".join(f"{one.level} {one.status} ({one.since}) {one.urn}: {one.message}" for one in some)

    failing = [one for one in found if one.fails]
    unsure = [one for one in found if one.status == "unevaluated"]
    if failing:
        _case(stack, suite, name, "failure", told(failing))
    elif unsure:
        _case(stack, suite, name, "skipped", told(unsure))
    else:
        _case(stack, suite, name)
        if found:  # advisory: told, and no failure
            ET.SubElement(suite[-1], "system-out").text = _xml(told(found))
