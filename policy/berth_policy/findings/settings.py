"""Settings that only another place can answer."""

import re
from collections.abc import Iterator

from berth_policy.environment import TYPE
from berth_policy.rule import ADVICE, Finding, Rule
from berth_policy.subject import Stack, sequence

_ELSEWHERE = re.compile(r"images\.refs\.|has no pinned weights|is not pinned: the digest of")
"""Findings that `open-images`, `open-sagemaker-images` and `open-weights` report of each object."""


def check(stack: Stack) -> Iterator[Finding]:
    """Look at what the stack itself calls open."""
    for one in stack.of(TYPE):
        for text in map(str, sequence(one.props.get("findings"))):
            if not _ELSEWHERE.search(text):
                yield Finding(text, "an answer in the stack's settings", one)


RULE = Rule(
    name="open-settings",
    group="findings",
    title="Open: a setting is to be answered.",
    why="A placeholder stands for it, and a real run that would need it is refused.",
    fix="Set it in the stack's file; the finding says how to know it.",
    levels=ADVICE,
    types=(TYPE,),
    check_stack=check,
)
