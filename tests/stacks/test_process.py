"""The program as Pulumi starts it: a process of its own, settings in its environment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml
from berth.deployer import RunRequest, preview

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def _request(root: Path, extra: dict[str, str]) -> RunRequest:
    file = yaml.safe_load((root / "stacks/Pulumi.local.yaml").read_text())["config"]
    config = {key: value if isinstance(value, str) else json.dumps(value) for key, value in file.items()}
    return RunRequest(
        program=root / "stacks",
        project="berth",
        stack="local",
        config={**config, **extra},
        secret_keys=frozenset({"berth:apiKeys"}),
        offline=True,
    )


async def test_it_runs_unmodified(root: Path, overlay: Callable[..., dict[str, str]]) -> None:
    report = await preview(_request(root, overlay()))
    assert report.ok, [d.message for d in report.diagnostics]
    assert report.outputs["namespace"] == "berth-local"
    assert len([step for step in report.steps if "$kubernetes:" in step.urn]) == 56
    assert "canary" not in json.dumps(report.to_json())


async def test_wrong_settings_end_it_with_one_message(
    root: Path, overlay: Callable[..., dict[str, str]]
) -> None:
    extra: dict[str, Any] = overlay()
    extra["berth:environment"] = "staging"
    report = await preview(_request(root, extra))
    assert not report.ok
    said = "\n".join(diagnostic.message for diagnostic in report.diagnostics)
    assert "Pulumi.local.yaml:5: berth:environment is 'staging'" in said
    assert "Traceback" not in said
