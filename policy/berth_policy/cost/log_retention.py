"""Logs are not kept, and billed, for ever."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from berth_policy.rule import IN_CLOUDS, Finding, Rule
from berth_policy.subject import Resource, Stack, survey


@dataclass(frozen=True)
class LogCost:
    """Most days that logs are kept, by environment."""

    most_days: Mapping[str, int] = field(default_factory=lambda: {"development": 90, "production": 400})


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each log group; one without an end is aws-log-retention's."""
    most = stack.settings(LogCost).most_days.get(stack.environment, 400)

    def kept(group: Resource) -> Iterator[Finding]:
        days = group.props.get("retentionInDays") or 0
        if days > most:
            yield Finding(f"retentionInDays is {days:g}", f"{most} at most", group)

    yield from survey(stack.of("aws:cloudwatch/logGroup:"), kept)


RULE = Rule(
    name="cost-log-retention",
    group="cost",
    title="Logs are kept no longer than their environment needs them.",
    why="They are billed by size and month, and hold data that should be gone.",
    fix="Lower retentionInDays; export what the law wants for longer to a bucket.",
    levels=IN_CLOUDS,
    types=("aws:cloudwatch/logGroup:",),
    settings=LogCost,
    check_stack=check,
)
