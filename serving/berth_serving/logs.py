"""JSON logs on stderr: constant messages, everything that varies in keys.

No prompt, completion or key goes into a log. What a request said is only
described: route, lengths, timings, the name of the key. An exception's message
may quote a text, so it is left out unless its class speaks for the system. With
BERTH_LOG_CONTENT `records.py` logs texts on purpose, redacted.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

# Their messages are the system's or the interpreter's own words.
_HARMLESS = (OSError, ImportError, AttributeError, TypeError, NotImplementedError, MemoryError)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, and the record's extra keys."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record; a traceback becomes the key `exception`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line["exception"] = _frames(record.exc_info[0], record.exc_info[1])
        return json.dumps(line, default=str)


def _frames(kind: type[BaseException] | None, error: BaseException | None) -> str:
    """Where it happened, through every cause, without values."""
    lines: list[str] = []
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        said = f": {error}" if isinstance(error, _HARMLESS) else ""
        lines += [f"{type(error).__name__}{said}"]
        lines += [
            f"  {one.filename}:{one.lineno} in {one.name}"
            for one in traceback.extract_tb(error.__traceback__)
        ]
        error = error.__cause__ or error.__context__
    return "\n".join(lines) or (kind.__name__ if kind else "")


def configure(level: str) -> None:
    """Send every logger of this process to stderr as JSON, from `level` (debug, info, warning, error) up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn's start and stop lines say nothing that ours do not.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
