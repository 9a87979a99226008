"""On a real cluster: rules are healthy, faults arrive at a receiver and go again, runbooks' commands run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
from berth_catalogue.images import load_images

from tests.monitoring.faulty import MODEL, NAMESPACE, Watched, hook, until
from tests.monitoring.runbooks import INDEX, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from berth.localcluster import Cluster

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.timeout(1800),
    pytest.mark.skipif("prometheus" not in load_images().images, reason="images.yaml has no Prometheus"),
]


@pytest.fixture(scope="module")
def watched(cluster: Cluster, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with hook(cluster) as receiver:
        made = Watched(root, tmp_path_factory.mktemp("watched"), cluster, receiver, delay=0.05)
        try:
            made.up()
            yield made
        finally:
            made.berth("down", "local", "--yes", check=False)


def test_every_rule_is_evaluated_without_an_error(watched: Watched) -> None:
    def unknown() -> list[str]:
        """Rules that have not been evaluated; those of slow groups come in their own time."""
        groups = [group for group in watched.ask("rules")["groups"] if group["interval"] < 60]
        return [rule["name"] for group in groups for rule in group["rules"] if rule["health"] == "unknown"]

    until(lambda: watched.ask("rules")["groups"] and not unknown(), "every rule evaluated")
    rules = [rule for group in watched.ask("rules")["groups"] for rule in group["rules"]]
    assert [(rule["name"], rule["lastError"]) for rule in rules if rule["health"] == "err"] == []
    assert len([rule for rule in rules if rule["type"] == "alerting"]) > 40
    until(lambda: watched.value(f'up{{job="berth-gateway", model="{MODEL}"}}') == 1, "the gateway scraped")
    until(lambda: watched.value("server:ready_replicas:sum") == 1, "what is recorded")


def test_two_faults_alert_arrive_and_are_over(watched: Watched) -> None:
    """An engine that hangs whenever it is restarted, and a target that answers no scrape."""
    faults = {
        "ModelUnavailable": {"model": MODEL, "namespace": NAMESPACE, "severity": "page"},
        "TargetDown": {"job": "node", "severity": "ticket"},
    }
    until(lambda: watched.value('up{job="node"}') == 1, "the node exporter scraped")
    began = time.monotonic()
    with (
        watched.stopped(NAMESPACE, "model-server", "llama_cpp"),
        watched.stopped("berth-node-agents", "node-exporter", "node-exporter"),
    ):
        for name, labels in faults.items():
            told = until(
                lambda name=name, labels=labels: watched.hook.told("firing", began, alertname=name, **labels),
                f"{name} told",
                400,
            )
            assert told["labels"]["owner"] == "platform"
            assert told["annotations"]["runbook_url"].endswith(f"runbooks/{name}.md")
            assert "error" not in told["annotations"]["summary"], "templates are filled"
            assert "{{" not in json.dumps(told["annotations"])
    over = time.monotonic()
    for name, labels in faults.items():
        until(
            lambda name=name, labels=labels: watched.hook.told("resolved", over, alertname=name, **labels),
            f"{name} resolved",
            600,
        )


def test_the_dead_mans_switch_fires(watched: Watched) -> None:
    assert watched.value('ALERTS{alertname="Watchdog", alertstate="firing"}') == 1
    assert watched.hook.told("firing", alertname="Watchdog") is None, "it has receivers of its own"


def test_the_kubelet_tells_of_containers_and_volumes(watched: Watched) -> None:
    until(lambda: watched.value('min(up{job=~"kubernetes-.*"})') == 1, "the kubelet scraped")
    engines = 'container_memory_working_set_bytes{container="engine"}'
    until(lambda: watched.value(f"count({engines})"), "the engine's container told from its pod")
    volumes = 'kubelet_volume_stats_capacity_bytes{persistentvolumeclaim="berth-prometheus-data"}'
    until(lambda: watched.value(volumes), "the size of Prometheus' volume")


def test_what_runbooks_say_runs(watched: Watched, tmp_path: Path) -> None:
    """Each command once, with what the index sets; of those that are not run, the words are checked."""
    words = " ".join(f'"{word}"' for word in watched.cluster.kubectl_command())
    (tmp_path / "kubectl").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    (tmp_path / "kubectl").chmod(0o755)
    environment = {**watched.environment, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    found = blocks()
    [setting] = [block.text for block in found if block.page == INDEX]
    said = _ran(f"{setting}\nexport -p", environment, watched.checkout).stdout
    run, read = (
        {
            line: block.page
            for block in found
            for line in block.text.splitlines()
            if bool(block.why) is not_run
        }
        for not_run in (False, True)
    )
    for line, page in run.items():
        if page == INDEX:
            continue
        done = _ran(f"set -e -o pipefail\n{said}\n{line}", environment, watched.checkout)
        assert done.returncode == 0, f"{page}: {line}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
    # kubectl reads every flag before it shows its help.
    asked = {
        command: page
        for line, page in read.items()
        for command in re.findall(r"(?:^|\| )(kubectl [^|]+)", line)
        if line not in run
    }
    for command, page in asked.items():
        # The stack has no router; whoever reads a page about one knows its name.
        done = _ran(f"{command} --help", {**environment, "ROUTER": "front"}, watched.checkout)
        assert done.returncode == 0, f"{page}: {command}\n{done.stderr[-800:]}"
    assert len(run) > 30
    assert len(asked) > 15


def _ran(script: str, environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
