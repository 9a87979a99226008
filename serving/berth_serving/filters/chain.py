"""Rules applied: to a prompt at once, to an answer as it comes; and what is recorded of each decision."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from berth_serving.errors import ContentBlocked
from berth_serving.filters.checks import CheckError, ModerationCheck, replaced
from berth_serving.filters.rules import ALLOW, BLOCK, ERROR, FLAG, INPUT, OUTPUT, REDACT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from berth_serving.call import Call
    from berth_serving.filters.checks import Span
    from berth_serving.filters.rules import Rule
    from berth_serving.metrics import GatewayMetrics
    from berth_serving.settings import GatewaySettings

audit = logging.getLogger("berth.audit")

_RANK = {ALLOW: 0, ERROR: 1, FLAG: 2, REDACT: 3, BLOCK: 4}
_SEPARATOR = "\n"


@dataclass(slots=True)
class Verdict:
    """What one rule decided about one prompt or answer."""

    rule: Rule
    decision: str = ALLOW
    found: int = 0
    seconds: float = 0.0
    reason: str = ""

    def raise_to(self, decision: str) -> None:
        """Keep the gravest decision."""
        if _RANK[decision] > _RANK[self.decision]:
            self.decision = decision


@dataclass(slots=True)
class Judgement:
    """All rules of one stage over one request: looks, times, decides, and tells once at the end."""

    stage: str
    call: Call
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    async def look(self, rule: Rule, text: str, start: int = 0) -> Sequence[Span]:
        """What a rule's check finds; nothing where it cannot tell and the rule fails open.

        Raises:
            ContentBlocked: it cannot tell, and the rule fails closed.
        """
        verdict = self.verdicts.setdefault(rule.name, Verdict(rule))
        began = time.perf_counter()
        try:
            if verdict.decision == ERROR:
                return ()  # it failed open before; once is enough
            spans = await rule.check.look(text, start)
            _within_budget(rule, verdict.seconds + time.perf_counter() - began)
        except CheckError as error:
            verdict.raise_to(ERROR)
            verdict.reason = str(error)
            if rule.fail_open:
                return ()
            verdict.raise_to(BLOCK)
            raise ContentBlocked(
                f"filter {rule.name} could not check the {_what(self.stage)}, and lets nothing pass unchecked"
            ) from None
        finally:
            verdict.seconds += time.perf_counter() - began
        return spans

    def decide(self, rule: Rule, found: int) -> None:
        """A rule found something.

        Raises:
            ContentBlocked: it blocks.
        """
        verdict = self.verdicts.setdefault(rule.name, Verdict(rule))
        verdict.found += found
        verdict.raise_to(rule.action)
        if rule.action == BLOCK:
            raise ContentBlocked(f"filter {rule.name} blocked the {_what(self.stage)}")

    def tell(self, metrics: GatewayMetrics, settings: GatewaySettings) -> None:
        """Count every decision, and write the audit record: who, what, when, never the text."""
        verdicts = list(self.verdicts.values())
        self.verdicts = {}
        for verdict in verdicts:
            rule = verdict.rule
            if metrics.filter_decisions is not None and metrics.filter_seconds is not None:
                metrics.filter_decisions.labels(rule.name, self.stage, verdict.decision).inc()
                metrics.filter_seconds.labels(rule.name).observe(verdict.seconds)
            if verdict.found:
                metrics.policy_violations.labels(rule.category, self.stage, settings.variant).inc()
            audit.info(
                "filter decision",
                extra={
                    "request_id": self.call.request_id,
                    "key": self.call.key.name,
                    "route": self.call.route,
                    "model": settings.model_id,
                    "variant": settings.variant,
                    "stage": self.stage,
                    "filter": rule.name,
                    "category": rule.category,
                    "decision": verdict.decision,
                    "found": verdict.found,
                    "seconds": round(verdict.seconds, 6),
                    **({"reason": verdict.reason} if verdict.reason else {}),
                },
            )


def _within_budget(rule: Rule, spent: float) -> None:
    # A service's calls have a time-out each; what waits for a segment is no time spent.
    if not rule.segment and spent > rule.budget:
        raise CheckError(f"over its budget of {rule.budget:g} s")


def _what(stage: str) -> str:
    return "prompt" if stage == INPUT else "answer"


class Filters:
    """Every rule of a server."""

    def __init__(self, rules: Sequence[Rule], metrics: GatewayMetrics, settings: GatewaySettings) -> None:
        self._metrics = metrics
        self._settings = settings
        self.inputs = tuple(rule for rule in rules if INPUT in rule.stages)
        self.outputs = tuple(rule for rule in rules if OUTPUT in rule.stages)
        self._checks = [rule.check for rule in rules]

    async def close(self) -> None:
        """Close the connections to moderation services."""
        for check in self._checks:
            if isinstance(check, ModerationCheck):
                await check.close()

    async def check_input(self, texts: Sequence[str], call: Call) -> list[str]:
        """The texts of a prompt, redacted where a rule says so. They are looked at together.

        Raises:
            ContentBlocked: a rule blocks, or fails closed.
        """
        judgement = Judgement(INPUT, call)
        try:
            made = list(texts)
            for rule in self.inputs:
                spans = await judgement.look(rule, _SEPARATOR.join(made))
                if spans:
                    judgement.decide(rule, len(spans))
                    if rule.action == REDACT:
                        made = _redacted(made, spans, rule.replacement)
            return made
        finally:
            judgement.tell(self._metrics, self._settings)

    def judge_output(self, call: Call) -> Judgement:
        """A judgement of one answer; whoever asks ends it with `finish`."""
        return Judgement(OUTPUT, call)

    def finish(self, judgement: Judgement) -> None:
        """Count and record what was decided."""
        judgement.tell(self._metrics, self._settings)


def _redacted(texts: Sequence[str], spans: Sequence[Span], by: str) -> list[str]:
    """Texts that were joined for the look, each with its part of the places replaced."""
    made, offset = [], 0
    for text in texts:
        end = offset + len(text)
        own = [
            (max(begin, offset) - offset, min(stop, end) - offset)
            for begin, stop in spans
            if begin < end and stop > offset
        ]
        made.append(replaced(text, own, by))
        offset = end + len(_SEPARATOR)
    return made
