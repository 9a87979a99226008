"""Who is asked before an environment is changed or removed: a person at a terminal; nobody for `local`."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from berth.cli.consent import consent
from berth.cli.errors import UserError
from berth.deployer import Op, Report, Step

if TYPE_CHECKING:
    from collections.abc import Iterator

STEP = Step("urn:pulumi:onprem::berth::kubernetes:core/v1:ConfigMap::c", "kubernetes:core/v1:ConfigMap", "c")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Give the other end of a terminal that standard input is read from."""
    ours, theirs = pty.openpty()
    with open(theirs) as stdin:  # noqa: PTH123 - a descriptor, no path
        monkeypatch.setattr(sys, "stdin", stdin)
        yield ours
    os.close(ours)


def ask(command: str, op: Op, typed: bytes, terminal: int) -> bool:
    step = Step(STEP.urn, STEP.type, STEP.name, op=op)
    question = consent("onprem", command, yes=False)
    assert question is not None
    os.write(terminal, typed)
    return asyncio.run(question(Report(command, "berth", "onprem", [step])))  # type: ignore[arg-type] # a coroutine


@pytest.mark.parametrize(
    ("typed", "answer"),
    [(b"y\n", True), (b"YES\n", True), (b"\n", False), (b"no\n", False), (b"\x04", False)],
)
def test_only_yes_is_yes(
    typed: bytes, answer: bool, terminal: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask("down", Op.DELETE, typed, terminal) is answer
    said = capsys.readouterr()
    assert "Remove everything above of stack 'onprem'? [y/N]" in said.err
    assert "ConfigMap" in said.err, "the plan is shown before the question"
    assert not said.out, "standard output is for the report"


def test_an_up_without_changes_asks_nothing(terminal: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("up", Op.SAME, b"", terminal)
    assert not capsys.readouterr().err
    assert not ask("up", Op.UPDATE, b"n\n", terminal)


@pytest.mark.usefixtures("terminal")
def test_the_local_stack_and_yes_ask_nobody() -> None:
    assert consent("local", "down", yes=False) is None
    assert consent("onprem", "down", yes=True) is None


def test_a_question_that_is_stopped_ends_at_once(terminal: int) -> None:
    question = consent("onprem", "down", yes=False)
    assert question is not None

    async def stopped() -> None:
        asking = asyncio.ensure_future(question(Report("down", "berth", "onprem", [STEP])))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(stopped())
    assert terminal


def test_without_a_terminal_nothing_is_removed() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "berth.cli", "down", "onprem"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "down removes everything of the stack 'onprem'" in done.stderr
    assert "add --yes" in done.stderr
    assert not done.stdout


def test_without_a_terminal_an_up_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull) as nothing:  # noqa: PTH123 - a text file, as sys.stdin is one
        monkeypatch.setattr(sys, "stdin", nothing)
        assert consent("onprem", "up", yes=False) is None
        with pytest.raises(UserError, match="--yes"):
            consent("onprem", "down", yes=False)
