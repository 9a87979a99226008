"""Every promised metric is there under its exact name, and moves."""

from __future__ import annotations

import asyncio
import json
import math
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth_serving.admission import Admission
from berth_serving.contracts.fields import Fields
from berth_serving.errors import Overloaded, ValidationError
from berth_serving.feedback import CATEGORIES, EVENTS, Feedback
from berth_serving.metric_table import ABSENT, BY_NAME, GROUPS, TABLE
from berth_serving.metrics import OTHER, OUTCOMES, Capped, GatewayMetrics, perplexity
from berth_serving.settings import GatewaySettings
from berth_serving.system_metrics import SystemCollector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LESSON = (
    "llm_request_count_total",
    "llm_request_latency_seconds_count",
    "llm_temperature",
    "llm_token_throughput_count",
    "llm_gpu_memory_used_bytes",
    "llm_active_requests",
    "llm_token_count_count",
)
TGI = (
    "tgi_request_count",
    "tgi_request_success",
    'tgi_request_failure{err="validation"}',
    "tgi_request_duration_count",
    "tgi_request_validation_duration_count",
    "tgi_request_queue_duration_count",
    "tgi_request_inference_duration_count",
    "tgi_request_mean_time_per_token_duration_count",
    "tgi_request_generated_tokens_count",
    "tgi_request_input_length_count",
    "tgi_request_max_new_tokens_count",
    "tgi_queue_size",
    "tgi_batch_current_size",
)
OURS = (
    "berth_queue_depth",
    "berth_running_requests",
    "berth_engine_slots",
    "berth_engine_ready",
    "berth_engine_loading",
    "berth_draining",
    "berth_max_concurrent_requests",
    "berth_drain_limit_seconds",
    "berth_inter_token_latency_seconds_count",
    "berth_prompt_tokens_total",
    "berth_generated_tokens_total",
    "berth_engine_losses_total",
    "berth_engine_wedged",
    "berth_queue_wait_seconds_count",
    'tgi_request_failure{err="overloaded"}',
    'tgi_request_failure{err="not_ready"}',
    'tgi_request_failure{err="generation"}',
    'tgi_request_failure{err="drained"}',
    'tgi_request_failure{err="internal"}',
)


def test_names_are_there_and_move(server: Any) -> None:
    before = server.metrics()
    body = {"inputs": "Hello", "parameters": {"max_new_tokens": 5, "temperature": 0.5}}
    assert server.post("/generate", body).status_code == 200
    assert server.post("/generate_stream", body).status_code == 200
    assert server.post("/generate", {"inputs": ""}).status_code == 422
    after = server.metrics()
    assert [name for name in (*LESSON, *TGI, *OURS) if name not in after] == []

    def moved(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert moved("llm_request_count_total") == moved("tgi_request_count") == 3
    assert moved("tgi_request_success") == moved("llm_request_latency_seconds_count") == 2
    assert moved('tgi_request_failure{err="validation"}') == 1
    assert moved("berth_generated_tokens_total") == moved("llm_token_count_sum") == 10
    assert moved("berth_prompt_tokens_total") == 2
    assert moved("berth_inter_token_latency_seconds_count") == 8
    assert moved("berth_queue_wait_seconds_count") == 2
    assert moved('berth_time_to_first_token_seconds_count{route="/generate"}') == 1
    assert moved('berth_requests_total{outcome="validation",route="/generate"}') == 1
    for histogram in ("duration", "queue_duration", "inference_duration", "generated_tokens", "input_length"):
        assert moved(f"tgi_request_{histogram}_count") == 2
    assert after["llm_temperature"] == 0.5
    assert after["llm_active_requests"] == 0
    assert after["berth_engine_ready"] == 1
    assert after["berth_engine_loading"] == 0


def test_tgi_counters_are_declared_as_counters(server: Any) -> None:
    text = httpx.get(f"http://127.0.0.1:{server.metrics_port}/metrics").text
    for name in ("tgi_request_count", "tgi_request_success", "tgi_request_failure"):
        assert f"# TYPE {name} counter\n" in text
    assert "# TYPE llm_request_count_total counter\n" in text
    assert "_created" not in text


def test_the_engines_own_metrics_are_passed_on(engine: Any, server: Any) -> None:
    server.post("/generate", {"inputs": "Hello", "parameters": {"max_new_tokens": 2}})
    url = f"http://127.0.0.1:{server.metrics_port}/engine/metrics"
    answer = httpx.get(url, timeout=30)
    own = httpx.get(engine.url + "/metrics", timeout=30).text
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    names = {line.split(" ")[2] for line in answer.text.splitlines() if line.startswith("# TYPE")}
    assert names == {line.split(" ")[2] for line in own.splitlines() if line.startswith("# TYPE")}
    assert names
    assert httpx.post(url).status_code == 405


def test_an_engine_that_is_gone_has_no_metrics(
    make_gateway: Callable[..., Any], until: Callable[..., Any]
) -> None:
    gateway = make_gateway("http://127.0.0.1:9")

    def listens() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{gateway.metrics_port}/load", timeout=10).is_success
        except httpx.TransportError:
            return False

    until(listens, "the gateway listens")
    answer = httpx.get(f"http://127.0.0.1:{gateway.metrics_port}/engine/metrics", timeout=30)
    assert (answer.status_code, answer.text) == (502, "the engine does not answer\n")


def test_every_metric_is_explained_once_and_labels_are_bounded(server: Any) -> None:
    for path in ("/nonsense-1", "/nonsense-2", "/v1/nonsense"):
        server.get(path)
    text = httpx.get(f"http://127.0.0.1:{server.metrics_port}/metrics").text
    names = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names))
    helps = {
        line.split(" ")[2]: line.split(" ", 3)[3] for line in text.splitlines() if line.startswith("# HELP")
    }
    assert set(helps) == set(names)
    assert all(len(said) > 10 for said in helps.values())
    assert "nonsense" not in text


