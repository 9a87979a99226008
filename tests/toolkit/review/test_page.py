"""The page in a real Chromium: search, filter, expand, keyboard, contrast, a phone, and an empty console."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from importlib import resources
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from berth.deployer import Op, PolicyInfo, PolicyPackRun, PolicyResult, Report, Step
from berth.review import Review, new_stack, page, plan_against_plan
from playwright.async_api import Browser, Page, async_playwright

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

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
RESOURCE = "#stacks details.resource"

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium: ./berth test review --yes"),
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as tool:
        started = await tool.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        await started.close()


@contextlib.asynccontextmanager
async def shown(browser: Browser, file: Path, *, dark: bool = False, size: Any = None) -> AsyncIterator[Page]:
    """Open a page; nothing may be asked of a network, and the console stays empty."""
    said: list[str] = []
    scheme: Any = "dark" if dark else "light"
    context = await browser.new_context(viewport=size or WIDE, color_scheme=scheme, offline=True)
    opened = await context.new_page()
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda asked: None if asked.url.startswith("file:") else said.append(asked.url))
    await opened.goto(file.as_uri())
    yield opened
    await context.close()
    assert said == []


async def visible(opened: Page) -> int:
    return int(await opened.locator(f"{RESOURCE}:visible").count())


async def settled(opened: Page, number: int) -> None:
    """Wait until as many resources are told to be shown; the search waits for the typing to end."""
    await opened.wait_for_function(
        "number => document.getElementById('matches').textContent.startsWith(`${number} resource`)",
        arg=number,
    )


async def test_the_prepared_change_can_be_searched_filtered_and_expanded(
    browser: Browser, reviewed: Path
) -> None:
    async with shown(browser, reviewed / "review.html") as opened:
        counts = {
            op: int(await opened.locator(f"#totals .{op} b").inner_text())
            for op in ("create", "update", "replace", "delete")
        }
        all_of_them = sum(counts.values())
        await settled(opened, all_of_them)
        assert counts["delete"] == counts["create"] > 5

        await opened.fill("#search", "maxSize")
        await settled(opened, 1)
        assert await visible(opened) == 1
        assert await opened.locator(f"{RESOURCE}:visible .name").inner_text() == "aws-chat-nodes"
        await opened.locator(f"{RESOURCE}:visible summary").click()
        assert await opened.locator(".diff:visible .old").inner_text() == "- 7"
        assert await opened.locator(".diff:visible .new").inner_text() == "+ 9"

        await opened.click("#reset")
        await settled(opened, all_of_them)
        await opened.uncheck("#ops input[value=update]")
        await opened.uncheck("#ops input[value=create]")
        await settled(opened, counts["delete"])
        await opened.select_option("#stack", "gcp-dev")
        await settled(opened, 1)
        assert await opened.locator(f"{RESOURCE}:visible .op").inner_text() == "delete"

        await opened.click("#reset")
        await opened.select_option("#policy", "pods-readiness")
        stacks = json.loads((reviewed / "review.json").read_text())["stacks"]
        violating = sum("pods-readiness" in entry["policies"] for one in stacks for entry in one["entries"])
        assert 5 < violating < all_of_them
        await settled(opened, violating)
        assert await visible(opened) == violating
        assert (
            await opened.locator(f"{RESOURCE}:visible .type").all_inner_texts() == ["Deployment"] * violating
        )

        await opened.click("#reset")
        await settled(opened, all_of_them)
        await opened.click("#expand")
        assert await opened.locator(f"{RESOURCE}[open]").count() == all_of_them
        await opened.click("#collapse")
        assert await opened.locator("#stacks details[open]:visible").count() == 0

        await opened.check("#ops input[value=same]")
        text = await opened.inner_text("#matches")
        await opened.wait_for_function(
            "text => document.getElementById('matches').textContent !== text", arg=text
        )
        assert int((await opened.inner_text("#matches")).split()[0]) > all_of_them + 100


async def test_a_keyboard_is_enough(browser: Browser, reviewed: Path) -> None:
    async with shown(browser, reviewed / "review.html") as opened:
        await opened.keyboard.press("Tab")
        assert await opened.evaluate("document.activeElement.className") == "skip"
        await opened.keyboard.press("/")
        assert await opened.evaluate("document.activeElement.id") == "search"
        await opened.keyboard.type("aws-chat-nodes")
        await settled(opened, 1)
        while await opened.evaluate("document.activeElement.closest('details.resource') === null"):
            await opened.keyboard.press("Tab")
            assert await opened.evaluate("document.activeElement !== document.body"), (
                "it ends before a resource"
            )
        await opened.keyboard.press("Enter")
        assert await opened.locator(".diff:visible").count() == 1
        await opened.keyboard.press("/")
        await opened.keyboard.press("Escape")
        assert await opened.input_value("#search") == ""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_everybody_can_read_it(browser: Browser, reviewed: Path, dark: bool) -> None:
    """Axe finds nothing, contrast of WCAG AA included, and a phone needs no sideways scrolling."""
    rules = (resources.files("axe_playwright_python") / "axe.min.js").read_text()
    async with shown(browser, reviewed / "review.html", dark=dark, size=PHONE) as opened:
        await opened.select_option("#stack", "gcp-dev")
        await opened.wait_for_function("() => document.getElementById('stack-aws-dev').hidden")
        await opened.click("#expand")
        width = await opened.evaluate("document.documentElement.scrollWidth")
        assert width <= PHONE["width"]
        small = await opened.evaluate(
            "[...document.querySelectorAll('summary')]"
            ".filter(node => node.offsetHeight && node.offsetHeight < 24).length"
        )
        assert small == 0, "every summary can be hit by a finger"
        await opened.evaluate(rules)
        found = await opened.evaluate("axe.run(document, {resultTypes: ['violations', 'incomplete']})")
        told = [(one["id"], one["nodes"][0]["html"][:200]) for one in found["violations"]]
        assert told == []
        assert "color-contrast" in {one["id"] for one in found["passes"]}


async def test_what_others_wrote_is_text(browser: Browser, tmp_path: Path) -> None:
    evil = "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">"
    type_ = "kubernetes:core/v1:ConfigMap"

    def report(value: str) -> Report:
        step = Step(f"urn:pulumi:dev::demo::{type_}::{evil}", type_, evil, op=Op.CREATE, inputs={evil: value})
        pack = PolicyPackRun("pack", policies=(PolicyInfo(evil, "mandatory"),))
        result = PolicyResult("pack", evil, "mandatory", "violated", step.urn, evil)
        return Report("preview", "demo", evil, [step], policy_packs=(pack,), policy_results=(result,))

    file = tmp_path / "review.html"
    file.write_text(page(Review(evil, evil, (plan_against_plan(report("1"), report(evil)),))))
    async with shown(browser, file) as opened:
        await opened.click("#expand")
        assert "broken" not in await opened.title() or "script" in await opened.title()
        assert await opened.locator("img").count() == 0
        assert await opened.locator("script").count() == 2
        assert evil in await opened.locator(f"{RESOURCE} .name").inner_text()


async def test_thousands_of_resources_can_be_searched(browser: Browser, tmp_path: Path) -> None:
    type_ = "kubernetes:core/v1:ConfigMap"
    steps = [
        Step(
            f"urn:pulumi:dev::demo::{type_}::c-{i}",
            type_,
            f"c-{i}",
            op=Op.CREATE,
            inputs={"data": {"k": f"v{i}"}},
        )
        for i in range(3_000)
    ]
    stack = new_stack(Report("preview", "demo", "dev", steps))
    file = tmp_path / "review.html"
    file.write_text(page(Review("a", "b", (stack, dataclasses.replace(stack, stack="other")))))
    async with shown(browser, file) as opened:
        await settled(opened, 6_000)
        await opened.fill("#search", "v2999")
        await settled(opened, 2)
        await opened.click("#expand")
        assert await opened.locator(".diff:visible .new").all_inner_texts() == ["+ v2999"] * 2
