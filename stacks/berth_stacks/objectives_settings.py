"""A model's service levels in a stack; `berth_components.monitoring.objectives` says what they mean."""

from typing import Annotated, Any, Self

from berth_components.monitoring.objectives import (
    CHECKS,
    FIRST_TOKEN_BUCKETS,
    PER_TOKEN_BUCKETS,
    QUEUE_WAIT_BUCKETS,
    Baseline,
    ObjectiveError,
    Objectives,
)
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from berth_stacks.fields import Allowed, Settings, Text, one_of


def _checked(name: str, schema: tuple[tuple[str, Any], ...] = ()) -> Allowed:
    check = CHECKS[name]
    return Allowed(lambda value: None if value is None else check(value), schema)


def _range(low: float, high: float) -> tuple[tuple[str, Any], ...]:
    return (("minimum", low), ("maximum", high))


def _bounds(bounds: tuple[float, ...]) -> tuple[tuple[str, Any], ...]:
    return (("enum", bounds),)


class BaselineSettings(Settings):
    """How a release behaves, to compare with: shares from 0 to 1."""

    answer_tokens: dict[str, float] = Field(default_factory=dict)
    """Share of answers up to each bound of llm_token_count, by the bound. Default: not compared."""
    perplexity: dict[str, float] = Field(default_factory=dict)
    """The same of berth_perplexity. Default: not compared."""
    refusals: float | None = None
    """Share of answers that refuse. Default: not compared."""
    filters: dict[str, float] = Field(default_factory=dict)
    """Share of texts by filter/stage/decision. Default: not compared."""


NOT_WATCHED = {
    "availability": "availability",
    "errorRatio": "error_ratio",
    "firstTokenP99Seconds": "first_token_p99_seconds",
    "interTokenSeconds": "inter_token_seconds",
}
"""Objectives with a default, as stacks call them and as the rules do."""


class ObjectivesSettings(Settings):
    """What one model has to keep."""

    owner: Annotated[str | None, _checked("owner")] = None
    """Whose the alerts on this model are, as their label `owner`. Default: the stack's."""
    window_days: Annotated[int, _checked("window_days", (("enum", (28, 30)),))] = 30
    """Days of the error budget, 28 or 30. Default: 30."""
    availability: Annotated[float, _checked("availability", _range(0.5, 1))] = 0.999
    """Share of requests that are answered, without clients' own mistakes. Default: 0.999."""
    error_ratio: Annotated[float, _checked("error_ratio", _range(0, 0.5))] = 0.001
    """Share of admitted requests that may fail. Default: 0.001."""
    first_token_p95_seconds: Annotated[
        float | None, _checked("first_token_p95_seconds", _bounds(FIRST_TOKEN_BUCKETS))
    ] = None
    """95 % of first tokens come within this. Default: not watched."""
    first_token_p99_seconds: Annotated[
        float | None, _checked("first_token_p99_seconds", _bounds(FIRST_TOKEN_BUCKETS))
    ] = 2
    """99 % of first tokens come within this. Default: 2."""
    inter_token_seconds: Annotated[
        float | None, _checked("inter_token_seconds", _bounds(PER_TOKEN_BUCKETS))
    ] = 0.2
    """Time per token after the first, mean of a request. Default: 0.2."""
    inter_token_target: Annotated[float, _checked("inter_token_target", _range(0.5, 1))] = 0.99
    """Share of requests that keep it. Default: 0.99."""
    queue_wait_seconds: Annotated[
        float | None, _checked("queue_wait_seconds", _bounds(QUEUE_WAIT_BUCKETS))
    ] = None
    """Time that a request waits for a slot of the engine. Default: not watched."""
    queue_wait_target: Annotated[float, _checked("queue_wait_target", _range(0.5, 1))] = 0.99
    """Share of requests that keep it. Default: 0.99."""
    safety: Annotated[float | None, _checked("safety", _range(0.5, 1))] = None
    """Share of answers in which no filter of the output finds anything. Default: not watched."""
    cost_per_request_dollars: Annotated[
        float | None, _checked("cost_per_request_dollars", _range(0, 1000))
    ] = None
    """What an answered request may cost over a day, idle time included. Default: not watched."""
    cost_per_day_dollars: Annotated[float | None, _checked("cost_per_day_dollars", _range(0, 1e7))] = None
    """What the model may cost in a day at a site. Default: no cap."""
    least_failures: Annotated[int, _checked("least_failures", _range(1, 1000))] = 5
    """Bad events in the long window before a burn rate alerts. Default: 5."""
    baseline_days: Annotated[int, _checked("baseline_days", _range(1, 30))] = 7
    """Days whose behaviour the last hour is compared with. Default: 7."""
    baseline: BaselineSettings | None = None
    """A release's behaviour to compare with instead. Default: the past days."""
    drift_distance: Annotated[float, _checked("drift_distance", _range(0, 1))] = 0.2
    """How far apart two distributions may be, from 0 to 1. Default: 0.2."""
    drift_share: Annotated[float, _checked("drift_share", _range(0, 1))] = 0.05
    """How far a share of refusals or of a filter's decisions may move. Default: 0.05."""
    least_answers: Annotated[int, _checked("least_answers", _range(10, 1_000_000))] = 200
    """Answers in the last hour before drift is judged. Default: 200."""

    not_watched: list[Annotated[Text, one_of(*NOT_WATCHED)]] = Field(default_factory=list)
    """Objectives with a default that are taken back. Default: none."""

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        for name in self.not_watched:
            if NOT_WATCHED[name] in self.model_fields_set:
                context = {"allowed": f"{name} or notWatched, not both", "remedy": "remove one of the two"}
                raise PydanticCustomError("berth", "{allowed}", context)
        try:
            self.objectives()
        except ObjectiveError as error:
            said, _, allowed = str(error).partition("; allowed: ")
            context = {"allowed": allowed, "remedy": said}
            raise PydanticCustomError("berth", "{allowed}", context) from None
        return self

    def objectives(self) -> Objectives:
        """As the rules take them."""
        names = {name for name in type(self).model_fields if name not in {"baseline", "not_watched"}}
        given = {name: getattr(self, name) for name in names}
        given |= {NOT_WATCHED[name]: None for name in self.not_watched}
        baseline = Baseline(**self.baseline.model_dump()) if self.baseline else None
        return Objectives(**given, baseline=baseline)