async def test_depth_and_running_agree_between_load_and_metrics(stand_in: Any, before_stand_in: Any) -> None:
    gateway = await before_stand_in(BERTH_ENGINE_SLOTS="1")
    async with gateway.session() as session:
        tasks = [asyncio.create_task(_ask(session)) for _ in range(3)]
        await gateway.until_load(berth_running_requests=1, berth_queue_depth=2, slots=1, draining=False)
        metrics = await asyncio.to_thread(gateway.metrics)
        assert metrics["berth_running_requests"] == metrics["tgi_batch_current_size"] == 1
        assert metrics["berth_queue_depth"] == metrics["tgi_queue_size"] == 2
        assert metrics["llm_active_requests"] == 3
        stand_in.free_running = True
        stand_in.begun[0].released.release()
        for _ in range(200):
            stand_in.begun[0].released.release()
        assert list(await asyncio.gather(*tasks)) == [200] * 3


async def _ask(session: Any) -> int:
    async with session.post(
        "/generate", json={"inputs": "x", "parameters": {"max_new_tokens": 3}}
    ) as response:
        return int(response.status)


# -- the table -------------------------------------------------------------------------------------------


def everything_on(folder: Path) -> GatewaySettings:
    filters = folder / "filters.json"
    filters.write_text('{"filters": []}')
    return GatewaySettings.from_environment(
        {
            "BERTH_COST_PER_HOUR": "3.6",
            "BERTH_FILTERS_FILE": str(filters),
            "BERTH_VARIANT": "arm-b",
            "OTLP_ENDPOINT": "http://127.0.0.1:4318",
        }
    )


def declared(text: str) -> dict[str, tuple[str, str]]:
    """Name → kind and help, of every family in the exposition."""
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, flags=re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.*)$", text, flags=re.MULTILINE))
    return {name: (kind, helps[name]) for name, kind in kinds.items()}


