"""A whole drill on loopback: phases follow what is seen, and what was broken is whole again at the end."""

from __future__ import annotations

import asyncio
import json
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from berth.operations.drill import Drilled, DrillSettings, drill, markdown, page, picture
from berth.operations.errors import EndpointUnreachable

if TYPE_CHECKING:
    from tests.toolkit.drill.conftest import StandInRouter

RATE = 25.0
"""Home's two slots do 10 a second at 0.2 s each."""


@dataclass
class Lever:
    """Loses a site of the stand-in; the others take over a moment later."""

    router: StandInRouter
    site: str = "home"
    text: str = "taken away"
    takes_over: bool = True
    log: list[str] = field(default_factory=list)
    fails: bool = False
    held: asyncio.Event = field(default_factory=asyncio.Event)

    async def pull(self) -> None:
        self.log.append("pull")
        if self.fails:
            raise OSError("no such node")
        self.router.lost.add(self.site)
        await asyncio.sleep(0.3)
        if self.takes_over:
            self.router.taken.set()

    async def hold(self) -> None:
        self.log.append("hold")
        self.held.set()

    async def release(self) -> None:
        self.log.append("release")
        self.router.lost.clear()
        self.router.taken.set()


def settings(**parts: Any) -> DrillSettings:
    return DrillSettings(**{"fault": "lose-site", "site": "home", "seconds": 2, "rate": RATE, **parts})


def verdicts(drilled: Drilled) -> dict[str, str]:
    return {one.name: one.verdict for one in drilled.checks}


async def test_a_site_is_lost_and_comes_back(router: StandInRouter) -> None:
    said: list[str] = []
    lever = Lever(router)
    drilled = await drill(router.ground(), settings(say=lambda phase, _text: said.append(phase)), lever)
    assert [one for one in dict.fromkeys(said) if one] == [
        "steady", "overload", "fault", "recovery", "finishing",
    ]  # fmt: skip
    assert verdicts(drilled) == {
        "overflow": "passed", "failover": "passed", "failed-after-failover": "passed", "not-begun": "passed",
        "residency-bank": "passed", "cost": "passed", "back": "passed",
    }  # fmt: skip
    assert lever.log[0] == "pull"
    assert lever.log[-1] == "release"
    assert set(router.tokens) == {"Bearer token-of-reporters-canary"}
    found = json.loads(json.dumps(drilled.to_json()))
    assert found["failover_seconds"] is not None
    assert found["requests"]["count"] == len(drilled.record.sent)
    assert found["requests"]["results"]["ok"] == found["requests"]["count"]
    assert found["requests"]["backends"]["cloud"]["results"]["ok"] > 0
    # Home's own requests were answered by nobody while it was gone, and by home else.
    bank = found["residency"]["bank"]["backends"]
    assert bank["cloud"]["results"] == {"ok": 0, "refused": 0, "cut": 0, "failed": 0}
    assert {one["verdict"] for one in found["objectives"]} == {"passed"}
    assert drilled.exit_code == 0
    whole = json.dumps(found) + page(drilled) + markdown(drilled, "x.svg") + picture(drilled)
    assert "canary" not in whole
    assert sum(one["sent"] for one in found["seconds"]) == found["requests"]["count"]
    drawing = ET.fromstring(picture(drilled))  # noqa: S314 - our own
    texts = {one.text for one in drawing.iter("{http://www.w3.org/2000/svg}text")}
    assert {"share of answers", "dollars per hour", "requests waiting", "fault", "cap 4"} <= texts
    assert "  passed   failover:" in page(drilled)
    assert all(len(line) <= 80 for line in page(drilled).splitlines())


async def test_a_site_that_nobody_replaces_is_a_failure(
    router: StandInRouter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("berth.operations.drill.run._TAKEN_OVER_SECONDS", 0.5)
    router.seconds = 0.01
    lever = Lever(router, takes_over=False)
    # The lost site answers nobody, and nobody else does: until it is mended there is no unbroken run.
    whole = settings(rate=4, move_seconds=0.1, request_seconds=1)
    drilled = await drill(router.ground(), whole, lever)
    found = verdicts(drilled)
    assert found["overflow"] == "failed"
    assert found["failover"] == "failed"
    assert drilled.exit_code == 1


async def test_a_residency_rule_that_breaks_is_found(router: StandInRouter) -> None:
    router.broken = True
    drilled = await drill(router.ground(), settings(seconds=1), Lever(router))
    assert verdicts(drilled)["residency-bank"] == "failed"
    assert drilled.exit_code == 1


async def test_what_was_broken_is_mended_where_the_drill_is_ended_half_way(router: StandInRouter) -> None:
    lever = Lever(router)
    drilling = asyncio.create_task(drill(router.ground(), settings(seconds=6), lever))
    await lever.held.wait()
    drilling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await drilling
    assert lever.log[-1] == "release"


async def test_what_was_broken_is_mended_where_the_fault_fails(router: StandInRouter) -> None:
    lever = Lever(router, fails=True)
    with pytest.raises(OSError, match="no such node"):
        await drill(router.ground(), settings(seconds=1), lever)
    assert lever.log == ["pull", "release"]


async def test_without_a_rate_the_preferred_site_is_measured(router: StandInRouter) -> None:
    drilled = await drill(router.ground(), settings(seconds=1, rate=None), Lever(router))
    # Two slots at 0.2 s each do 10 a second at most.
    assert 0 < drilled.rate <= 2 * 10


async def test_a_router_that_does_not_answer_stops_before_anything_is_done(
    monkeypatch: pytest.MonkeyPatch, router: StandInRouter
) -> None:
    monkeypatch.setattr("berth.operations.drill.run._FIRST_ANSWER_SECONDS", 0.2)
    ground = router.ground(endpoint="http://127.0.0.1:9")
    lever = Lever(router)
    with pytest.raises(EndpointUnreachable):
        await drill(ground, settings(), lever)
    assert lever.log == []
