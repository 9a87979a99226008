"""The page in a real Chromium over a real Prometheus: every dashboard, by eye, finger, keyboard and axe."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from berth.operations.dash import Board, Prometheus
from playwright.async_api import Browser, Page, async_playwright

from tests.toolkit.dash.conftest import served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.toolkit.dash.conftest import StandIn

CHROMIUM = shutil.which("chromium")
# As root there is no sandbox to be had; the rest keeps Chromium from looking for hosts of its own.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}
PATIENCE = 120_000

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: ./berth test dash --yes"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as tool:
        started = await tool.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        await started.close()


@contextlib.asynccontextmanager
async def shown(
    browser: Browser, address: str, hash_: str = "", *, dark: bool = False, size: Any = None
) -> AsyncIterator[Page]:
    """Open the page; it may ask nobody but its own server, and the console stays empty."""
    said: list[str] = []
    scheme: Any = "dark" if dark else "light"
    context = await browser.new_context(viewport=size or WIDE, color_scheme=scheme)
    opened = await context.new_page()
    opened.set_default_timeout(PATIENCE)
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on(
        "request",
        lambda asked: None if asked.url.startswith((address, "data:")) else said.append(asked.url),
    )
    await opened.goto(f"{address}/{hash_}")
    yield opened
    await context.close()
    assert said == []


async def settled(opened: Page, name: str) -> None:
    """Wait until every panel of a dashboard has its answer."""
    await opened.wait_for_function(
        "name => { const main = document.getElementById('panels');"
        " return main.dataset.page === name && main.dataset.loaded"
        " && !main.querySelector('[data-state=waiting]') }",
        arg=name,
    )


async def states(opened: Page) -> dict[str, str]:
    found = await opened.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.panel')]"
        ".map(one => [one.querySelector('h3').textContent, one.dataset.state]))"
    )
    assert isinstance(found, dict)
    return found


NAMES = ("fleet", "environment", "model-server", "gpu-nodes", "autoscaling", "cost", "safety", "rollout")


async def test_every_dashboard_shows_what_there_is(browser: Browser, address: str, board: Board) -> None:
    """By the links between them, without the page being loaded again."""
    async with shown(browser, address, "#fleet?range=900") as opened:
        assert [page.name for page in board.pages] == list(NAMES)
        for page in board.pages:
            await opened.click(f"nav a:text-is('{page.title}')")
            await settled(opened, page.name)
            found = await states(opened)
            assert list(found) == [panel.title for panel in page.panels]
            for panel in page.panels:
                wanted = {"text"} if panel.kind == "text" else {"data", "empty"} if panel.needs else {"data"}
                assert found[panel.title] in wanted, f"{page.name}: {panel.title}"
            charts = await opened.locator(".panel[data-state=data] .chart svg.main-svg").count()
            lines = sum(one.kind == "timeseries" and found[one.title] == "data" for one in page.panels)
            assert charts >= lines
            assert await opened.evaluate("document.documentElement.scrollWidth") <= WIDE["width"]


async def test_what_is_missing_is_said(browser: Browser, address: str) -> None:
    async with shown(browser, address, "#gpu-nodes?range=900") as opened:
        await settled(opened, "gpu-nodes")
        text = await opened.inner_text("section.panel:has(h3:text-is('GPU temperature'))")
        assert "dcgm is not deployed" in text
        text = await opened.inner_text("section.panel:has(h3:text-is('Memory by GPU'))")
        assert "It needs a GPU that the gateway's container sees." in text


async def test_servers_and_times_are_chosen_and_kept_in_the_address(browser: Browser, address: str) -> None:
    async with shown(browser, address, "#fleet?range=900") as opened:
        await settled(opened, "fleet")
        panel = opened.locator("section.panel:has(h3:text-is('Requests by server'))")
        assert await panel.locator(".legend button").count() == 2
        await opened.click("#variable-model summary")
        await opened.check("#variable-model input[value=chat]")
        await panel.locator(".legend li:nth-child(2)").wait_for(state="detached")
        assert "home/chat" in await panel.locator("ul.legend").inner_text()
        assert "var-model=chat" in opened.url
        await opened.keyboard.press("Escape")
        assert await opened.locator("#variables details[open]").count() == 0
        # The next dashboard shows the same servers and the same time.
        await opened.click("nav a:text-is('Autoscaling')")
        await settled(opened, "autoscaling")
        assert "var-model=chat" in opened.url
        assert "range=900" in opened.url
        legends = await opened.locator(".legend").all_inner_texts()
        assert not [one for one in legends if "summaries" in one]
        # A time of one's own.
        await opened.select_option("#range", "custom")
        await opened.locator("#from").wait_for()
        assert "from=" in opened.url
        await opened.fill("#from", "2001-01-01T00:00")
        assert await opened.inner_text("#state") == "A time can be 92 days long at most."
        await opened.fill("#to", "2001-01-01T01:00")
        await opened.wait_for_function(
            "() => [...document.querySelectorAll('.panel:not(.text)')]"
            ".every(one => one.dataset.state === 'empty')"
        )


async def test_a_line_is_hidden_and_a_part_of_the_time_is_looked_at(browser: Browser, address: str) -> None:
    async with shown(browser, address, "#fleet?range=900") as opened:
        await settled(opened, "fleet")
        panel = opened.locator("section.panel:has(h3:text-is('Requests by server'))")
        first = panel.locator(".legend button").first
        assert await first.get_attribute("aria-pressed") == "true"
        await first.click()
        assert await first.get_attribute("aria-pressed") == "false"
        assert await panel.locator(".chart").evaluate("chart => chart.data[0].visible") is False
        await panel.locator(".chart").scroll_into_view_if_needed()
        box = await panel.locator(".chart .nsewdrag").first.bounding_box()
        assert box
        await opened.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 40)
        await opened.mouse.down()
        await opened.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 40, steps=5)
        await opened.mouse.up()
        await opened.wait_for_function("() => location.hash.includes('range=custom')")


async def test_it_asks_again_by_itself(browser: Browser, address: str) -> None:
    async with shown(browser, address, "#fleet?range=900") as opened:
        await settled(opened, "fleet")
        before = await opened.get_attribute("#panels", "data-loaded")
        await opened.select_option("#every", "5")
        for _ in range(2):
            await opened.wait_for_function(
                "before => document.getElementById('panels').dataset.loaded !== before", arg=before
            )
            before = await opened.get_attribute("#panels", "data-loaded")


async def test_a_keyboard_is_enough(browser: Browser, address: str) -> None:
    async with shown(browser, address, "#fleet?range=900") as opened:
        await settled(opened, "fleet")
        await opened.select_option("#every", "0")
        await settled(opened, "fleet")
        await opened.evaluate("document.activeElement.blur()")
        await opened.keyboard.press("Tab")
        seen = set()
        while not await opened.evaluate("document.activeElement.matches('.legend button')"):
            seen.add(await opened.evaluate("document.activeElement.id || document.activeElement.tagName"))
            assert await opened.evaluate("document.activeElement !== document.body"), "it ends before a panel"
            await opened.keyboard.press("Tab")
        assert {"range", "every", "theme", "again", "A", "SUMMARY"} <= seen
        await opened.keyboard.press("Enter")
        assert await opened.evaluate("document.activeElement.getAttribute('aria-pressed')") == "false"
        await opened.keyboard.press("Shift+Tab")
        await opened.focus("section.panel:has(h3:text-is('Errors')) summary")
        await opened.keyboard.press("Enter")
        table = opened.locator("section.panel:has(h3:text-is('Errors')) .values table")
        assert await table.locator("tbody tr").count() == 2, "what is drawn can be read"


@pytest.mark.parametrize(("name", "dark"), [("gpu-nodes", False), ("fleet", True)], ids=["light", "dark"])
async def test_everybody_can_read_it(browser: Browser, address: str, name: str, dark: bool) -> None:
    """Axe finds nothing, contrast of WCAG AA included, and a phone needs no sideways scrolling."""
    rules = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
    async with shown(browser, address, f"#{name}?range=900", dark=dark, size=PHONE) as opened:
        await settled(opened, name)
        assert await opened.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        await opened.click("#variable-model summary")
        await opened.evaluate("document.querySelectorAll('.about').forEach(one => { one.open = true })")
        assert await opened.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        small = await opened.evaluate(
            "[...document.querySelectorAll('summary, button, select, nav a')]"
            ".filter(node => node.offsetHeight && node.offsetHeight < 24).map(node => node.outerHTML)"
        )
        assert small == [], "everything can be hit by a finger"
        await opened.evaluate(rules)
        found = await opened.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
        told = [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]]
        assert told == []
        assert "color-contrast" in {one["id"] for one in found["passes"]}


async def test_colours_can_be_chosen(browser: Browser, address: str) -> None:
    async with shown(browser, address, "#fleet?range=900", dark=False) as opened:
        await settled(opened, "fleet")
        ground = "getComputedStyle(document.body).backgroundColor"
        light = await opened.evaluate(ground)
        await opened.select_option("#theme", "dark")
        assert await opened.evaluate(ground) != light


async def test_an_error_is_told_in_its_panel(
    browser: Browser, board: Board, script: Path, root: Path
) -> None:
    with Prometheus("http://127.0.0.1:1") as gone:
        for address in served(Board(board.pages, gone), script, root):
            async with shown(browser, address, "#cost?range=900") as opened:
                await settled(opened, "cost")
                assert set((await states(opened)).values()) == {"error"}
                text = await opened.inner_text("section.panel >> nth=0")
                assert "Prometheus does not answer at http://127.0.0.1:1" in text
                assert "is it running?" in await opened.inner_text("#state")


async def test_what_others_wrote_is_text_and_many_lines_are_few(
    browser: Browser, board: Board, stand_in: StandIn, script: Path, root: Path
) -> None:
    evil = "<img src=x onerror=\"document.title='broken'\"><b>x</b><a href='javascript:alert(1)'>y</a>"
    result = [
        {
            "metric": {"site": evil, "model": f"m{number}", "key": evil, "outcome": evil, "alertname": evil},
            "values": [[time.time() - 60, str(number)], [time.time() - 30, str(number)]],
            "value": [time.time(), str(number)],
        }
        for number in range(300)
    ]
    stand_in.body["data"] = {"resultType": "matrix", "result": result}
    pages = [
        dataclasses.replace(
            page, panels=tuple(one for one in page.panels if one.kind == "timeseries" and not one.stacked)[:3]
        )
        for page in board.pages
    ]
    with Prometheus(stand_in.url) as prometheus:
        for address in served(Board(pages, prometheus), script, root):
            async with shown(browser, address, "#fleet?range=900") as opened:
                await settled(opened, "fleet")
                panel = opened.locator("section.panel:has(h3:text-is('Errors'))")
                assert await panel.locator(".chart").evaluate("chart => chart.data.length") == 60
                assert "60 of 300 drawn" in await panel.locator("ul.legend").inner_text()
                await panel.locator(".chart").scroll_into_view_if_needed()
                box = await panel.locator(".chart .nsewdrag").first.bounding_box()
                assert box
                await opened.mouse.move(box["x"] + box["width"] - 12, box["y"] + 50)
                await opened.locator(".hoverlayer text").first.wait_for()
                assert await opened.locator("main img, .hoverlayer a, main b b").count() == 0
                assert "broken" not in await opened.title()
                assert evil in await panel.locator("ul.legend").inner_text()
