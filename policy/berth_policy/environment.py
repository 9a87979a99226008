"""Which environment a stack is: what levels and some rules depend on.

A stack says it by a resource of type berth:stacks:Environment; else the pack's configuration does, as
`environment` of the policy of the same name; else it is production, the strictest.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from berth_policy.rule import ENVIRONMENTS, Finding, Rule
from berth_policy.subject import Resource, Stack

TYPE = "berth:stacks:Environment"
STRICTEST = "production"


@dataclass(frozen=True)
class EnvironmentSettings:
    """Settings of the policy `environment`.

    Attributes:
        environment: local, development or production, for programs that declare none; "" is production.
    """

    environment: str = ""


def environment_of(resources: Iterable[Resource], configured: str) -> str:
    """The environment of a stack.

    Raises:
        UnknownValueError: the stack declares one that the preview does not know.
    """
    declared = next((one.props.get("environment") for one in resources if one.token == TYPE), None)
    for word in (declared, configured):
        if word:
            return word if word in ENVIRONMENTS else STRICTEST
    return STRICTEST


def check(stack: Stack) -> Iterator[Finding]:
    """Refuse words that name no environment; they would be judged as production."""
    wanted = f"one of {', '.join(ENVIRONMENTS)}"
    for one in stack.of(TYPE):
        declared = one.props.get("environment")
        if declared not in ENVIRONMENTS:
            yield Finding(f"environment is {declared!r}", wanted, one)
    configured = stack.settings(EnvironmentSettings).environment
    if configured and configured not in ENVIRONMENTS:
        yield Finding(f"the pack's configuration says environment {configured!r}", wanted)


RULE = Rule(
    name="environment",
    group="pack",
    title="A stack is local, development or production.",
    why="Levels of rules depend on it, and a word that is misspelt would be judged as something else.",
    fix="Declare berth:stacks:Environment with a known environment, or configure one for this policy.",
    settings=EnvironmentSettings,
    check_stack=check,
)
