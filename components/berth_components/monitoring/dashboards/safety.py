"""Safety: what filters found, what users reported, and whether behaviour drifts."""

from __future__ import annotations

from .model import Dashboard, Panel, Query, Section
from .promql import BY, LEGEND, quantile, quiet, rate, recorded

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
                    given="filtered",
                ),
                Panel(
                    title="Time of the filters",
                    text="Time that a filter takes for one text, 95th percentile: it adds to the time to "
                    "first token.",
                    queries=(
                        Query(quantile(0.95, "berth_filter_duration_seconds", by="filter"), "{{filter}}"),
                    ),
                    unit="s",
                    given="filtered",
                ),
                Panel(
                    title="Decisions against their baseline",
                    text="Share of texts of the last hour that were not simply let through; dashed is the "
                    "baseline that drift is judged by.",
                    queries=(
                        Query(
                            recorded("server:filter_decisions:share1h", ',decision!="allow"'),
                            "{{model}} {{filter}} {{decision}}",
                        ),
                        Query(
                            recorded("server:filter_decisions:share_baseline", ',decision!="allow"'),
                            "baseline {{model}} {{filter}} {{decision}}",
                            line=True,
                        ),
                    ),
                    unit="percentunit",
                    given="filtered",
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
                    text="Share of answers of the last hour that refuse; dashed is the baseline.",
                    queries=(
                        Query(recorded("server:refusals:share1h"), LEGEND),
                        Query(recorded("server:refusals:share_baseline"), f"baseline {LEGEND}", line=True),
                    ),
                    unit="percentunit",
                    given="refusals",
                ),
                Panel(
                    title="Mean length of answers",
                    text="Mean tokens per answer of the last hour.",
                    queries=(Query(recorded("server:answer_tokens:mean_rate1h"), LEGEND),),
                    unit="suffix: tok",
                ),
                Panel(
                    title="Mean perplexity",
                    text="Mean perplexity of the last hour's answers. A step without a release means that "
                    "what "
                    "is asked has changed.",
                    queries=(Query(recorded("server:perplexity:mean_rate1h"), LEGEND),),
                    needs="requests that ask for log-probabilities",
                    gate="sum(increase(berth_perplexity_count[1h])) > 0",
                ),
                Panel(
                    title="Distance from the baseline",
                    text="How far the last hour's lengths and perplexities are from the baseline's: the "
                    "largest "
                    "difference of their cumulative shares, 0 is the same and 1 is nothing in common.",
                    queries=(
                        Query(recorded("server:answer_tokens:distance"), f"length {LEGEND}"),
                        Query(recorded("server:perplexity:distance"), f"perplexity {LEGEND}"),
                    ),
                    unit="percentunit",
                    needs="a baseline: an hour's answers that are more than an hour old, or a release's",
                    gate="count(server:answer_tokens:share_baseline)",
                    limits=(0.2, 0.4),
                ),
            ),
        ),
    ),
)
