"""What the shipped stacks come to: rule files that promtool takes, a configuration that amtool takes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from berth.deployer import load_config
from berth_components.monitoring.facts import JOBS, Parts
from berth_components.monitoring.routes import alertmanager_config
from berth_components.monitoring.rules import rule_groups, unwatched
from berth_images.programs import programs
from berth_stacks import watching
from berth_stacks.load import Loaded, read

STACKS = Path(__file__).resolve().parents[2] / "stacks"
NAMES = sorted(file.name.split(".")[1] for file in STACKS.glob("Pulumi.*.yaml"))


def stack(name: str) -> Loaded:
    values = load_config(STACKS.parent, name)[0]
    if name.startswith("local"):  # its clusters are filled in by `up`
        sites = json.loads(values["berth:sites"])
        there = {key: {"kubeconfig": f"~/.kube/{key}", "nodeAddress": "198.18.0.11"} for key in sites}
        values = {**values, "berth:connections": json.dumps(there)}
    return read(STACKS, name, values)


def checked(*words: str | Path) -> str:
    tool, *rest = words
    done = subprocess.run(
        [programs() / tool, *rest], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("everything", [True, False], ids=["with every exporter", "as it is deployed"])
@pytest.mark.parametrize("name", NAMES)
def test_rules_pass_promtool_without_a_complaint(name: str, everything: bool, tmp_path: Path) -> None:
    settings = stack(name).settings
    servers, objectives = watching.servers(settings, name), watching.objectives(settings)
    assert servers
    for site in {server.site for server in servers}:
        here = [server for server in servers if server.site == site]
        parts = (
            Parts(jobs=frozenset(JOBS), remote_write=True) if everything else watching.parts(settings, site)
        )
        groups = rule_groups(here, objectives, parts)
        names = [group["name"] for group in groups]
        assert len(set(names)) == len(names)
        assert all(re.fullmatch(r"[-._a-zA-Z0-9]+", one) for one in names), "each is a key of a ConfigMap"
        file = tmp_path / f"{site}.yaml"
        file.write_text(yaml.safe_dump({"groups": groups}))
        assert "SUCCESS" in checked("promtool", "check", "rules", file)
        # What cannot be watched says what is missing.
        assert all(one.reason for one in unwatched(here, objectives, parts))


@pytest.mark.parametrize("name", NAMES)
def test_the_configuration_of_alertmanager_passes_amtool(name: str, tmp_path: Path) -> None:
    monitoring = stack(name).settings.monitoring
    receivers = [one.receiver(key) for key, one in monitoring.receivers.items()]
    file = tmp_path / "alertmanager.yaml"
    file.write_text(yaml.safe_dump(alertmanager_config(receivers)))
    assert "SUCCESS" in checked("amtool", "check-config", file)
