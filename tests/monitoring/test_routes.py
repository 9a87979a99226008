"""Each alert reaches whom it should; asked of amtool."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth_components.monitoring.routes import (
    NOBODY,
    Receiver,
    ReceiverError,
    alertmanager_config,
    unheard,
)
from berth_images.programs import programs

from tests.monitoring.promtool import groups

if TYPE_CHECKING:
    from pathlib import Path

RECEIVERS = (
    Receiver(name="on-call", kind="pagerduty", severities=("page",)),
    Receiver(name="team", kind="slack", channel="#models", owners=("ml.team", "search")),
    Receiver(
        name="mail", kind="email", severities=("ticket",), to="a@example.com", sender="b@example.com",
        smarthost="mail.example.com:587", username="berth",
    ),
    Receiver(name="hook", kind="webhook", severities=("page", "ticket", "info")),
    Receiver(name="heartbeat", kind="webhook", deadman=True),
)  # fmt: skip
CASES = [
    ({"severity": "page", "owner": "platform"}, {"on-call", "hook"}),
    ({"severity": "page", "owner": "search"}, {"on-call", "team", "hook"}),
    ({"severity": "ticket", "owner": "ml.team"}, {"team", "mail", "hook"}),
    ({"severity": "ticket", "owner": "mlxteam"}, {"mail", "hook"}),
    ({"severity": "info", "owner": "search"}, {"hook"}),
    ({"severity": "none", "owner": "platform", "alertname": "Watchdog"}, {"heartbeat", NOBODY}),
    ({"severity": "none", "owner": "platform"}, {NOBODY}),
]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "alertmanager.yaml"
    file.write_text(yaml.safe_dump(alertmanager_config(RECEIVERS), sort_keys=False))
    return file


def amtool(*words: str | Path) -> str:
    done = subprocess.run(
        [programs() / "amtool", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def told(config: Path, labels: dict[str, str]) -> set[str]:
    said = amtool(
        "config", "routes", "test", f"--config.file={config}",
        *(f"{key}={value}" for key, value in labels.items()),
    )  # fmt: skip
    return set(said.strip().split(","))


def test_the_configuration_is_one(config: Path) -> None:
    assert "SUCCESS" in amtool("check-config", config)
    text = config.read_text()
    assert text.count("/etc/alertmanager/secrets/") == 5, "each secret is a file"


@pytest.mark.parametrize(("labels", "receivers"), CASES, ids=lambda one: ",".join(sorted(map(str, one))))
def test_an_alert_goes_to(config: Path, labels: dict[str, str], receivers: set[str]) -> None:
    assert told(config, labels) == receivers


def test_every_route_is_taken_by_a_case() -> None:
    def takes(route: dict[str, Any], labels: dict[str, str]) -> bool:
        wanted = [matcher.replace('"', "").replace("=~", "=").split("=") for matcher in route["matchers"]]
        return all(labels.get(key, "") in value.replace("[.]", ".").split("|") for key, value in wanted)

    routes = alertmanager_config(RECEIVERS)["route"]["routes"]
    idle = [route for route in routes if not any(takes(route, labels) for labels, _ in CASES)]
    assert idle == []
    assert len(routes) == 9


def test_no_alert_of_the_rules_reaches_nobody(config: Path) -> None:
    kinds = {
        (rule["labels"]["severity"], rule["labels"]["owner"])
        for group in groups()
        for rule in group["rules"]
        if "alert" in rule and rule["alert"] != "Watchdog"
    }
    assert len(kinds) == 3
    for severity, owner in kinds:
        assert told(config, {"severity": severity, "owner": owner}) != {NOBODY}


def test_with_nobody_to_tell_that_is_said() -> None:
    assert unheard((), "platform") == ["page", "ticket"]
    assert unheard(RECEIVERS[:1], "platform") == ["ticket"]
    assert unheard(RECEIVERS[1:2], "platform") == ["page", "ticket"]
    assert unheard(RECEIVERS[1:2], "search") == []
    assert unheard(RECEIVERS[4:], "platform") == ["page", "ticket"], "a dead-man's switch tells nobody"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kind": "fax"}, "one of webhook, slack, pagerduty, email"),
        ({"kind": "webhook", "name": "No Good"}, "lower-case letters"),
        ({"kind": "webhook", "name": NOBODY}, "not 'nobody'"),
        ({"kind": "webhook", "severities": ("loud",)}, "some of page, ticket, info"),
        ({"kind": "webhook", "severities": ()}, "some of page, ticket, info"),
        ({"kind": "webhook", "channel": "#x"}, "nothing with kind webhook"),
        ({"kind": "webhook", "owners": ('a"b',)}, "letters, digits"),
        ({"kind": "slack"}, "kind slack needs it"),
        ({"kind": "email", "to": "a@example.com"}, "kind email needs it"),
        ({"kind": "email", "deadman": True}, "only with kind webhook"),
    ],
)
def test_a_receiver_that_makes_no_sense_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ReceiverError, match=said):
        Receiver(**{"name": "one", **given})


def test_a_name_is_there_once() -> None:
    with pytest.raises(ReceiverError, match="is there twice"):
        alertmanager_config([RECEIVERS[0], RECEIVERS[0]])
