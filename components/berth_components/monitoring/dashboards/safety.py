"""Safety: what filters found, what users reported, and whether behaviour drifts."""

from __future__ import annotations

from .model import Dashboard, Panel, Query, Section
from .promql import BY, LEGEND, quantile, quiet, rate, recorded

_FILTERED = "filters on the gateway"
_GATE = "count(berth_filter_duration_seconds_count)"

SAFETY = Dashboard(
    name="safety",
    title="Safety",
    text="What filters found and did, what users reported, and whether the model answers as it used to.",
    sections=(
        Section(
            "Filters",
            (
                Panel(
                    title="Content policy violations",
                    text="Requests per minute in which a filter found something, by its category.",
                    queries=(
                        Query(
                            "60 * ("
                            + quiet(rate("berth_policy_violations_total", by=f"{BY}, category"), "category")
                            + ")",
                            "{{model}} {{variant}} {{category}}",
                        ),
                    ),
                    unit="suffix: /min",
                ),
                Panel(
                    title="Filter activations",
                    text="What filters decided, per second. `error` is a filter that could not tell: the "
                    "text "
                    "was handled as its settings say.",
                    queries=(
                        Query(
                            rate("berth_filter_decisions_total", by="filter, stage, decision"),
                            "{{filter}} {{stage}} {{decision}}",
                        ),
                    ),
                    unit="ops",
                    needs=_FILTERED,
                    gate=_GATE,
                ),
                Panel(
                    title="Time of the filters",
                    text="Time that a filter takes for one text, 95th percentile: it adds to the time to "
                    "first token.",
                    queries=(
                        Query(quantile(0.95, "berth_filter_duration_seconds", by="filter"), "{{filter}}"),
                    ),
                    unit="s",
                    needs=_FILTERED,
                    gate=_GATE,
                ),
                Panel(
                    title="Findings against their baseline",
                    text="Share of checks of the last hour that flagged, redacted or blocked; dashed is "
                    "the baseline.",
                    queries=(
                        Query(
                            recorded("server:filter_findings:ratio_rate1h"),
                            "{{model}} {{filter}} {{decision}}",
                        ),
                        Query(
                            recorded("server:filter_findings:ratio_rate1h_baseline"),
                            "baseline {{model}} {{filter}} {{decision}}",
                            line=True,
                        ),
                    ),
                    unit="percentunit",
                    needs=_FILTERED,
                    gate=_GATE,
                ),
            ),
        ),
        Section(
            "Users",
            (
                Panel(
                    title="User reports",
                    text="Answers that users reported, per hour, by reason.",
                    queries=(
                        Query(
                            "3600 * ("
                            + quiet(rate("berth_user_reports_total", by=f"{BY}, category"), "category")
                            + ")",
                            "{{model}} {{variant}} {{category}}",
                        ),
                    ),
                    unit="suffix: /h",
                ),
            ),
        ),
        Section(
            "Behaviour",
            (
                Panel(
                    title="Refusals",
                    text="Share of requests of the last hour that a filter blocked; dashed is the baseline.",
                    queries=(
                        Query(recorded("server:refusals:ratio_rate1h"), LEGEND),
                        Query(
                            recorded("server:refusals:ratio_rate1h_baseline"), f"baseline {LEGEND}", line=True
                        ),
                    ),
                    unit="percentunit",
                ),
                Panel(
                    title="Perplexity against its baseline",
                    text="Mean perplexity of the last hour's answers; dashed is the baseline. A step "
                    "without a "
                    "release means that inputs changed.",
                    queries=(
                        Query(recorded("server:perplexity:mean_rate1h"), LEGEND),
                        Query(
                            recorded("server:perplexity:mean_rate1h_baseline"),
                            f"baseline {LEGEND}",
                            line=True,
                        ),
                    ),
                    needs="requests that ask for log-probabilities",
                    gate="sum(increase(berth_perplexity_count[1h])) > 0",
                ),
            ),
        ),
    ),
)
