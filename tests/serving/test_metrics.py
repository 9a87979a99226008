"""Every promised metric is there under its exact name, and moves."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx

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
    "berth_draining",
    "berth_max_concurrent_requests",
    "berth_inter_token_latency_seconds_count",
    "berth_prompt_tokens_total",
    "berth_generated_tokens_total",
    "berth_engine_losses_total",
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
    assert moved('berth_time_to_first_token_seconds_count{route="/generate"}') == 1
    assert moved('berth_requests_total{outcome="validation",route="/generate"}') == 1
    for histogram in ("duration", "queue_duration", "inference_duration", "generated_tokens", "input_length"):
        assert moved(f"tgi_request_{histogram}_count") == 2
    assert after["llm_temperature"] == 0.5
    assert after["llm_active_requests"] == 0
    assert after["berth_engine_ready"] == 1


def test_tgi_counters_are_declared_as_counters(server: Any) -> None:
    text = httpx.get(f"http://127.0.0.1:{server.metrics_port}/metrics").text
    for name in ("tgi_request_count", "tgi_request_success", "tgi_request_failure"):
        assert f"# TYPE {name} counter\n" in text
    assert "# TYPE llm_request_count_total counter\n" in text
    assert "_created" not in text


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
