"""A calibration: exact on an engine of known service times, honest on a real socket, whole or not written."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import pytest
import yaml
from berth.cli.app import cli
from berth.operations import calibrate as calibration
from berth.operations.calibrate import CalibrationSettings, calibrate, lengthened, measure, replicas_of
from berth.operations.errors import CalibrationError, ClusterReadError, EndpointRefused, LoadSettingsError
from berth.operations.load import ScalingTarget
from berth.operations.load.outcomes import Outcome
from berth_planner.errors import PlannerError
from berth_planner.measurements import at_concurrency, read_measurement, read_measurements
from click.testing import CliRunner

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

TOKENS, PROMPT = 10, 50


class VirtualTime:
    """Seconds pass once everybody waits: how fast this machine is decides nothing."""

    def __init__(self) -> None:
        self._at = 0.0
        self._waiting: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = itertools.count()

    def now(self) -> float:
        return self._at

    async def sleep(self, seconds: float) -> None:
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (self._at + seconds, next(self._count), waiting))
        await waiting

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        async def drive() -> None:
            while True:
                for _ in range(50):
                    await asyncio.sleep(0)
                if self._waiting:
                    self._at, _, waiting = heapq.heappop(self._waiting)
                    waiting.set_result(None)

        driving = asyncio.create_task(drive())
        try:
            yield
        finally:
            driving.cancel()
            await asyncio.wait([driving])


class Engine:
    """Two slots; a request takes 0.2 s to its first of ten tokens and 0.1 s for each further one."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self._slots = asyncio.Semaphore(2)
        self.prompts: list[str] = []

    async def send(self, prompt: str, began: float, now: Callable[[], float]) -> Outcome:
        self.prompts.append(prompt)
        async with self._slots:
            await self._time.sleep(0.2)
            first = now() - began
            await self._time.sleep(0.1 * (TOKENS - 1))
        return Outcome(
            status=200, latency=now() - began, first_token=first, tokens=TOKENS, prompt_tokens=PROMPT
        )


