"""Which lines of a log may be shown: those that describe trouble and quote nobody.

Our own processes log JSON without texts (serving/berth_serving/logs.py); of that, the keys that are known to
be harmless are shown. Engines log as they like, prompts among it; of those lines only such as look like
trouble are shown, cut where a text begins.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

LINES, WIDTH = 6, 200
_KEYS = (
    "reason",
    "error",
    "file",
    "folder",
    "setting",
    "status",
    "seconds",
    "slots",
    "bytes",
    "exception",
    "source",
)
_TROUBLE = re.compile(
    r"error|exception|fatal|panic|traceback|fail|kill|abort|out of memory|\boom\b|no space|denied|refused|"
    r"unable|cannot|can't|invalid|not found|no such|missing|timed? ?out|mismatch|digest|segmentation|cuda|"
    r"warn",
    re.IGNORECASE,
)
# From here on a line may quote what somebody asked or was told.
_TEXT = re.compile(
    r"(prompt|inputs?|messages?|content|completion|generated_text|text|query|question|answer)\b\W{0,4}[=:]"
    r"|/v1/|HTTP/1",
    re.IGNORECASE,
)


def harmless(lines: Iterable[str]) -> tuple[tuple[str, ...], int]:
    """Return the last lines that may be shown, shortened, and how many were left out."""
    shown: list[str] = []
    withheld = 0
    for line in lines:
        if not line.strip():
            continue
        if (found := _shown(line)) is None:
            withheld += 1
        elif not shown or shown[-1] != found:
            shown.append(found)
    return tuple(shown[-LINES:]), withheld


def _shown(line: str) -> str | None:
    try:
        record: Any = json.loads(line)
    except ValueError:
        record = None
    if isinstance(record, dict) and "message" in record and "level" in record:
        facts = " ".join(f"{key}={_short(record[key])}" for key in _KEYS if record.get(key) not in {None, ""})
        return f"{record['level']}: {record['message']} {facts}".strip()[:WIDTH]
    if not _TROUBLE.search(line):
        return None
    quoted = _TEXT.search(line)
    kept = (line[: quoted.start()] if quoted else line).strip()
    return kept[:WIDTH] or None


def _short(value: object) -> str:
    return " ".join(str(value).split())[-120:]
