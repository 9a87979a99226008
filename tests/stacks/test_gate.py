"""The gate inside of the program: what fails ends it, what is unknown holds back production; overrides."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
import yaml
from berth_catalogue.planning import Range
from berth_planner.measurements import Measurement, Point
from berth_stacks.errors import SettingsError
from berth_stacks.findings import FindingsError
from berth_stacks.gate import PlanError, gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TODAY = date(2026, 11, 28)
PRICE = "onprem/smollm2 price"
REPLICAS = "onprem/smollm2 replicas"


@pytest.fixture
def onprem(root: Path) -> dict[str, Any]:
    """The shipped stack for own hardware, which is production; without its load and its monitoring."""
    file: dict[str, Any] = yaml.safe_load((root / "stacks" / "Pulumi.onprem.yaml").read_text())
    file["config"]["berth:models"]["smollm2"].pop("load", None)
    file["config"].pop("berth:monitoring", None)
    return file


def given(overlay: Callable[..., dict[str, str]]) -> dict[str, str]:
    extra = overlay("onprem", registry="registry.example", digest=True)
    del extra["berth:connections"]
    return extra


def text(file: dict[str, Any], **more: Any) -> str:
    return yaml.safe_dump(
        {"config": {**file["config"], **{f"berth:{key}": one for key, one in more.items()}}}
    )


def override(finding: str = PRICE, expires: str = "2999-12-31") -> dict[str, str]:
    return {"finding": finding, "reason": "the invoice is under way", "expires": expires}


def load_of(file: dict[str, Any], requests: float) -> dict[str, Any]:
    load = {"requestsPerSecond": requests, "inputTokens": 100, "outputTokens": 50}
    models = {**file["config"]["berth:models"]}
    models["smollm2"] = {**models["smollm2"], "load": load}
    return {"config": {**file["config"], "berth:models": models}}


def measured(folder: Path, tokens_per_second: float) -> None:
    """A fixture: nobody measured this."""

    def about(value: float) -> Range:
        return Range(value * 0.8, value, value * 1.2)

    points = [
        Point(
            concurrency=level,
            repeats=3,
            requests_per_second=about(tokens_per_second / 50),
            tokens_per_second=about(tokens_per_second),
            first_token_p50=about(0.1),
            first_token_p95=about(0.5),
        )
        for level in (1, 8)
    ]
    one = Measurement(
        model="smollm2-135m-instruct-q4_1",
        quantisation="Q4_1",
        engine="llama.cpp",
        version="",
        accelerator="cpu",
        count=4,
        machine="a fixture",
        input_tokens=100,
        output_tokens=50,
        points=tuple(points),
        memory_gib=None,
        load_seconds=None,
        day=TODAY,
        source="a fixture",
    )
    (folder / "measurements").mkdir(exist_ok=True)
    (folder / "measurements" / "fixture.yaml").write_text(yaml.safe_dump(one.to_data()))


def test_what_does_not_fit_ends_every_program_with_the_line(run: Callable[..., Any]) -> None:
    stack = yaml.safe_load(STACK)
    run(yaml.safe_dump(stack), {}, preview=True)
    stack["config"]["berth:models"]["chat"]["concurrency"]["slots"] = 64
    with pytest.raises(PlanError) as caught:
        run(yaml.safe_dump(stack, sort_keys=False), {}, preview=True)
    message = str(caught.value)
    assert message.startswith("stack 'local': 1 check fails in its plan\n  Pulumi.local.yaml:")
    assert "own/chat memory is failed" in message
    assert "fewer concurrency.slots" in message
    stack["config"]["berth:overrides"] = [override("own/chat memory")]
    done = run(yaml.safe_dump(stack), {}, preview=True)
    (said,) = done.of("stacks:Environment")
    assert any(
        "own/chat memory is failed, and gone over until 2999-12-31: the invoice" in one
        for one in said["findings"]
    )


STACK = """
config:
  berth:environment: development
  berth:clients: {cidrs: [10.0.0.0/8]}
  berth:sites:
    own:
      cluster: {kubeconfig: fixture}
      pools: {main: {accelerator: nvidia-l4, max: 3}}
  berth:models:
    chat:
      model: qwen2.5-7b-instruct
      sites: [own]
      pool: main
      engine:
        name: vllm
        resources: {cpuRequest: "4", memoryRequest: 16Gi, memoryLimit: 24Gi}
      concurrency: {slots: 8, maxConcurrentRequests: 128}
      tokens: {maxInput: 6144, maxTotal: 8192}
      replicas: 1