async def test_an_engine_of_known_times_is_measured_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of 10 tokens takes 1.1 s: 9.09 a second in one slot, twice that in two, no more in four."""
    time = VirtualTime()
    engine = Engine(time)

    async def answers(*_: Any, **__: Any) -> None:
        pass

    monkeypatch.setattr(measure, "ask", answers)
    monkeypatch.setattr(measure, "Requester", lambda *_: engine)
    told: list[tuple[int, int]] = []
    settings = CalibrationSettings(endpoint="http://x", levels=(1, 2, 4), seconds=10.5, repeats=2)
    async with time.passing():
        found = await calibrate(settings, lambda one: told.append((one.level, one.repeat)), time.now)
    assert told == [(1, 1), (1, 2), (2, 1), (2, 2), (4, 1), (4, 2)]
    assert (found.input_tokens, found.output_tokens, found.refused) == (PROMPT, TOKENS, None)
    one, two, four = found.levels
    assert one.tokens_per_second == pytest.approx((TOKENS / 1.1,) * 3)
    assert one.requests_per_second == pytest.approx((1 / 1.1,) * 3)
    assert two.tokens_per_second == pytest.approx((2 * TOKENS / 1.1,) * 3)
    assert one.first_token_p50 == pytest.approx((0.2,) * 3)
    assert two.first_token_p95 == pytest.approx((0.2,) * 3)
    assert four.tokens_per_second == pytest.approx((2 * TOKENS / 1.1,) * 3, rel=0.11)
    assert four.first_token_p95 == pytest.approx((1.3,) * 3)
    assert one.requests == 2 * 10
    # No two prompts begin alike: a kept beginning would make the engine look faster than it is.
    assert len({prompt.partition(" ")[0] for prompt in engine.prompts}) == len(engine.prompts)


async def test_figures_are_of_one_replica(monkeypatch: pytest.MonkeyPatch) -> None:
    time = VirtualTime()

    async def answers(*_: Any, **__: Any) -> None:
        pass

    monkeypatch.setattr(measure, "ask", answers)
    monkeypatch.setattr(measure, "Requester", lambda *_: Engine(time))
    settings = CalibrationSettings(endpoint="http://x", levels=(1,), seconds=11, repeats=1, replicas=2)
    async with time.passing():
        (one,) = (await calibrate(settings, now=time.now)).levels
    assert one.tokens_per_second == pytest.approx((TOKENS / 1.1,) * 3)


def fast(server: Any, key: str, **more: Any) -> CalibrationSettings:
    return CalibrationSettings(
        endpoint=server.url, key=key, **{"levels": (1, 2), "repeats": 2, "seconds": 0.05, **more}
    )


async def test_prompts_are_made_of_the_length_that_is_asked(server: Any, key: str) -> None:
    found = await calibrate(fast(server, key, input_tokens=200))
    assert found.input_tokens == pytest.approx(200, rel=0.1)
    assert found.output_tokens == server.tokens
    assert all(level.requests >= level.concurrency * 2 * 3 for level in found.levels)
    server.template = 0
    with pytest.raises(CalibrationError, match="--prompts"):
        await calibrate(fast(server, key, input_tokens=200))


async def test_a_level_that_is_refused_is_the_end(server: Any, key: str) -> None:
    server.slots, server.gap = 2, 0.005
    found = await calibrate(fast(server, key, levels=(1, 2, 16)))
    assert [level.concurrency for level in found.levels] == [1, 2]
    assert found.refused == 16
    server.slots = 0
    with pytest.raises(CalibrationError, match="already with 1 at once"):
        await calibrate(fast(server, key))


@pytest.mark.parametrize("mode", ["status 500", "incomplete stream", "disconnected"])
async def test_failures_are_no_measurement(server: Any, key: str, mode: str) -> None:
    server.mode = mode
    with pytest.raises(CalibrationError, match=f"{mode}.*nothing was written|{mode}"):
        await calibrate(fast(server, key))


async def test_a_wrong_key_is_said(server: Any) -> None:
    with pytest.raises(EndpointRefused):
        await calibrate(fast(server, "wrong"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": ()},
        {"levels": (2, 1)},
        {"levels": (1, 1)},
        {"levels": (0,)},
        {"levels": (1, 2000)},
        {"repeats": 0},
        {"seconds": 0},
        {"output_tokens": 0},
        {"input_tokens": 0},
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(LoadSettingsError, match=name):
        CalibrationSettings(endpoint="http://x", **{"levels": (1,), **wrong})


def test_prompts_are_joined_and_cut() -> None:
    assert lengthened(["a b c", "d"], 5) == ("a b c d a", "d a b c d")
    assert lengthened(["a b c", "d"], 2) == ("a b", "d a")


WORDS = ["--model", "qwen2.5-7b-instruct", "--engine", "vllm", "--accelerator", "nvidia-l4"]
WORDS += ["--machine", "a fixture", "--engine-version", "0.1"]


def written(folder: Path) -> list[str]:
    return sorted(one.name for one in folder.iterdir())


async def run(words: list[str]) -> Any:
    return await asyncio.to_thread(CliRunner().invoke, cli, words, standalone_mode=False)


async def test_an_endpoint_is_written_as_the_planner_reads_it(server: Any, key: str, tmp_path: Path) -> None:
    keys, out = tmp_path / "key", tmp_path / "made" / "one.yaml"
    keys.write_text(key)
    words = ["calibrate", server.url, *WORDS, "--levels", "1,2", "--repeats", "2", "--seconds", "0.05"]
    done = await run([*words, "--key-file", str(keys), "--out", str(out), "--json"])
    assert done.exception is None, done.output
    found = read_measurement(out)
    assert json.loads(done.stdout)["file"] == str(out)
    assert (found.model, found.engine, found.version) == ("qwen2.5-7b-instruct", "vllm", "0.1")
    assert (found.accelerator, found.count, found.quantisation) == ("nvidia-l4", 1, "BF16")
    assert [point.concurrency for point in found.points] == [1, 2]
    assert found.output_tokens == server.tokens
    assert key not in out.read_text()
    assert written(out.parent) == ["one.yaml"]
    between = at_concurrency(found, 1.5)
    assert between
    low, high = (found.points[number].tokens_per_second.expected for number in (0, 1))
    assert between.tokens_per_second.expected == pytest.approx((low + high) / 2)
    assert at_concurrency(found, 3) is None
    assert at_concurrency(found, 0.5) is None
    again = await run([*words, "--key-file", str(keys), "--out", str(out)])
    assert again.exception is None
    assert max(map(len, again.stdout.splitlines()[:-1])) <= 80  # the last one is a path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([*WORDS[2:]], "--model is missing"),
        ([*WORDS[:4], *WORDS[6:]], "--accelerator is missing"),
        ([*WORDS, "--levels", "4,2"], "they must rise"),
        (["--model", "no-such", *WORDS[2:]], "'no-such'"),
        ([*WORDS[:2], "--engine", "no-such", *WORDS[4:]], "'no-such'"),
    ],
)
async def test_wrong_words_are_named(words: list[str], said: str, tmp_path: Path) -> None:
    out = tmp_path / "one.yaml"
    done = await run(["calibrate", "http://127.0.0.1:9", *words, "--out", str(out)])
    assert said in str(done.exception)
    assert not out.exists()


async def test_interrupted_nothing_is_written(server: Any, key: str, tmp_path: Path) -> None:
    server.mode = "hang"
    keys, out = tmp_path / "key", tmp_path / "one.yaml"
    keys.write_text(key)
    words = ["calibrate", server.url, *WORDS, "--key-file", str(keys), "--out", str(out)]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "berth.cli", *words, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    await server.seen_at_least(1)
    process.send_signal(signal.SIGINT)
    _, said = await process.communicate()
    assert process.returncode == 130, said
    assert b"Traceback" not in said
    assert written(tmp_path) == ["key"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("concurrency: 2", "concurrency: 1", "points: must be by rising concurrency"),
        ("repeats: 3", "repeats: 0", "points[0].repeats: must be a whole number from 1, got 0"),
        ("date: '2026-11-28'", "date: today", "date: must be a day"),
        ("model:", "modell:", "model is missing"),
        ("[1.0, 2.0, 3.0]", "[3.0, 2.0, 1.0]", "low, expected and high, rising"),
        ("source:", "more: 1\nsource:", "unknown keys: more"),
        ("points:", "points: 1\n#", "points: must be a list of mappings"),
    ],
)
def test_a_wrong_measurement_is_named(tmp_path: Path, old: str, new: str, said: str) -> None:
    point = "repeats: 3, requests_per_second: [1.0, 2.0, 3.0], tokens_per_second: [9, 9, 9]"
    point += ", first_token_p50: [1, 1, 1], first_token_p95: [1, 1, 1]"
    text = (
        "model: m\nquantisation: BF16\nengine: vllm\nhardware: {accelerator: cpu, count: 1, machine: x}\n"
        "tokens: {input: 1, output: 1}\ndate: '2026-11-28'\nsource: a fixture\n"
        f"points: [{{concurrency: 1, {point}}}, {{concurrency: 2, {point}}}]\n"
    )
    file = tmp_path / "one.yaml"
    file.write_text(text)
    (found,) = read_measurements(tmp_path)
    assert yaml.safe_load(yaml.safe_dump(found.to_data()))["points"][1]["concurrency"] == 2
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(PlannerError) as caught:
        read_measurements(tmp_path)
    assert said in str(caught.value)
    assert "one.yaml" in str(caught.value)


def pod(name: str, *, ready: bool = True, restarts: int = 0) -> dict[str, Any]:
    """As the API server has it, shortened to what is read."""

    def status(container: str, at: str) -> dict[str, Any]:
        state = {"running": {"startedAt": f"2026-11-28T10:00:{at}Z"}}
        return {"name": container, "restartCount": restarts, "state": state}

    return {
        "metadata": {"name": name},
        "spec": {"nodeName": "node"},
        "status": {
            "conditions": [
                {"type": "Ready", "status": str(ready), "lastTransitionTime": "2026-11-28T10:00:09Z"}
            ],
            "containerStatuses": [status("engine", "02"), status("gateway", "03")],
        },
    }


class Cluster:
    """What a cluster answers, by path."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self._answers = answers

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def get(self, path: str, _params: object = None) -> Any:
        if path not in self._answers:
            raise ClusterReadError(path)
        return self._answers[path]

    text = get


