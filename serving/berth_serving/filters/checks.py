"""What can be looked for in a text. A check is anything with `look`; three ship."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import aiohttp
import msgspec
import re2  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Span = tuple[int, int]
_MOST_ANSWER = 1_000_000


class CheckError(Exception):
    """A check could not tell. Whether that blocks is the rule's setting."""


class Check(Protocol):
    """Finds places in a text."""

    async def look(self, text: str, start: int = 0) -> Sequence[Span]:
        """Places that begin at `start` or later, in order, without overlaps; what is before is context.

        Raises:
            CheckError: it cannot tell.
        """


class PatternCheck:
    """Regular expressions in RE2's syntax, whose time is linear in the text, whatever the pattern.

    Args:
        patterns: each finds something, never the empty text.
        ignore_case: whether letters of both cases are the same.

    Raises:
        ValueError: naming the pattern and what is wrong with it.
    """

    def __init__(self, patterns: Sequence[str], *, ignore_case: bool = False) -> None:
        options = re2.Options()
        options.log_errors = False
        options.case_sensitive = not ignore_case
        self._patterns = []
        for pattern in patterns:
            try:
                made = re2.compile(pattern, options)
            except re2.error as error:
                said = error.args[0] if error.args else error
                why = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
                raise ValueError(
                    f"pattern {pattern!r}: {why}; RE2's syntax has neither look-around nor back-references"
                ) from None
            if made.search(""):
                raise ValueError(f"pattern {pattern!r}: finds the empty text, and so everything")
            self._patterns.append(made)

    async def look(self, text: str, start: int = 0) -> Sequence[Span]:
        """Places of every pattern, those that overlap joined."""
        return self.find(text, start)

    def find(self, text: str, start: int = 0) -> Sequence[Span]:
        """As `look`, without waiting for anything."""
        found: list[Span] = []
        try:
            for pattern in self._patterns:
                found.extend(match.span() for match in pattern.finditer(text, start))
        except UnicodeEncodeError:
            # Half a surrogate pair, as JSON can say it. What takes its place is as long: places stay right.
            return self.find(text.encode("utf-8", "replace").decode(), start)
        return found if len(found) <= 1 or len(self._patterns) == 1 else joined(found)


class LengthCheck:
    """More characters than allowed: finds what is beyond."""

    def __init__(self, most: int) -> None:
        self.most = most

    async def look(self, text: str, start: int = 0) -> Sequence[Span]:
        """The text beyond the limit."""
        return [(max(start, self.most), len(text))] if len(text) > self.most else []


class _Result(msgspec.Struct):
    flagged: bool


class _Results(msgspec.Struct):
    results: list[_Result]


class ModerationCheck:
    """An HTTP service that speaks OpenAI's moderation API: `{"input": …}` → `{"results": [{"flagged": …}]}`.

    Args:
        url: where it is.
        model: sent where the service has several.
        key_file: holds the bearer token, read at each call so that it can be rotated.
        seconds: for each call.
    """

    def __init__(self, url: str, *, model: str = "", key_file: Path | None = None, seconds: float) -> None:
        self._url = url
        self._model = model
        self._key_file = key_file
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def look(self, text: str, start: int = 0) -> Sequence[Span]:
        """The whole text from `start`, or nothing: the service names no places."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=self._seconds))
        payload = {"input": text, **({"model": self._model} if self._model else {})}
        headers = {"Content-Type": "application/json"}
        try:
            if self._key_file is not None:
                headers["Authorization"] = f"Bearer {self._key_file.read_text('ascii').strip()}"
            body = msgspec.json.encode(payload)
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as answer:
                read = await answer.content.read(_MOST_ANSWER)
                if answer.status != 200:  # noqa: PLR2004 - anything else is no verdict
                    raise CheckError(f"status {answer.status}")
            results = msgspec.json.decode(read, type=_Results).results
        except TimeoutError:
            raise CheckError(f"no answer within {self._seconds:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise CheckError(type(error).__name__) from None
        if not results:
            raise CheckError("no result")
        return [(start, len(text))] if any(one.flagged for one in results) else []

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            await asyncio.sleep(0)


def joined(spans: Sequence[Span]) -> list[Span]:
    """Places in order; those that overlap become one."""
    made: list[Span] = []
    for begin, end in sorted(spans):
        if made and begin < made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((begin, end))
    return made


def replaced(text: str, spans: Sequence[Span], by: str) -> str:
    """The text with each place replaced."""
    pieces, at = [], 0
    for begin, end in spans:
        pieces += [text[at:begin], by]
        at = end
    return "".join([*pieces, text[at:]])
