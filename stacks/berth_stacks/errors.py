"""What is wrong with a stack's settings, said once for all of it."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

Path = tuple[str | int, ...]
"""Where a setting is: its config key without the namespace, then keys and list positions below it."""


@dataclass(frozen=True)
class Problem:
    """One setting that cannot stay as it is.

    Attributes:
        path: where it is.
        given: what was found, such as "is 0" or "is missing"; never a secret.
        allowed: what would be accepted.
        remedy: the next step, where that is not plain; else "".
    """

    path: Path
    given: str
    allowed: str
    remedy: str = ""

    def __str__(self) -> str:
        end = f"; {self.remedy}" if self.remedy else ""
        return f"{dotted(self.path)} {self.given}; allowed: {self.allowed}{end}"


class SettingsError(pulumi.RunError, ValueError):
    """A stack's settings are wrong; the message lists every problem with file and line.

    Being a `pulumi.RunError` it ends a program with its message alone, without a traceback.
    """

    def __init__(self, stack: str, problems: Sequence[tuple[str, Problem]]) -> None:
        count = "1 setting is" if len(problems) == 1 else f"{len(problems)} settings are"
        lines = [f"{where}: {problem}" for where, problem in problems]
        super().__init__("\n  ".join([f"stack '{stack}': {count} wrong", *lines]))
        self.problems = [problem for _, problem in problems]


def dotted(path: Path) -> str:
    """The path as `pulumi config set --path` takes it."""
    text = ""
    for part in path:
        plain = isinstance(part, str) and "." not in part
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if plain else f'["{part}"]'
    return "berth:" + text.removeprefix(".")


def nearest(word: str, words: Sequence[str]) -> str:
    """A hint at the word that was probably meant, or ""."""
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else ""