def test_the_table_and_what_is_exported_are_the_same(tmp_path: Path) -> None:
    metrics = GatewayMetrics(everything_on(tmp_path), Admission(4, 16))
    metrics.export("berth_spans_dropped_total", lambda: 0)
    metrics.export("berth_certificate_expires_timestamp_seconds", lambda: 0)
    found = declared(metrics.render().decode())
    assert [name for name in found if name not in BY_NAME] == []
    for name, (kind, said) in found.items():
        assert kind == BY_NAME[name].kind, name
        assert said == BY_NAME[name].text or name.startswith("process_"), name
    absent = {name for name in BY_NAME if name not in found}
    # What needs a GPU, or a cgroup of version 2 where this machine has the first.
    assert {name for name in absent if not BY_NAME[name].when} == set()
    assert all(BY_NAME[name].group == "system" for name in absent)


def test_every_row_says_what_a_reader_needs() -> None:
    assert {row.group for row in TABLE} == set(GROUPS), "the lesson's five"
    assert len(BY_NAME) == len(TABLE)
    for row in TABLE:
        assert row.unit
        assert len(row.text) > 10
        assert row.kind != "counter" or row.name.endswith("_total") or row.name.startswith("tgi_"), row.name
    assert "attention patterns" in ABSENT


def test_by_default_what_is_not_configured_is_not_there(server: Any) -> None:
    found = set(declared(httpx.get(f"http://127.0.0.1:{server.metrics_port}/metrics").text))
    unset = {"berth_cost_dollars_total", "berth_request_cost_dollars", "berth_filter_decisions_total"}
    assert not found & unset
    always = {row.name for row in TABLE if not row.when}
    assert always - found == set()


