"""What counts as well: a model's service levels, said once; rules, alerts and dashboards follow from it.

Each objective is a share of events that have to be good over a window of 28 or 30 days; what is left is the
error budget. A threshold in seconds is a bound of the histogram that counts it, so that nothing is guessed
between two bounds.

The defaults are to be changed: they are the promises that others publish, and no measure of your model.

    availability 99.9 %          Amazon Bedrock's agreement, aws.amazon.com/bedrock/sla, 2023-10-04
    first token 2 s, 99 %        MLPerf Inference v4.0, server scenario of Llama 2 70B, mlcommons.org, 2024-03
    between tokens 0.2 s, 99 %   the same ("about 240 words a minute, a person's reading speed")

What nobody publishes has no default, and is not watched until it is stated; `rules.unwatched` lists it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from berth_components import checks
from berth_components.arguments import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FIRST_TOKEN_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
"""Bounds of berth_time_to_first_token_seconds; a test compares them with the gateway's."""
PER_TOKEN_BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5)
"""Bounds of gen_ai_server_time_per_output_token_seconds."""
QUEUE_WAIT_BUCKETS = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60)
"""Bounds of berth_queue_wait_seconds."""
AVAILABILITY, ERRORS, INTER_TOKEN, QUEUE_WAIT = "availability", "error_ratio", "inter_token", "queue_wait"
FIRST_TOKEN_P95, FIRST_TOKEN_P99, SAFETY = "first_token_p95", "first_token_p99", "safety"
SLOS = (AVAILABILITY, ERRORS, FIRST_TOKEN_P95, FIRST_TOKEN_P99, INTER_TOKEN, QUEUE_WAIT, SAFETY)
"""Every objective that has an error budget: values of the label `slo`."""


_LE = re.compile(r"[0-9]+(\.[0-9]+)?|\+Inf")
_DECISION = re.compile(r"[a-z0-9-]+/(input|output)/(allow|flag|redact|block|error)")


class ObjectiveError(ValueError):
    """An objective that cannot be meant; names it, the value, and what is allowed."""


def bound_of(bounds: tuple[float, ...]) -> Callable[[Any], float]:
    """A check: seconds that are a bound of a histogram."""

    def check(value: Any) -> float:
        known = isinstance(value, int | float) and not isinstance(value, bool) and value in bounds
        if not known:
            listed = ", ".join(f"{one:g}" for one in bounds)
            raise Refusal(f"one of {listed} (seconds; what the histogram tells apart)")
        return float(value)

    return check


