"""Rules over an answer that comes token by token.

Every rule is a stage that tokens pass. A stage that may have to change or stop a text holds tokens back until
it is sure of them: a pattern's stage as many characters as its longest match may have, a moderation service's
until a segment is judged. A stage that only flags holds nothing.

A redacted token keeps its place and loses what would tell it: text, id, and the likely tokens beside it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

import msgspec

from berth_serving.filters.checks import LengthCheck
from berth_serving.filters.rules import BLOCK, FLAG, REDACT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from berth_serving.engines.protocol import TokenEvent
    from berth_serving.filters.chain import Filters, Judgement
    from berth_serving.filters.checks import Span
    from berth_serving.filters.rules import Rule

# Released text that is kept before what is looked at, for word boundaries.
_CONTEXT = 64
# A match that goes on and on is redacted piece by piece from this many times its rule's longest on.
_ENDLESS = 4
_REDACTED_ID = 0


class Stage(Protocol):
    """Tokens in, tokens out."""

    async def feed(self, events: Iterable[TokenEvent]) -> list[TokenEvent]:
        """Take tokens; those that are sure now."""

    async def end(self) -> list[TokenEvent]:
        """The rest."""


class OutputFilter:
    """All rules of a server over one answer."""

    def __init__(self, filters: Filters, judgement: Judgement) -> None:
        self._stages = [_stage(rule, judgement) for rule in filters.outputs]

    async def feed(self, event: TokenEvent) -> list[TokenEvent]:
        """Take one token; those that are sure now.

        Raises:
            ContentBlocked: a rule blocks the answer.
        """
        events = [event]
        for stage in self._stages:
            events = await stage.feed(events)
        return events

    async def end(self) -> list[TokenEvent]:
        """The rest, once the engine is done.

        Raises:
            ContentBlocked: as `feed`.
        """
        events: list[TokenEvent] = []
        for stage in self._stages:
            events = [*await stage.feed(events), *await stage.end()]
        return events


def _stage(rule: Rule, judgement: Judgement) -> Stage:
    if rule.action == FLAG:
        return _AtEnd(rule, judgement)
    return _Held(rule, judgement)


class _AtEnd:
    """Looks at the whole answer when it is there; holds nothing."""

    def __init__(self, rule: Rule, judgement: Judgement) -> None:
        self._rule = rule
        self._judgement = judgement
        self._text: list[str] = []

    async def feed(self, events: Iterable[TokenEvent]) -> list[TokenEvent]:
        passed = list(events)
        self._text += [event.text for event in passed if not event.special]
        return passed

    async def end(self) -> list[TokenEvent]:
        spans = await self._judgement.look(self._rule, "".join(self._text))
        if spans:
            self._judgement.decide(self._rule, len(spans))
        return []


class _Held:
    """Holds tokens until their text is sure; then blocks or redacts."""

    def __init__(self, rule: Rule, judgement: Judgement) -> None:
        self._rule = rule
        self._judgement = judgement
        self._events: deque[TokenEvent] = deque()
        # A little of what is released, and what is not. All positions below are in it.
        self._text = ""
        self._released = 0
        self._judged = 0  # no place is looked for before it again
        self._sure = 0  # up to where tokens may go
        self._redact: list[Span] = []
        self._characters = 0  # of the whole answer

    async def feed(self, events: Iterable[TokenEvent]) -> list[TokenEvent]:
        came: list[str] = []
        for event in events:
            self._events.append(event)
            if not event.special and event.text:
                came.append(event.text)
        if came:
            text = "".join(came)
            self._text += text
            self._characters += len(text)
            if len(self._text) - max(self._judged, self._released) >= self._rule.segment:
                await self._look(ended=False)
        return self._release()

    async def end(self) -> list[TokenEvent]:
        if self._sure < len(self._text):
            await self._look(ended=True)
        return self._release()

    async def _look(self, *, ended: bool) -> None:
        rule, whole = self._rule, len(self._text)
        if isinstance(rule.check, LengthCheck):
            if rule.check.most < self._characters:
                self._judgement.decide(rule, 1)
            self._sure = whole
            return
        spans = await self._judgement.look(rule, self._text, max(self._judged, self._released))
        if spans and rule.action == BLOCK:
            self._judgement.decide(rule, len(spans))
        if ended or rule.segment:
            sure, self._sure = list(spans), whole
        else:
            # Any match that begins before the limit is there whole. One that reaches beyond may still grow,
            # or be joined by another that begins within it.
            limit = whole - rule.hold
            endless = _ENDLESS * rule.hold
            sure = [(begin, end) for begin, end in spans if end <= limit or end - begin >= endless]
            grows = min((begin for begin, end in spans if (begin, end) not in sure), default=whole)
            self._sure = max(self._sure, min(limit, grows), *(end for _, end in sure))
        if sure and rule.action == REDACT:
            self._judgement.decide(rule, len(sure))
            self._redact += sure
        self._judged = max(self._judged, whole if rule.segment else 0, *(end for _, end in sure))

    def _release(self) -> list[TokenEvent]:
        """Let go of every token whose text is sure."""
        released: list[TokenEvent] = []
        at = self._released
        while self._events:
            event = self._events[0]
            end = at if event.special else at + len(event.text)
            if end > self._sure:
                break
            released.append(event if event.special else self._redacted(event, at, end))
            self._events.popleft()
            at = end
        self._released = at
        self._forget()
        return released

    def _redacted(self, event: TokenEvent, begin: int, end: int) -> TokenEvent:
        """The token with its part of every redacted place replaced; the place's first token says by what."""
        # A token without text may be the beginning of a character that the next one ends.
        touched = [(b, e) for b, e in self._redact if b < max(end, begin + 1) and e > begin]
        if not touched:
            return event
        pieces, at = [], begin
        for b, e in touched:
            pieces.append(self._text[at : max(b, at)])
            if begin <= b < end:
                pieces.append(self._rule.replacement)
            at = min(e, end)
        pieces.append(self._text[at:end])
        return msgspec.structs.replace(event, text="".join(pieces), id=_REDACTED_ID, top=())

    def _forget(self) -> None:
        """Drop what was released, but for a little context."""
        drop = self._released - _CONTEXT
        if drop <= _CONTEXT:
            return
        self._text = self._text[drop:]
        self._released -= drop
        self._sure -= drop
        self._judged = max(0, self._judged - drop)
        self._redact = [(b - drop, e - drop) for b, e in self._redact if e > drop]
