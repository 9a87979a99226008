r"""Filters from a file of JSON, checked whole before anything is served.

{"filters": [
{"name": "addresses", "pattern": {"patterns": ["[\\\\w.+-]+@[\\\\w-]+\\\\.\\\\w+"]},
"stages": ["input", "output"], "action": "redact", "replacement": "[address]"},
{"name": "long-prompts", "length": {"most": 20000}, "stages": ["input"], "action": "block"},
{"name": "moderation", "http": {"url": "https://moderation.example/v1/moderations"},
"stages": ["input", "output"], "action": "block", "budget_seconds": 0.5, "on_error": "open"}
]}
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

import msgspec

from berth_serving.environment import SettingsError
from berth_serving.filters.checks import LengthCheck, ModerationCheck, PatternCheck

if TYPE_CHECKING:
    from berth_serving.filters.checks import Check

INPUT, OUTPUT = "input", "output"
BLOCK, REDACT, FLAG, ALLOW, ERROR = "block", "redact", "flag", "allow", "error"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_MOST_FILTERS = 50
_MOST_BYTES = 1_000_000
_MOST_HOLD = 4096
_MOST_SEGMENT = 400_000
_MOST_BUDGET = 60.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class _Pattern(msgspec.Struct, forbid_unknown_fields=True):
    patterns: list[str]
    ignore_case: bool = False
    # Longest match that is found in a stream for sure; so many characters of an answer are held back.
    longest: int = 64


class _Length(msgspec.Struct, forbid_unknown_fields=True):
    most: int


class _Http(msgspec.Struct, forbid_unknown_fields=True):
    url: str
    model: str = ""
    key_file: str = ""
    # Characters of an answer that are judged together; they are held back until they are.
    segment: int = 400


class _Filter(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    action: Literal["block", "redact", "flag"]
    stages: list[Literal["input", "output"]]
    pattern: _Pattern | None = None
    length: _Length | None = None
    http: _Http | None = None
    category: str = ""
    replacement: str = "[redacted]"
    budget_seconds: float = 0.0
    on_error: Literal["closed", "open"] = "closed"


class _File(msgspec.Struct, forbid_unknown_fields=True):
    filters: list[_Filter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One filter.

    Attributes:
        name: in metrics, audit records and error messages.
        category: what its findings are violations of; the name unless set.
        check: finds places.
        stages: `input`, `output` or both.
        action: `block`, `redact` or `flag`.
        replacement: of what is redacted.
        budget: seconds that it may take for one prompt or answer in all (http: for each call).
        fail_open: whether a check that cannot tell lets the text through.
        hold: characters of a stream that must be there after a place before it is safe.
        segment: characters of a stream that are judged at once; 0 is every token.
    """

    name: str
    category: str
    check: Check
    stages: frozenset[str]
    action: str
    replacement: str
    budget: float
    fail_open: bool
    hold: int = 0
    segment: int = 0


def load(path: Path) -> tuple[Rule, ...]:
    """The rules of a file.

    Raises:
        SettingsError: one line per fault: file, filter, value, what is allowed.
    """
    where = f"BERTH_FILTERS_FILE={str(path)!r}"
    try:
        with path.open("rb") as file:
            body = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise SettingsError(f"{where}: {error.strerror}") from None
    if len(body) > _MOST_BYTES:
        raise SettingsError(f"{where}: must have at most {_MOST_BYTES} bytes")
    try:
        read = msgspec.json.decode(body, type=_File)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where}: {error}") from None
    faults: list[str] = []
    if len(read.filters) > _MOST_FILTERS:
        faults.append(f"{where}: at most {_MOST_FILTERS} filters, got {len(read.filters)}")
    names = [one.name for one in read.filters]
    faults += [
        f"{where}: filter {name!r} is there twice" for name in sorted(set(names)) if names.count(name) > 1
    ]
    rules = []
    for one in read.filters:
        problems = _problems(one)
        try:
            rules.append(_rule(one))
        except ValueError as error:
            problems.append(str(error))
        faults += [f"{where}: filter {one.name!r}: {problem}" for problem in problems]
    if faults:
        raise SettingsError("\n".join(faults))
    return tuple(rules)


def _problems(one: _Filter) -> list[str]:
    """What is wrong with a filter's values, apart from its patterns."""
    rules: list[tuple[bool, str]] = [
        (bool(_NAME.fullmatch(one.name)), "name must be of a-z 0-9 -, at most 63 characters"),
        (
            not one.category or bool(_NAME.fullmatch(one.category)),
            f"category {one.category!r} must be of a-z 0-9 -, at most 63 characters",
        ),
        (bool(one.stages), "stages must name input, output or both"),
        (
            0 <= one.budget_seconds <= _MOST_BUDGET,
            f"budget_seconds={one.budget_seconds:g} must be from 0 (usual) to {_MOST_BUDGET:g}",
        ),
    ]
    if one.length is not None:
        rules += [
            (one.action != REDACT, "a length cannot be redacted; block or flag it"),
            (one.length.most >= 1, f"length.most={one.length.most} must be at least 1"),
        ]
    if one.pattern is not None:
        longest = one.pattern.longest
        rules += [
            (1 <= longest <= _MOST_HOLD, f"pattern.longest={longest} must be from 1 to {_MOST_HOLD}"),
            (bool(one.pattern.patterns), "pattern.patterns must not be empty"),
        ]
    if one.http is not None:
        segment, url = one.http.segment, urlsplit(one.http.url)
        private = url.scheme == "https" or (url.scheme == "http" and url.hostname in _LOOPBACK)
        rules += [
            (1 <= segment <= _MOST_SEGMENT, f"http.segment={segment} must be from 1 to {_MOST_SEGMENT}"),
            (private, f"http.url={one.http.url!r} must be https://, or http:// on loopback: it gets texts"),
        ]
    return [problem for fits, problem in rules if not fits]


def _rule(one: _Filter) -> Rule:
    """The rule.

    Raises:
        ValueError: what its check refuses.
    """
    given = [kind for kind in (one.pattern, one.length, one.http) if kind is not None]
    if len(given) != 1:
        raise ValueError("must have exactly one of pattern, length and http")
    check: Check
    hold = segment = 0
    budget = one.budget_seconds
    if one.pattern is not None:
        check = PatternCheck(one.pattern.patterns, ignore_case=one.pattern.ignore_case)
        hold, budget = one.pattern.longest, budget or 0.25
    elif one.length is not None:
        check, budget = LengthCheck(one.length.most), budget or 0.25
    elif one.http is not None:
        budget, segment = budget or 1.0, one.http.segment
        key = Path(one.http.key_file) if one.http.key_file else None
        check = ModerationCheck(one.http.url, model=one.http.model, key_file=key, seconds=budget)
    return Rule(
        name=one.name,
        category=one.category or one.name,
        check=check,
        stages=frozenset(one.stages),
        action=one.action,
        replacement=one.replacement,
        budget=budget,
        fail_open=one.on_error == "open",
        hold=hold,
        segment=segment,
    )
