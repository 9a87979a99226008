"""The pack as Pulumi runs it."""

import functools
import importlib
import pkgutil
import sys
from pathlib import Path
from typing import Any

from pulumi_policy import (
    EnforcementLevel,
    Policy,
    PolicyPack,
    ResourceValidationPolicy,
    StackValidationPolicy,
)

import berth_policy
from berth_policy import environment, exceptions, settings
from berth_policy.once import Sieve, convert_once
from berth_policy.rule import ADVISED, Level, Rule
from berth_policy.run import Run

NAME = "berth"
GROUPS = (
    "findings",
    "workloads",
    "network",
    "identity",
    "aws",
    "google",
    "accelerators",
    "cost",
    "supply_chain",
    "routers",
)
LEVELS: dict[Level, EnforcementLevel] = {
    "mandatory": EnforcementLevel.MANDATORY,
    "advisory": EnforcementLevel.ADVISORY,
    "disabled": EnforcementLevel.DISABLED,
}
EXCEPTIONS = "exceptions"
"""The policy about exceptions themselves."""
INPUTS = "inputs"
"""The policy that only remembers inputs, for those that need all resources."""


@functools.cache
def rules() -> tuple[Rule, ...]:
    """Every rule, one per module of the groups' packages, in a fixed order; the environment's comes first."""
    found: list[Rule] = [environment.RULE]
    for group in GROUPS:
        package = importlib.import_module(f"{berth_policy.__name__}.{group}")
        modules = sorted(one.name for one in pkgutil.iter_modules(package.__path__))
        found += (
            importlib.import_module(f"{package.__name__}.{one}").RULE for one in modules if one[0] != "_"
        )
    return tuple(found)


def policies(run: Run, chosen: tuple[Rule, ...] | None = None) -> list[Policy]:
    """The rules as policies of Pulumi's, all of which share one run.

    A check of one resource whose level is the same everywhere is a resource policy. All others are stack
    policies: only then the environment, or the other resources, are known. A rule that stops in one
    environment and advises in another is two policies, since Pulumi knows one level for each.
    """
    first, *others = chosen if chosen is not None else rules()
    run.rules = frozenset(one.name for one in (first, *others))
    made: list[Policy] = [
        ResourceValidationPolicy(
            INPUTS,
            "Remembers what each resource was given, for the policies of the whole stack.",
            run.note,
            EnforcementLevel.ADVISORY,
        )
    ]
    for rule in (first, *others):
        made += _policies(run, rule)
    return [
        *made,
        StackValidationPolicy(
            EXCEPTIONS,
            "An exception names one object that breaks its rule, and has not expired.",
            run.exceptions,
            EnforcementLevel.MANDATORY,
        ),
    ]


def _policies(run: Run, rule: Rule) -> list[Policy]:
    levels = sorted({level for level in rule.levels.values() if level != "disabled"}, reverse=True)
    about: dict[str, Any] = {
        "config_schema": settings.schema(rule.settings) if rule.settings else None,
        "display_name": rule.title,
        "tags": [rule.group, *rule.answers],
        "remediation_steps": rule.fix,
        "url": rule.anchor,
    }
    found: list[Policy] = []
    if rule.check is not None and len(set(rule.levels.values())) == 1:
        validate = functools.partial(run.resource, rule)
        found.append(ResourceValidationPolicy(rule.name, rule.title, validate, LEVELS[levels[0]], **about))
    else:
        for number, level in enumerate(levels):
            name = rule.name + (ADVISED if number else "")
            judge = functools.partial(run.stack, rule, level)
            found.append(StackValidationPolicy(name, rule.title, judge, LEVELS[level], **about))
    for policy in found:
        vars(policy)["types"] = rule.types
    return found


def serve(folder: Path) -> None:
    """Serve the pack to whatever engine started this process; exceptions are those of its folder."""
    try:
        run = Run(exceptions.read(folder / exceptions.FILE))
    except exceptions.ExceptionsError as error:
        sys.exit(f"berth policy pack: {error}")
    convert_once()
    PolicyPack(
        NAME,
        Sieve(policies(run)),
        EnforcementLevel.MANDATORY,
        description="What must not ship, for Kubernetes, AWS and Google Cloud.",
    )
