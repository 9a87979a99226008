"""What docs/guides/aws.md shows works as written, as far as that can be seen without an account."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pulumi
import yaml
from berth.cli.permissions import permissions

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "guides" / "aws.md").read_text("utf-8")


def test_the_program_runs(plan: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    monkeypatch.setattr(pulumi, "export", lambda _name, _value: None)

    def run(_opts: pulumi.ResourceOptions) -> None:
        exec(compile(program, "docs/guides/aws.md", "exec"), {})  # noqa: S102 - our own page

    planned = plan(run)
    assert planned.one("eks/cluster:Cluster")["version"] == "1.35"
    assert planned.one("LaunchTemplate", "l4-template")["instanceType"] == "g6.xlarge"
    assert planned.one("PodIdentityAssociation", "weights-association")["serviceAccount"] == "chat"


def test_the_yaml_is_yaml_with_settings_that_exist() -> None:
    examples = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)]
    (stack,) = [one for one in examples if "config" in one]
    schema = (ROOT / "stacks" / "schema.json").read_text("utf-8")
    for key in stack["config"]["berth:sites"]["aws"]["eks"]:
        assert f'"{key}"' in schema
    for key in re.findall(r"`(?:eks\.)?([a-z]+[A-Z][A-Za-z]+)(?:`|:)", GUIDE):
        assert f'"{key}"' in schema, key


def test_links_and_files_are_there() -> None:
    for target in re.findall(r"\]\((?!https://)([^)#]+)", GUIDE):
        assert (ROOT / "docs" / "guides" / target).resolve().exists(), target
    for file in re.findall(r"`(stacks/[^`<]+)`", GUIDE):
        assert (ROOT / file).exists(), file


def test_the_options_of_the_permissions_command() -> None:
    assert "--format aws-policy" in GUIDE
    options = {option for parameter in permissions.params for option in parameter.opts}
    assert {"--account", "--format"} <= options
