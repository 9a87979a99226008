"""Pieces of PromQL that many panels share."""

from __future__ import annotations

SERVER = 'site=~"$site",model=~"$model",variant=~"$variant"'
"""Matchers of series that carry a server's labels."""
SITE = 'site=~"$site"'
BY = "site, model, variant"
LEGEND = "{{site}}/{{model}} {{variant}}"
WINDOW = "$__rate_interval"


def total(name: str, more: str = "", by: str = BY, match: str = SERVER) -> str:
    """Sum of a gauge."""
    return f"sum by ({by}) ({name}{{{match}{more}}})"


def largest(name: str, more: str = "", by: str = BY, match: str = SERVER) -> str:
    """Maximum of a gauge."""
    return f"max by ({by}) ({name}{{{match}{more}}})"


def rate(name: str, more: str = "", by: str = BY, match: str = SERVER) -> str:
    """Increase of a counter per second."""
    return f"sum by ({by}) (rate({name}{{{match}{more}}}[{WINDOW}]))"


def mean(name: str, by: str = BY) -> str:
    """Mean of a histogram's values."""
    return f"{rate(f'{name}_sum', by=by)} / ({rate(f'{name}_count', by=by)} > 0)"


def quantile(part: float, name: str, more: str = "", by: str = BY, match: str = SERVER) -> str:
    """Quantile of a histogram's values, estimated within its buckets."""
    return f"histogram_quantile({part}, {rate(f'{name}_bucket', more, f'le, {by}', match)})"


def recorded(name: str, more: str = "") -> str:
    """A recorded series of the servers chosen."""
    return f"{name}{{{SERVER}{more}}}"


def quiet(expr: str, *labels: str, by: str = BY) -> str:
    """`expr`, and 0 for each server that has none of it: what never happened has no series.

    The 0 comes from the gateway's own gauge, so a gateway that is not scraped shows nothing, not 0.
    """
    zero = f"0 * {total('llm_active_requests', by=by)}"
    for label in labels:
        zero = f'label_replace({zero}, "{label}", "none", "", "")'
    return f"{expr} or on ({by}) {zero}"
