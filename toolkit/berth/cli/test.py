"""`berth test`: the tests, those without a cluster first."""

from __future__ import annotations

import os
import sys

import click

from berth.cli.errors import UserError
from berth.cli.local import consent_to_tools
from berth.cli.paths import ROOT

# What looks at the pages that we make, and the tests that need it.
BROWSER = {"chromium": "chromium"}
_PAGES = ("tests/toolkit/review", "tests/toolkit/dash")


def rooms() -> dict[str, str]:
    """Return the folders of tests by room name."""
    found = {}
    for folder in sorted((ROOT / "tests").glob("**/")):
        relative = folder.relative_to(ROOT / "tests")
        if relative.name and not relative.name.startswith("_") and any(folder.glob("test_*.py")):
            found[relative.name] = str(folder.relative_to(ROOT))
    return found


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("room", required=False)
@click.option("--yes", is_flag=True, help="Install the Debian tools that are missing.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def test(room: str | None, yes: bool, words: tuple[str, ...]) -> None:
    """Run all tests, or those of one ROOM; WORDS after -- go to pytest.

    The cluster that the tests use is made from packages on first use, which
    takes about 7 minutes on 2 cores, and is deleted at the end.
    """
    if room is not None and room.startswith("-"):
        words = (room, *words)
        room = None
    target = "tests"
    if room is None and not words and (os.cpu_count() or 1) > 1:
        # Most of the time is waiting for a cluster; see tests/conftest.py for who runs what.
        words = ("-n", "2", "--dist", "loadscope")
    if room is not None:
        known = rooms()
        if room not in known:
            raise UserError(f"there are no tests of a room '{room}'; rooms with tests: {', '.join(known)}")
        target = known[room]
    if os.geteuid() == 0:
        shows_pages = any(target in {folder, "tests"} for folder in _PAGES)
        consent_to_tools(yes=yes, also=BROWSER if shows_pages else None)
    os.chdir(ROOT)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", target, *words])  # noqa: S606 - pytest is this command