def share(value: Any) -> float:
    """A check: a share of events, such as 0.999."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.5 <= value < 1:  # noqa: PLR2004
        raise Refusal(
            "a number from 0.5 up to, but not including, 1, such as 0.999",
            "a target of 1 leaves no error budget: every single failure would break it",
        )
    return float(value)


def window(value: Any) -> int:
    """A check: days of a window."""
    if isinstance(value, bool) or value not in {28, 30}:
        raise Refusal("28 or 30 days", "28 has the same number of weekends in every window")
    return int(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Behaviour of a release, to compare with instead of the past days.

    Attributes:
        answer_tokens: share of answers up to each bound of llm_token_count, by the bound ("16", …, "+Inf").
        perplexity: the same of berth_perplexity.
        refusals: share of answers that refuse; None where it was not measured.
        filters: share of texts by "filter/stage/decision".
    """

    answer_tokens: Mapping[str, float] = field(default_factory=dict)
    perplexity: Mapping[str, float] = field(default_factory=dict)
    refusals: float | None = None
    filters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check keys and shares.

        Raises:
            ObjectiveError: one cannot be meant.
        """
        for name in ("answer_tokens", "perplexity"):
            for le in getattr(self, name):
                if not _LE.fullmatch(le):
                    raise ObjectiveError(
                        f"baseline {name} has {le!r}; allowed: bounds of buckets, such as 16 or +Inf"
                    )
        for key in self.filters:
            if not _DECISION.fullmatch(key):
                raise ObjectiveError(
                    f"baseline filters has {key!r}; allowed: filter/stage/decision, such as pii/output/flag"
                )
        shares = [*self.answer_tokens.values(), *self.perplexity.values(), *self.filters.values()]
        for one in [*shares, *([] if self.refusals is None else [self.refusals])]:
            if not 0 <= one <= 1:
                raise ObjectiveError(f"baseline has a share of {one:g}; allowed: a number from 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What a model has to keep. None is not stated, and not watched.

    Attributes:
        owner: whose alerts on this model are, as their label `owner`; None is the stack's.
        window_days: of the error budget, 28 or 30.
        availability: share of requests that are answered: not refused for want of room or of an engine, not
            failed. A client's own mistakes do not count.
        error_ratio: share of the requests that were let in and may fail; with the default 0.001.
        first_token_p95_seconds: 95 % of first tokens come within.
        first_token_p99_seconds: 99 % of first tokens come within.
        inter_token_seconds: time per token after the first, mean of a request.
        inter_token_target: share of requests that keep it.
        queue_wait_seconds: time that a request waits for a slot of the engine.
        queue_wait_target: share of requests that keep it.
        safety: share of answers in which no filter of the output finds anything.
        cost_per_request_dollars: what an answered request may cost over a day, idle time included.
        cost_per_day_dollars: what the model may cost in a day at a site, at the present rate: a cap.
        least_failures: events that must have been bad in the long window before a burn rate alerts, so that
            one failure in a quiet night wakes nobody.
        baseline_days: days whose behaviour the last hour is compared with.
        baseline: a release's behaviour to compare with instead.
        drift_distance: how far two distributions may be apart: the largest difference of their cumulative
            shares (Kolmogorov and Smirnov's).
        drift_share: how far a share may move: of refusals, of a filter's decisions.
        least_answers: answers in the last hour before drift is judged.
    """

    owner: str | None = None
    window_days: int = 30
    availability: float | None = 0.999
    error_ratio: float | None = 0.001
    first_token_p95_seconds: float | None = None
    first_token_p99_seconds: float | None = 2
    inter_token_seconds: float | None = 0.2
    inter_token_target: float = 0.99
    queue_wait_seconds: float | None = None
    queue_wait_target: float = 0.99
    safety: float | None = None
    cost_per_request_dollars: float | None = None
    cost_per_day_dollars: float | None = None
    least_failures: int = 5
    baseline_days: int = 7
    baseline: Baseline | None = None
    drift_distance: float = 0.2
    drift_share: float = 0.05
    least_answers: int = 200

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ObjectiveError: one cannot be meant.
        """
        for one in fields(self):
            value = getattr(self, one.name)
            if one.name in CHECKS and not (value is None and one.default is None) and value is not None:
                try:
                    CHECKS[one.name](value)
                except Refusal as refusal:
                    end = f"; {refusal.remedy}" if refusal.remedy else ""
                    raise ObjectiveError(
                        f"objective {one.name} is {value!r}; allowed: {refusal.allowed}{end}"
                    ) from None
        first, second = self.first_token_p95_seconds, self.first_token_p99_seconds
        if first is not None and second is not None and first > second:
            raise ObjectiveError(
                f"objective first_token_p95_seconds is {first:g}; allowed: at most first_token_p99_seconds, "
                f"which is {second:g}"
            )

    def target(self, slo: str) -> float | None:
        """The share of good events that an objective asks for; None where it is not stated."""
        stated = {
            AVAILABILITY: self.availability,
            ERRORS: None if self.error_ratio is None else 1 - self.error_ratio,
            FIRST_TOKEN_P95: None if self.first_token_p95_seconds is None else 0.95,
            FIRST_TOKEN_P99: None if self.first_token_p99_seconds is None else 0.99,
            INTER_TOKEN: None if self.inter_token_seconds is None else self.inter_token_target,
            QUEUE_WAIT: None if self.queue_wait_seconds is None else self.queue_wait_target,
            SAFETY: self.safety,
        }
        return stated[slo]

    def threshold(self, slo: str) -> float | None:
        """The seconds that an objective is about; None where it is about none."""
        return {
            FIRST_TOKEN_P95: self.first_token_p95_seconds,
            FIRST_TOKEN_P99: self.first_token_p99_seconds,
            INTER_TOKEN: self.inter_token_seconds,
            QUEUE_WAIT: self.queue_wait_seconds,
        }.get(slo)


CHECKS: dict[str, Callable[[Any], Any]] = {
    "owner": checks.text(r"[A-Za-z0-9_.-]+", "letters, digits, '_', '.' and '-'"),
    "window_days": window,
    "availability": share,
    "error_ratio": checks.number(0, 0.5, "(a share of requests)"),
    "first_token_p95_seconds": bound_of(FIRST_TOKEN_BUCKETS),
    "first_token_p99_seconds": bound_of(FIRST_TOKEN_BUCKETS),
    "inter_token_seconds": bound_of(PER_TOKEN_BUCKETS),
    "inter_token_target": share,
    "queue_wait_seconds": bound_of(QUEUE_WAIT_BUCKETS),
    "queue_wait_target": share,
    "safety": share,
    "cost_per_request_dollars": checks.number(0, 1000, "(US dollars)"),
    "cost_per_day_dollars": checks.number(0, 1e7, "(US dollars)"),
    "least_failures": checks.whole_number(1, 1000, "bad events"),
    "baseline_days": checks.whole_number(1, 30, "days"),
    "drift_distance": checks.number(0, 1, "(a difference of shares)"),
    "drift_share": checks.number(0, 1, "(a difference of shares)"),
    "least_answers": checks.whole_number(10, 1_000_000, "answers"),
}
"""The check of each objective, as the settings of stacks use it, too."""
