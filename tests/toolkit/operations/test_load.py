"""A load on a real socket: everything is counted, nothing waits for slow answers, and the report says so."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest
from berth.operations.errors import EndpointRefused, EndpointUnreachable, KubeconfigError, LoadSettingsError
from berth.operations.load import (
    LoadSettings,
    Progress,
    ScalingTarget,
    packaged_prompts,
    read_prompts,
    render,
    run,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("route", ["/generate_stream", "/generate", "/v1/chat/completions"])
async def test_every_route_is_counted_whole(server: Any, key: str, route: str) -> None:
    server.gap = 0.005
    settings = LoadSettings(
        endpoint=server.url, key=key, route=route, rate=40, arrivals="constant", duration_seconds=1
    )
    report = await run(settings)
    found = report.to_json()
    assert found["requests"]["sent"] == found["requests"]["ok"] == len(server.seen) == 40
    assert found["requests"]["by_status"] == {"200": 40}
    assert found["tokens"]["generated"] == 160
    assert found["latency_seconds"]["count"] == 40
    streamed = 0 if route == "/generate" else 40
    assert found["time_to_first_token_seconds"]["count"] == streamed
    assert found["between_tokens_seconds"]["count"] == streamed * 3
    assert found["latency_seconds"]["p50"] >= 0.02


async def test_who_answered_behind_a_router_is_counted(server: Any, key: str) -> None:
    server.backend = "home"
    report = await run(LoadSettings(endpoint=server.url, key=key, rate=50, duration_seconds=0.4, seed=1))
    found = report.to_json()["requests"]
    assert found["by_backend"] == {"home": found["sent"]}
    assert f"Answers    from home: {found['sent']} (100%)" in render(report)


@pytest.mark.parametrize(
    "mode",
    [
        "status 500",
        "disconnected",
        "incomplete stream",
        "stream error: generation",
        "an event is not JSON",
    ],
)
async def test_failures_are_counted_by_kind(server: Any, key: str, mode: str) -> None:
    server.mode = mode
    report = await run(LoadSettings(endpoint=server.url, key=key, rate=50, duration_seconds=0.4, seed=1))
    requests = report.to_json()["requests"]
    assert requests["sent"] > 5
    assert requests["ok"] == 0
    assert requests["errors"] == {mode: requests["sent"]}
    assert f"{mode}: {requests['sent']}" in render(report)
    assert "there are no latencies" in render(report)


async def test_a_timeout_is_counted(server: Any, key: str) -> None:
    server.mode = "hang"
    settings = LoadSettings(endpoint=server.url, key=key, rate=20, duration_seconds=0.5, request_seconds=0.3)
    assert (await run(settings)).to_json()["requests"]["errors"].keys() == {"timeout"}


async def test_a_slow_server_does_not_slow_arrivals_and_latency_counts_from_the_schedule(
    server: Any, key: str
) -> None:
    server.mode = "hang"  # for as long as arrivals last
    settings = LoadSettings(
        endpoint=server.url, key=key, rate=50, arrivals="constant", duration_seconds=1, max_outstanding=1000
    )
    loading = asyncio.create_task(run(settings))
    await server.seen_at_least(50)
    server.release.set()
    found = (await loading).to_json()
    assert found["requests"]["sent"] == found["requests"]["ok"] == 50
    # The first began a whole second before anything was answered, the last just then.
    assert found["latency_seconds"]["max"] >= 0.9
    assert found["latency_seconds"]["p50"] >= 0.4


async def test_what_exceeds_the_limit_is_counted_as_not_sent(server: Any, key: str) -> None:
    server.mode = "hang"
    settings = LoadSettings(
        endpoint=server.url,
        key=key,
        rate=40,
        arrivals="constant",
        duration_seconds=1,
        max_outstanding=5,
        request_seconds=1.5,
    )
    report = await run(settings)
    requests = report.to_json()["requests"]
    assert (requests["scheduled"], requests["sent"], requests["unsent"]) == (40, 5, 35)
    assert len(server.seen) == 5
    assert "Not sent   35: 5 were waiting" in render(report)


async def test_refusals_of_an_overloaded_server_are_kept_apart(server: Any, key: str) -> None:
    server.slots, server.gap = 2, 0.05
    report = await run(LoadSettings(endpoint=server.url, key=key, rate=60, duration_seconds=1))
    found = report.to_json()
    assert found["requests"]["by_status"].keys() == {"200", "429"}
    assert found["refused_latency_seconds"]["count"] == found["requests"]["errors"]["status 429"]
    assert found["latency_seconds"]["count"] == found["requests"]["ok"]


async def test_the_same_seed_sends_the_same_load(server: Any, key: str) -> None:
    settings = LoadSettings(endpoint=server.url, key=key, rate=60, duration_seconds=0.5, seed=5)
    await run(settings)
    first = [body["inputs"] for _, body in server.seen]
    server.seen.clear()
    await run(settings)
    assert [body["inputs"] for _, body in server.seen] == first
    server.seen.clear()
    await run(dataclasses.replace(settings, seed=6))
    assert [body["inputs"] for _, body in server.seen] != first


async def test_a_rate_over_capacity_is_found_by_measuring(server: Any, key: str) -> None:
    """4 tokens, 10 ms each, for any number of clients: capacity grows with the clients until 429s begin."""
    server.gap, server.slots = 0.01, 4
    told: list[Progress] = []
    settings = LoadSettings(endpoint=server.url, key=key, rate=None, overload=3, duration_seconds=0.5)
    report = await run(settings, told.append)
    assert report.capacity is not None
    assert report.rate == pytest.approx(report.capacity.requests_per_second * 3)
    assert [level.clients for level in report.capacity.levels][:2] == [1, 2]
    assert report.capacity.levels[-1].refused or len(report.capacity.levels) < 6
    phases = [phase for phase, _ in itertools.groupby(progress.phase for progress in told)]
    assert phases == ["measuring", "loading", "finishing"]
    assert "3 times the" in render(report)


async def test_nothing_is_loaded_where_the_key_is_wrong_or_nobody_answers(server: Any, key: str) -> None:
    with pytest.raises(EndpointRefused, match="401"):
        await run(LoadSettings(endpoint=server.url, key="wrong", rate=1))
    assert not server.seen
    server.refusals = 10_000
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("berth.operations.load.runner.FIRST_ANSWER_SECONDS", 0.3)
        with pytest.raises(EndpointUnreachable):
            await run(LoadSettings(endpoint=server.url, key=key, rate=1))


async def test_nothing_is_loaded_where_the_target_cannot_be_watched(
    server: Any, key: str, tmp_path: Path
) -> None:
    target = ScalingTarget(
        kubeconfig=str(tmp_path / "missing"), namespace="n", deployment="d", selector={"a": "b"}
    )
    with pytest.raises(KubeconfigError, match="missing"):
        await run(LoadSettings(endpoint=server.url, key=key, rate=1, target=target))
    assert not server.seen


async def test_cancelled_it_stops_at_once(server: Any, key: str) -> None:
    server.mode = "hang"
    loading = asyncio.create_task(
        run(LoadSettings(endpoint=server.url, key=key, rate=50, duration_seconds=60))
    )
    await server.seen_at_least(5)
    before = asyncio.all_tasks()
    loading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await loading
    await asyncio.sleep(0)
    ours = [task for task in before & asyncio.all_tasks() if "send" in repr(task.get_coro())]
    assert not ours


async def test_the_key_is_nowhere_in_what_is_shown(server: Any, key: str) -> None:
    settings = LoadSettings(endpoint=server.url, key=key, rate=30, duration_seconds=0.3)
    report = await run(settings)
    assert key not in repr(settings)
    assert key not in json.dumps(report.to_json())
    assert key not in render(report)
    assert not any(prompt in json.dumps(report.to_json()) for prompt in packaged_prompts())


async def test_the_text_fits_80_columns(server: Any, key: str) -> None:
    server.slots, server.gap = 1, 0.02
    report = await run(
        LoadSettings(endpoint=server.url, key=key, rate=50, duration_seconds=0.5, max_outstanding=2)
    )
    text = render(report)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "p99" in text


def test_the_packaged_prompts_vary_in_length() -> None:
    prompts = packaged_prompts()
    lengths = sorted(len(prompt.split()) for prompt in prompts)
    assert len(set(prompts)) == len(prompts) >= 30
    assert lengths[0] < 8
    assert lengths[-1] > 100


def test_prompts_of_the_users(tmp_path: Path) -> None:
    lines, listed = tmp_path / "p.txt", tmp_path / "p.json"
    lines.write_text("one\n\n  two  \n")
    listed.write_text('["one", "two\\nlines"]')
    assert read_prompts(lines) == ("one", "two")
    assert read_prompts(listed) == ("one", "two\nlines")
    for text, said in (("", "no prompt"), ("[1]", "strings only"), ("[", "no JSON list")):
        lines.write_text(text)
        with pytest.raises(LoadSettingsError, match=said):
            read_prompts(lines)
    with pytest.raises(LoadSettingsError, match="cannot be read"):
        read_prompts(tmp_path / "none")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"endpoint": "localhost:80"}, "endpoint is 'localhost:80'"),
        ({"route": "/chat"}, "route is '/chat'; allowed are /generate_stream"),
        ({"arrivals": "bursty"}, "allowed are poisson, constant"),
        ({"rate": 0.0}, r"rate is 0; it must be 0\.001 to 10000"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"duration_seconds": -1.0}, "duration_seconds is -1"),
        ({"max_outstanding": 0}, "max_outstanding is 0"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(LoadSettingsError, match=said):
        LoadSettings(**{"endpoint": "http://127.0.0.1:1", "rate": 1.0, **wrong})
