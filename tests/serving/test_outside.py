"""Judges from outside in environments of their own: TGI's client, Triton's, llm-comply, schemathesis."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.localcluster import tool_venv

from tests.serving.conftest import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
# How often llm-comply may ask again where only the length of what the model says displeased it.
TRIES = 4


@pytest.fixture(scope="module")
def tool(root: Path) -> Callable[[str, str], Path]:
    def program(name: str, binary: str) -> Path:
        return tool_venv(name, root / f"locks/tools/{name}.txt", expected_seconds=30) / "bin" / binary

    return program


@pytest.fixture(scope="module")
def waivers(root: Path) -> Any:
    return yaml.safe_load((root / "tests/serving/outside/waivers.yaml").read_text())


def run(*words: object, cwd: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in words], env={**clean, **environ}, capture_output=True, text=True, check=False,
        timeout=300, cwd=cwd,
    )  # fmt: skip


@pytest.fixture(scope="module")
def served(engine: Any, make_gateway: Callable[..., Any]) -> Any:
    gateway = make_gateway(engine.url, BERTH_GRPC_PORT=str(free_port()))
    wait_for(gateway.is_ready, "the gateway is ready")
    return gateway


def test_tgis_own_client(tool: Any, served: Any, root: Path) -> None:
    script = root / "tests/serving/outside/text_generation_client.py"
    done = run(tool("text-generation", "python"), script, served.url, served.key)
    assert done.returncode == 0, done.stderr


def test_tritons_client(tool: Any, served: Any, root: Path) -> None:
    listening = next(one for one in served.records() if one["message"] == "gateway listening")
    script = root / "tests/serving/outside/triton_client.py"
    address = f"127.0.0.1:{listening['grpc_port']}"
    done = run(tool("tritonclient", "python"), script, address, served.key, MODEL)
    assert done.returncode == 0, done.stderr


def test_llm_comply_finds_only_what_is_meant(tool: Any, served: Any, waivers: Any) -> None:
    waived = {one["id"] for one in waivers["llm-comply"]}
    assert all(one["reason"] for one in waivers["llm-comply"])
    program = tool("llm-comply", "llm-comply")
    listed = run(program, "--format", "openai-chat", "--list", "-u", served.url).stdout.split()
    judged = {word for word in listed if word.startswith("chat-")} - waived
    assert len(judged) >= 6

    def results(names: set[str]) -> dict[str, Any]:
        command = [
            program,
            "--format",
            "openai-chat",
            "-u",
            f"{served.url}/v1",
            "-k",
            served.key,
            "-m",
            MODEL,
        ]
        found = json.loads(run(*command, "--json", "-f", ",".join(sorted(names))).stdout)["results"]
        return {one["id"]: one for one in found}

    left = judged
    for _ in range(TRIES):
        failed = {name: one for name, one in results(left).items() if one["status"] != "passed"}
        # A small model talks on until its context is full; everything else is the server's own.
        assert all("finish_reason" in str(one["errors"]) for one in failed.values()), failed
        left = set(failed)
        if not left:
            return
    raise AssertionError(f"never ended by themselves: {left}")


@pytest.mark.parametrize(
    ("total", "which", "paths"),
    # `/` takes and answers what the routes beside it do.
    [("6", "--exclude-path-regex", "chat|^/$"), ("36", "--include-path-regex", "chat")],
    ids=["texts", "chats"],
)
def test_schemathesis_finds_the_document_true(  # noqa: PLR0917 - pytest's fixtures, by name
    tool: Any,
    engine: Any,
    make_gateway: Callable[..., Any],
    root: Path,
    tmp_path: Path,
    total: str,
    which: str,
    paths: str,
) -> None:
    """Answers are a few tokens: what is judged is the document. It asks the same each time."""
    gateway = make_gateway(engine.url, MAX_TOTAL_TOKENS=total, MAX_CONCURRENT_REQUESTS="64")
    wait_for(gateway.is_ready, "the gateway is ready")
    outside = root / "tests/serving/outside"
    done = run(
        tool("schemathesis", "schemathesis"), "run", f"{gateway.url}/openapi.json",
        "--header", f"Authorization: Bearer {gateway.key}", "--phases", "coverage,fuzzing", which, paths,
        "--max-examples", "4", "--seed", "1", "--workers", "1", "--generation-deterministic",
        "--checks", "all", "--exclude-checks", "positive_data_acceptance", "--continue-on-failure",
        "--request-timeout", "60", "--no-color", "--report", "json",
        "--report-json-path", tmp_path / "report.json",
        cwd=tmp_path, PYTHONPATH=str(outside), SCHEMATHESIS_HOOKS="schemathesis_hooks",
        BERTH_WAIVERS=str(outside / "waivers.yaml"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["complete"]
    assert report["test_cases"]["generated"] > 500
    assert not [one for one in gateway.records() if one["level"] == "error"]
    gateway.end()
