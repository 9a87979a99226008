"""Programs of raw resources, each of which breaks exactly the rules that it says."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth import deployer
from berth.deployer import PolicyPack, RunRequest
from berth_policy.testing import Results, given

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = Path(__file__).parent / "programs"
sys.path.insert(0, str(PROGRAM))
import bad  # type: ignore[import-not-found] # noqa: E402 - a program's own module, beside it
import raw  # type: ignore[import-not-found] # noqa: E402

PRELOAD = ("pulumi_kubernetes", "pulumi_policy")


def test_there_are_enough_of_them() -> None:
    assert len(bad.BAD) >= 25


@pytest.mark.parametrize("case", ["good", *bad.BAD])
def test_it_breaks_exactly_its_rules(case: str, judge: Callable[..., Results]) -> None:
    objects = raw.good() if case == "good" else bad.BAD[case].make()
    found = judge([given(token, name, inputs) for name, (token, inputs) in objects.items()])
    breaks = set() if case == "good" else bad.BAD[case].breaks
    assert {one.policy for one in found} == breaks, "\n".join(one.message for one in found)


def test_the_pack_says_the_same_in_its_own_process(root: Path) -> None:
    cases = ["good", *bad.BAD]

    def request(case: str) -> RunRequest:
        return RunRequest(
            program=PROGRAM,
            project="shop",
            stack="prod",
            root=root,
            config={"berth:case": case},
            offline=True,
            policy_packs=(PolicyPack(root / "policy"),),
        )

    async def all_of_them() -> list[Any]:
        interpreter = deployer.Interpreter(preload=PRELOAD)
        try:
            return await deployer.previews([request(one) for one in cases], interpreter=interpreter)
        finally:
            interpreter.close()

    for case, report in zip(cases, asyncio.run(all_of_them()), strict=True):
        breaks = set() if case == "good" else bad.BAD[case].breaks
        found = {one.policy for one in report.policy_results}
        assert found == breaks, (case, report.policy_results, report.diagnostics)
        assert report.ok is (not breaks)