def test_open_telemetrys_names_move_with_their_labels(server: Any) -> None:
    labels = (
        'gen_ai_operation_name="chat",gen_ai_provider_name="llama.cpp",'
        'gen_ai_request_model="HuggingFaceTB/SmolLM2-135M-Instruct"'
    )
    before = server.metrics()
    chat = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "logprobs": True}
    assert server.post("/v1/chat/completions", chat).status_code == 200
    after = server.metrics()

    def moved(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert moved(f'gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type="output",variant=""}}') == 4
    assert moved(f'gen_ai_server_time_to_first_token_seconds_count{{{labels},variant=""}}') == 1
    assert moved(f'gen_ai_server_time_per_output_token_seconds_count{{{labels},variant=""}}') == 1
    assert moved(f'gen_ai_server_request_duration_seconds_count{{error_type="",{labels},variant=""}}') == 1
    assert moved("berth_perplexity_count") == 1
    assert 1 <= moved("berth_perplexity_sum") < 1000
    assert moved('berth_key_tokens_total{direction="output",key="tests"}') == 4
    assert moved('berth_key_requests_total{key="tests"}') == 1


def test_perplexity_is_of_the_mean() -> None:
    assert perplexity(-3 * math.log(5), 3) == pytest.approx(5)
    assert perplexity(-1e9, 1) == math.inf


async def test_costs_are_a_slots_share_and_the_servers_time(stand_in: Any, before_stand_in: Any) -> None:
    stand_in.free_running = True
    gateway = await before_stand_in(BERTH_COST_PER_HOUR="3600", BERTH_VARIANT="arm-b")
    async with gateway.session() as session:
        assert await _ask(session) == 200
        async with session.get("/info") as response:
            assert response.headers["x-berth-variant"] == "arm-b"
    metrics = await asyncio.to_thread(gateway.metrics)
    # A dollar per second for two slots.
    inference = metrics["tgi_request_inference_duration_sum"]
    assert metrics['berth_request_cost_dollars_sum{variant="arm-b"}'] == pytest.approx(inference / 2)
    assert metrics["berth_cost_dollars_total"] > 0


# -- labels stay few ---------------------------------------------------------------------------------------


def test_labels_from_outside_are_capped() -> None:
    capped = Capped(3)
    assert [capped(f"k{n}") for n in range(5)] == ["k0", "k1", "k2", OTHER, OTHER]
    assert capped("k1") == "k1"


async def test_hostile_keys_variants_and_paths_add_few_series(stand_in: Any, before_stand_in: Any) -> None:
    stand_in.free_running = True
    gateway = await before_stand_in(BERTH_VARIANT="arm-b")
    for number in range(150):
        (gateway.keys / f"key-{number}").write_text(f"secret-{number}")
    async with gateway.session() as session:
        last = {"Authorization": "Bearer secret-149"}
        async with asyncio.timeout(30):
            while (await session.get("/info", headers=last)).status != 200:  # noqa: ASYNC110 - another process
                await asyncio.sleep(0.05)
        body = {"inputs": "x", "parameters": {"max_new_tokens": 1}}
        for number in range(150):
            headers = {"Authorization": f"Bearer secret-{number}", "x-request-id": f"r-{number}"}
            async with session.post("/generate", json=body, headers=headers) as response:
                assert response.status == 200
            event = {"request_id": f"r-{number}", "event": "liked", "variant": f'evil-{number}"}} 1'}
            async with session.post("/feedback", json=event) as response:
                assert response.status == 202
            await session.get(f"/evil-{number}")
            await session.request(f"EVIL{number}", "/generate")
    metrics = await asyncio.to_thread(gateway.metrics)
    keys = [name for name in metrics if name.startswith("berth_key_requests_total{")]
    assert len(keys) == 101
    assert metrics['berth_key_requests_total{key="other"}'] == 50
    assert metrics['berth_feedback_total{event="liked",variant="other"}'] == 150
    assert not [name for name in metrics if "evil" in name.lower()]


# -- feedback ----------------------------------------------------------------------------------------------


def test_feedback_counts_engagement_conversion_and_reports(server: Any) -> None:
    before = server.metrics()

    def send(**body: Any) -> int:
        return int(server.post("/feedback", {"request_id": "feedback-1", **body}).status_code)

    for event in ("liked", "disliked", "copied", "regenerated"):
        assert send(event=event) == 202
    assert send(event="liked") == 202
    assert send(event="converted", value=12.5) == 202
    assert send(event="reported", category="harmful") == 202
    after = server.metrics()

    def moved(name: str) -> float:
        return after[name] - before.get(name, 0)

    assert moved('berth_feedback_total{event="liked",variant=""}') == 1, "the same event counts once"
    assert moved('berth_feedback_total{event="converted",variant=""}') == 1
    assert moved('berth_conversion_value_total{variant=""}') == 12.5
    assert moved('berth_user_reports_total{category="harmful",variant=""}') == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event": "liked"}, "request_id"),
        ({"request_id": "a b", "event": "liked"}, "request_id"),
        ({"request_id": "r\r\nx: y", "event": "liked"}, "request_id"),
        ({"request_id": "r" * 129, "event": "liked"}, "request_id"),
        ({"request_id": "r", "event": "loved"}, "event"),
        ({"request_id": "r", "event": "reported"}, "category"),
        ({"request_id": "r", "event": "reported", "category": "evil"}, "category"),
        ({"request_id": "r", "event": "liked", "category": "other"}, "category"),
        ({"request_id": "r", "event": "liked", "value": 1}, "value"),
        ({"request_id": "r", "event": "converted", "value": -1}, "value"),
        ({"request_id": "r", "event": "liked", "comment": "my text"}, "comment"),
    ],
)
def test_feedback_that_makes_no_sense_is_refused(server: Any, body: dict[str, Any], field: str) -> None:
    answer = server.post("/feedback", body)
    assert answer.status_code == 422
    assert field in answer.json()["error"]


def test_feedback_is_small_and_needs_a_key(server: Any) -> None:
    huge = {"request_id": "r", "event": "liked", "variant": "x" * 5000}
    assert server.post("/feedback", huge).status_code == 413
    assert httpx.post(server.url + "/feedback", json={}).status_code == 401


def test_a_flood_of_feedback_is_refused_and_forgotten(tmp_path: Path) -> None:
    now = [0.0]
    metrics = GatewayMetrics(everything_on(tmp_path), Admission(4, 16))
    feedback = Feedback(metrics, "arm-b", clock=lambda: now[0])
    for number in range(200):
        feedback.take(Fields({"request_id": f"r{number}", "event": "liked"}))
    with pytest.raises(Overloaded):
        feedback.take(Fields({"request_id": "r-more", "event": "liked"}))
    for number in range(60_000):
        now[0] += 0.01
        assert feedback.take(Fields({"request_id": f"s{number}", "event": "liked"}))
    assert len(feedback._seen) == 50_000
    assert feedback.take(Fields({"request_id": "s59999", "event": "liked"})) is False
    with pytest.raises(ValidationError):
        feedback.take(Fields({"request_id": "x", "event": "x" * 10_000}))
    assert {"converted", "reported"} < set(EVENTS)
    assert "other" in CATEGORIES
    assert "content_filter" in OUTCOMES