"""


def test_unknown_holds_back_production_alone(
    run: Callable[..., Any], onprem: dict[str, Any], overlay: Callable[..., dict[str, str]]
) -> None:
    with pytest.raises(FindingsError, match=f"1 finding is open\n  berth:models.smollm2 {PRICE} is unknown"):
        run(text(onprem), given(overlay), "onprem")
    done = run(text(onprem), given(overlay), "onprem", preview=True)
    (said,) = done.of("stacks:Environment")
    assert "cost" not in said
    assert any(PRICE in one for one in said["findings"])
    done = run(text(onprem, environment="development"), given(overlay), "onprem")
    assert any(PRICE in one for one in done.outputs["findings"])


def test_an_override_lets_it_through_and_shows(
    run: Callable[..., Any],
    onprem: dict[str, Any],
    overlay: Callable[..., dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr("pulumi.log.warn", lambda text, **_: said.append(text))
    done = run(text(onprem, overrides=[override()]), given(overlay), "onprem")
    line = (
        f"berth:models.smollm2 {PRICE} is unknown, and gone over until 2999-12-31: the invoice is under way"
    )
    assert done.outputs["findings"] == [line]
    assert said == [f"open finding: {line}"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ([override(expires="2026-11-27")], ["overrides[0].expires is 2026-11-27, which is over", "yaml:"]),
        ([override("onprem/smollm2 prise")], ["is 'onprem/smollm2 prise'", f"did you mean '{PRICE}'?"]),
        ([override("onprem/smollm2 memory")], [f"open: {PRICE}"]),
        ([override(), override()], ["overrides[1].finding", "again; allowed: each finding once"]),
        ([override(expires="soon")], ["overrides[0].expires", "a day as year-month-day"]),
        ([{**override(), "expires": None}], ["overrides[0].expires"]),
        ([{**override(), "reason": " "}], ["overrides[0].reason", "not empty"]),
        ([{"finding": PRICE}], ["overrides[0].reason is missing", "overrides[0].expires is missing"]),
    ],
)
def test_a_wrong_override_is_an_error(
    run: Callable[..., Any],
    onprem: dict[str, Any],
    overlay: Callable[..., dict[str, str]],
    overrides: list[Any],
    words: list[str],
) -> None:
    with pytest.raises(SettingsError) as caught:
        run(text(onprem, overrides=overrides), given(overlay), "onprem", preview=True)
    for word in words:
        assert word in str(caught.value)


def test_it_holds_on_its_last_day(
    load: Callable[..., Any], folder: Path, onprem: dict[str, Any], overlay: Callable[..., dict[str, str]]
) -> None:
    loaded = load(text(onprem, overrides=[override(expires="2026-11-28")]), given(overlay), "onprem")
    assert len(gate(loaded, folder, TODAY).findings) == 1
    with pytest.raises(SettingsError, match="which is over"):
        gate(loaded, folder, date(2026, 11, 29))


def test_a_load_needs_a_measurement_and_replicas(
    load: Callable[..., Any], folder: Path, onprem: dict[str, Any], overlay: Callable[..., dict[str, str]]
) -> None:
    """400 tokens/s of 50 each are 8 requests/s; 80 % of that is 6.4, and 5.1 to 7.7 with the error bar."""

    def findings(requests: float) -> list[str]:
        loaded = load(text(load_of(onprem, requests)), given(overlay), "onprem")
        return [str(one) for one in gate(loaded, folder, TODAY).findings if PRICE not in str(one)]

    (said,) = findings(30)
    assert f"{REPLICAS} is unknown: no measurement of smollm2-135m-instruct-q4_1" in said
    assert "./berth calibrate" in said
    measured(folder, 400)
    assert findings(30) == []  # 5, 4 to 6, of 6
    (said,) = findings(35)  # 6, 5 to 7
    assert f"{REPLICAS} is unknown: 6 (5 to 7) are needed" in said
    with pytest.raises(
        PlanError, match=f"{REPLICAS} is failed: 10 \\(8 to 12\\) are needed; wanted: at most 6"
    ):
        findings(60)
    watched: dict[str, Any] = {"mode": "bundled"}
    onprem["config"]["berth:monitoring"] = watched
    watched["objectives"] = {"smollm2": {"firstTokenP95Seconds": 0.5}}
    (said,) = findings(30)
    assert "onprem/smollm2 first token is unknown: 0.50 s (0.40 to 0.60); wanted: 95 % within 0.5 s" in said
    watched["objectives"] = {"smollm2": {"firstTokenP95Seconds": 0.25}}
    with pytest.raises(PlanError, match="first token is failed"):
        findings(30)


def test_a_broken_file_of_the_planner_is_one_sentence(
    run: Callable[..., Any], folder: Path, onprem: dict[str, Any], overlay: Callable[..., dict[str, str]]
) -> None:
    (folder / "prices.yaml").write_text("prices: 1")
    with pytest.raises(pulumi.RunError, match=r"stack 'onprem' cannot be planned: .*prices\.yaml: must be"):
        run(text(onprem), given(overlay), "onprem", preview=True)


def test_what_is_known_of_the_cost_is_told(
    run: Callable[..., Any], folder: Path, onprem: dict[str, Any], overlay: Callable[..., dict[str, str]]
) -> None:
    """5 replicas at 0.5 USD/h give 30 requests/s of 50 tokens: 2.5 / (1500 * 3600) * 1e6."""
    day = date.today().isoformat()  # noqa: DTZ011 - the program's own day decides
    entry = {"ground": "own", "region": "onprem", "machine": "replica", "capacity": "on-demand"}
    price = {**entry, "usd_per_hour": 0.5, "source": "a fixture", "date": day}
    (folder / "prices.yaml").write_text(json.dumps({"prices": [price]}))
    measured(folder, 400)
    done = run(text(load_of(onprem, 30)), given(overlay), "onprem")
    (said,) = done.of("stacks:Environment")
    assert said["findings"] == []
    assert said["cost"] == {
        "usdPerHourFewest": 1,
        "usdPerHourPlanned": 2.5,
        "usdPerHourMost": 3,
        "usdPerMillionTokens": pytest.approx(0.462963),
    }
