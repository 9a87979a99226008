"""Cost and business: what it costs, who uses it, and what they make of it."""

from __future__ import annotations

from .model import Dashboard, Kind, Panel, Query, Section
from .promql import BY, LEGEND, SERVER, quantile, quiet, rate, recorded

_HOUR_COST = f"sum by ({BY}) (rate(berth_cost_dollars_total{{{SERVER}}}[1h]))"

COST = Dashboard(
    name="cost",
    title="Cost and use",
    text="What the servers cost, what one request and one million tokens cost, who uses them, and what "
    "users make "
    "of the answers.",
    sections=(
        Section(
            "Cost",
            (
                Panel(
                    title="Cost per hour",
                    text="What the replicas cost per hour, by the price that each was told.",
                    queries=(Query(recorded("server:cost_dollars:rate5m"), LEGEND),),
                    unit="currencyUSD",
                    given="priced",
                    stacked=True,
                ),
                Panel(
                    title="Cost of a request",
                    text="The price of an engine slot for the time that a request held it: median and 95th "
                    "percentile. Idle time is not in it.",
                    queries=(
                        Query(quantile(0.5, "berth_request_cost_dollars"), f"median {LEGEND}"),
                        Query(quantile(0.95, "berth_request_cost_dollars"), f"p95 {LEGEND}"),
                    ),
                    unit="currencyUSD",
                    given="priced",
                ),
                Panel(
                    title="Cost per request, idle time included",
                    text="Everything the servers cost in a day, divided by the requests that they answered.",
                    queries=(Query(recorded("server:cost_per_request_dollars:rate1d"), LEGEND),),
                    unit="currencyUSD",
                    given="priced",
                ),
                Panel(
                    title="Cost of a million tokens",
                    text="Cost of the last hour divided by the tokens generated in it. It falls as the "
                    "servers are "
                    "used more.",
                    queries=(
                        Query(
                            f"1e6 * {_HOUR_COST} / (sum by ({BY}) "
                            f"(rate(berth_generated_tokens_total{{{SERVER}}}[1h])) > 0)",
                            LEGEND,
                        ),
                    ),
                    unit="currencyUSD",
                    given="priced",
                ),
                Panel(
                    title="Spent since the start",
                    text="What the running replicas have cost since each began. A replica that is gone "
                    "takes its sum "
                    "with it: this is no bill.",
                    queries=(Query(f"sum by ({BY}) (berth_cost_dollars_total{{{SERVER}}})", LEGEND),),
                    unit="currencyUSD",
                    kind=Kind.NUMBER,
                    given="priced",
                ),
            ),
        ),
        Section(
            "Who uses it",
            (
                Panel(
                    title="Requests by key",
                    text="Generation requests per second, by API key; beyond a hundred keys they are "
                    "`other`.",
                    queries=(Query(rate("berth_key_requests_total", by="key"), "{{key}}"),),
                    unit="reqps",
                    stacked=True,
                ),
                Panel(
                    title="Tokens by key",
                    text="Tokens per second, read and generated, by API key.",
                    queries=(
                        Query(rate("berth_key_tokens_total", by="key, direction"), "{{key}} {{direction}}"),
                    ),
                    unit="suffix: tok/s",
                    stacked=True,
                ),
            ),
        ),
        Section(
            "What users make of it",
            (
                Panel(
                    title="User engagement",
                    text="What users did with answers, per minute: liked, disliked, copied, asked again.",
                    queries=(
                        Query(
                            f"60 * ({quiet(rate('berth_feedback_total', by=f'{BY}, event'), 'event')})",
                            "{{model}} {{variant}} {{event}}",
                        ),
                    ),
                    unit="suffix: /min",
                ),
                Panel(
                    title="Conversion rate",
                    text="Conversions reported to /feedback, as a share of the requests received.",
                    queries=(
                        Query(
                            f"""({quiet(rate("berth_feedback_total", ',event="converted"'))}) """
                            f"/ ({rate('llm_request_count_total')} > 0)",
                            LEGEND,
                        ),
                    ),
                    unit="percentunit",
                ),
                Panel(
                    title="Value of conversions",
                    text="Sum of the values of conversions per hour, as the caller counts them.",
                    queries=(
                        Query(
                            f"3600 * ({quiet(rate('berth_conversion_value_total'))})",
                            LEGEND,
                        ),
                    ),
                    unit="suffix: /h",
                ),
            ),
        ),
    ),
)