async def test_pods_tell_machine_memory_and_load_time(monkeypatch: pytest.MonkeyPatch) -> None:
    here = "/api/v1/namespaces/n/pods"
    node = {"metadata": {"labels": {"node.kubernetes.io/instance-type": "g6.xlarge"}}, "status": {}}
    used = {"containers": [{"name": "engine", "usage": {"memory": "262144Ki"}}, {"name": "x", "usage": {}}]}
    answers: dict[str, Any] = {
        here: {"items": [pod("b"), pod("a", restarts=1), pod("c", ready=False)]},
        "/api/v1/nodes/node": node | {"status": {"capacity": {"cpu": "4"}}},
        "/apis/metrics.k8s.io/v1beta1/namespaces/n/pods/b": used,
    }
    target = ScalingTarget(kubeconfig="x", namespace="n", deployment="d", selector={"a": "b"})

    async def access(*_: object) -> Any:
        return None

    monkeypatch.setattr(calibration.pods, "read_access", access)
    monkeypatch.setattr(calibration.pods, "KubeReader", lambda _: Cluster(answers))
    found = await replicas_of(target)
    assert found.pods == ("a", "b")
    assert found.machine == "g6.xlarge with 4 cores"
    assert (found.memory_gib, found.load_seconds) == (0.25, 7)
    # Where the gateway sees GPUs, their memory is what counts.
    name = "berth_gpu_memory_used_bytes"
    lines = f'# HELP {name} x\n{name}{{gpu="0"}} 1073741824.0\n{name}{{gpu="1"}} 1e9\n'
    answers[f"{here}/b:9000/proxy/metrics"] = lines
    assert (await replicas_of(target)).memory_gib == pytest.approx(1 + 1e9 / 2**30)
    del answers[f"{here}/b:9000/proxy/metrics"]
    line = (
        'container_memory_working_set_bytes{container="engine",namespace="n",pod="b"} 5.36870912e+08 179586'
    )
    answers["/api/v1/nodes/node/proxy/metrics/resource"] = f"# HELP x\n{line}\n"
    assert (await replicas_of(target)).memory_gib == pytest.approx(0.5)
    for path in [*answers][1:]:
        del answers[path]
    bare = await replicas_of(target)
    assert (bare.machine, bare.memory_gib, bare.load_seconds) == ("", None, 7)
