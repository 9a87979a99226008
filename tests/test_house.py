"""The house is kept: one-way imports, every lint rule, strict types, small modules, clean locks."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("toolkit", "components", "serving", "agents", "images", "catalogue", "planner", "stacks", "policy")
BIN = Path(sys.executable).parent


def run(*command: str) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-6000:]}\n{done.stderr[-2000:]}"


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


@pytest.mark.parametrize(
    "command",
    [
        (f"{BIN}/ruff", "check", "."),
        (f"{BIN}/ruff", "format", "--check", "."),
        (f"{BIN}/lint-imports", "--no-cache"),
    ],
    ids=["lint", "format", "imports"],
)
def test_checks_pass(command: tuple[str, ...]) -> None:
    run(*command)


def test_types_are_strict() -> None:
    packages = [path.parent.name for room in ROOMS for path in ROOT.glob(f"{room}/**/py.typed")]
    assert len(packages) == len(ROOMS)
    run(str(BIN / "mypy"), *(word for package in packages for word in ("-p", package)))
    run(str(BIN / "mypy"), *map(str, sorted(ROOT.glob("bench/*.py"))))


def test_calls_to_the_clouds_sdks_have_their_types() -> None:
    run(str(BIN / "basedpyright"), "--pythonpath", sys.executable)


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in tracked("*.py")
        if (count := len(path.read_text().splitlines())) > 500
    }
    assert not long, f"over 500 lines: {long}"


def test_locks_carry_hashes_and_no_addresses() -> None:
    locks = [path for path in tracked("*.txt") if "locks" in path.relative_to(ROOT).parts]
    assert len(locks) >= 12
    for lock in locks:
        text = lock.read_text()
        assert "://" not in text, f"{lock} carries an address"
        pins = re.findall(r"^[a-z0-9][^\s=]*==\S+", text, flags=re.MULTILINE)
        wanted = [
            line for line in lock.with_suffix(".in").read_text().splitlines() if line[:1] not in {"", "#"}
        ]
        assert bool(pins) == bool(wanted), f"{lock} does not follow its .in file"
        assert text.count("--hash=sha256:") >= len(pins), f"{lock} has a pin without a hash"


def test_every_lock_agrees_on_versions() -> None:
    versions: dict[str, set[str]] = {}
    # Those in locks/tools are environments of their own: they clash, or they would not be there.
    for lock in (path for path in tracked("locks/*.txt") if path.parent.name == "locks"):
        for name, version in re.findall(
            r"^([a-z0-9][a-z0-9._-]*)==(\S+)", lock.read_text(), flags=re.MULTILINE
        ):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
