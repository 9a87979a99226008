"""Logs are kept long enough to be read after an incident."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from berth_policy.reading import peek, said
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Resource, Stack, survey
from berth_policy.units import number

_GROUP = "aws:cloudwatch/logGroup:"
_CLUSTER = "aws:eks/cluster:"
_ENDPOINT = "aws:sagemaker/endpoint:"
_SAGEMAKER = "/aws/sagemaker/Endpoints/"


@dataclass(frozen=True)
class LogRetention:
    """Fewest days that logs are kept, by environment."""

    least_days: Mapping[str, int] = field(
        default_factory=lambda: {"local": 0, "development": 7, "production": 90}
    )


def check(stack: Stack) -> Iterator[Finding]:
    """Look at each log group; 0 days are for ever, and absent is 0."""
    least = stack.settings(LogRetention).least_days.get(stack.environment, 90)

    def kept(group: Resource) -> Iterator[Finding]:
        days = number(group.props.get("retentionInDays"), 0)
        if not days:
            found = said(group.props.get("retentionInDays"))
            yield Finding(f"retentionInDays is {found}, so for ever", f"a number, {least} at least", group)
        elif days < least:
            yield Finding(f"retentionInDays is {days:g}", f"{least} at least in {stack.environment}", group)

    groups = stack.of(_GROUP)
    yield from survey(groups, kept)
    names = {str(peek(one.props, "name")) for one in groups}
    for writer in stack.of(_CLUSTER, _ENDPOINT):
        name = peek(writer.props, "name")
        if name is not None:
            path = f"/aws/eks/{name}/cluster" if writer.token.startswith(_CLUSTER) else f"{_SAGEMAKER}{name}"
            if path not in names:
                yield Finding(f"its log group {path} is not declared, so kept for ever", "one", writer)


RULE = Rule(
    name="aws-log-retention",
    group="aws",
    title="Every log group says how long it is kept, and long enough.",
    why="An intrusion is found weeks later; logs without an end are billed for ever and hold data that "
    "should be gone.",
    fix="Set retentionInDays.",
    types=(_GROUP, _CLUSTER, _ENDPOINT),
    answers=("CKV_AWS_66",),
    settings=LogRetention,
    check_stack=check,
)