# -- the system --------------------------------------------------------------------------------------------


def collected(collector: SystemCollector) -> dict[str, float]:
    return {
        sample.name + (json.dumps(sample.labels, sort_keys=True) if sample.labels else ""): sample.value
        for family in collector.collect()
        for sample in family.samples
    }


def source(name: str, reason: str) -> str:
    return f'berth_metric_source_available{{"reason": "{reason}", "source": "{name}"}}'


def test_system_metrics_come_from_proc_and_the_cgroup(tmp_path: Path) -> None:
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "pressure").mkdir(parents=True)
    cgroup.mkdir()
    (proc / "stat").write_text("cpu  100 0 200 300 400 0 0 0 0 0\ncpu0 1 1 1 1\n")
    (proc / "meminfo").write_text("MemTotal: 2000 kB\nMemFree: 1 kB\nMemAvailable: 500 kB\n")
    for name in ("cpu", "io", "memory"):
        (proc / "pressure" / name).write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=2500000\n")
    (cgroup / "cpu.stat").write_text("usage_usec 3000000\nthrottled_usec 500000\n")
    (cgroup / "memory.current").write_text("1000\n")
    (cgroup / "memory.max").write_text("max\n")
    found = collected(SystemCollector(proc, cgroup, no_gpu()))
    assert found['berth_node_cpu_seconds_total{"mode": "iowait"}'] == 4
    assert found['berth_node_memory_bytes{"state": "available"}'] == 500 * 1024
    assert found['berth_node_pressure_seconds_total{"resource": "io"}'] == 2.5
    assert found["berth_container_cpu_seconds_total"] == 3
    assert found["berth_container_cpu_throttled_seconds_total"] == 0.5
    assert found['berth_container_memory_bytes{"state": "used"}'] == 1000
    assert 'berth_container_memory_bytes{"state": "limit"}' not in found
    assert found[source("nvml", "no NVIDIA driver here")] == 0
    assert math.isnan(found["llm_gpu_memory_used_bytes"])


def test_what_is_absent_is_named_and_not_zero(tmp_path: Path) -> None:
    found = collected(SystemCollector(tmp_path, tmp_path, no_gpu()))
    assert [name for name in found if not name.startswith("berth_metric_source")] == [
        "llm_gpu_memory_used_bytes"
    ]
    for name in ("procfs", "pressure", "cgroup"):
        assert found[source(name, "not there, or not readable")] == 0


class NVMLError(Exception):
    pass


def raising(*_: object) -> Any:
    raise NVMLError


def no_gpu() -> Any:
    return SimpleNamespace(NVMLError=NVMLError, nvmlInit=raising)


def test_gpus_are_read_by_nvml(tmp_path: Path) -> None:
    nvml = SimpleNamespace(
        NVMLError=NVMLError,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda index: SimpleNamespace(used=10 * (index + 1), total=100),
        nvmlDeviceGetUtilizationRates=lambda _: SimpleNamespace(gpu=50),
        nvmlDeviceGetPowerUsage=raising,
        nvmlDeviceGetTemperature=lambda _, kind: 60 + kind,
    )
    found = collected(SystemCollector(tmp_path, tmp_path, nvml))
    assert found['berth_gpu_memory_used_bytes{"gpu": "1"}'] == 20
    assert found['berth_gpu_utilisation_ratio{"gpu": "0"}'] == 0.5
    assert found['berth_gpu_temperature_celsius{"gpu": "0"}'] == 60
    assert found["llm_gpu_memory_used_bytes"] == 30
    assert not [name for name in found if "power" in name], "a card that cannot tell shows no zero"
    assert found[source("nvml", "")] == 1
