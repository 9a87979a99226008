"""The pages of docs/runbooks, and the commands in them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "runbooks"
INDEX = "README.md"
SECTIONS = ("**Symptom.**", "**Check.**", "**Remedy.**", "**Escalation.**")
_BLOCK = re.compile(
    r"(?:\*Not run by the tests: (?P<why>[^*]+)\.\*\n\n)?```(?P<kind>\w*)\n(?P<text>.*?)```", re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """Commands of a page.

    Attributes:
        page: its file.
        text: the commands.
        why: why they are not run here; "" where they are.
    """

    page: str
    text: str
    why: str


def pages() -> dict[str, str]:
    """Every page but the index, by the alert's name."""
    return {file.stem: file.read_text() for file in sorted(FOLDER.glob("*.md")) if file.name != INDEX}


def blocks() -> list[Block]:
    """Every block of commands."""
    found = []
    for file in sorted(FOLDER.glob("*.md")):
        for match in _BLOCK.finditer(file.read_text()):
            assert match["kind"] == "sh", f"{file.name}: a block that is no shell"
            found.append(Block(file.name, match["text"], match["why"] or ""))
    return found
