"""The report as text: marks, 80 columns, counts last."""

from __future__ import annotations

from berth.deployer import UNKNOWN, Diagnostic, Op, PropertyChange, Report, Secret, Step, render
from berth.deployer.manifest import Key
from berth.deployer.urns import former, make, name_of, stack_urn, type_of

ROOT = stack_urn("dev", "demo")


def step(name: str, op: Op, parent: str = ROOT, **more: object) -> Step:
    kind = "kubernetes:core/v1:ConfigMap"
    made = Step(make("dev", "demo", ROOT, kind, name), kind, name, parent, op)
    for key, value in more.items():
        setattr(made, key, value)
    return made


def report() -> Report:
    changes = (
        PropertyChange("data.a", "update", "1", "2"),
        PropertyChange("data.b", "add", None, {"x": 1}),
        PropertyChange("data.c", "delete", "[secret]", None),
    )
    return Report(
        "preview",
        "demo",
        "dev",
        [
            Step(ROOT, "pulumi:pulumi:Stack", "demo-dev", custom=False),
            step("new", Op.CREATE, inputs={"data": {"k": "v"}}),
            step("old", Op.UPDATE, changes=changes),
            step("other", Op.REPLACE, replace_reasons=("spec.selector",)),
            step("gone", Op.DELETE),
            step("kept", Op.SAME),
            step("x" * 90, Op.CREATE),
        ],
        [Diagnostic("error", "first line " + "word " * 30 + "\nsecond line"), Diagnostic("info", "note")],
        {"url": "http://a", "later": UNKNOWN, "key": Secret("canary"), "map": {"a": [1]}},
        {"url": "add", "gone": "delete"},
        program_output="hello\n",
        seconds=1.25,
        ok=False,
    )


def test_tree_counts_and_messages_in_80_columns() -> None:
    text = render(report())
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    for expected in (
        " +  ├─ ConfigMap new  create",
        " ~  ├─ ConfigMap old  update data.a, data.b, data.c",
        " +- ├─ ConfigMap other  replace because of spec.selector",
        " -  ├─ ConfigMap gone  delete",
        "  + url: http://a",
        "    later: [unknown]",
        "    key: [secret]",
        "    map:",
        "      a: [1]",
        "  - gone",
        "    hello",
        "note",
    ):
        assert expected in lines
    assert "kept" not in text
    assert "ConfigMap kept" in render(report(), same=True)
    counts = " ".join(line.strip() for line in lines[-2:])
    assert counts == "Resources: 2 to create, 1 to delete, 1 to replace, 1 to update, 1 unchanged; 1 error"
    done = report()
    done.command = "up"
    assert render(done).splitlines()[-1] == "Duration: 1.2 s"
    assert "\x1b" not in text
    assert "\x1b[32m+ \x1b[0m" in render(report(), color=True)


def outputs(values: dict[str, object], *messages: str) -> list[str]:
    said = [Diagnostic("warning", message) for message in messages]
    text = render(Report("preview", "demo", "dev", diagnostics=said, outputs=values))
    return text.split("Outputs:\n")[1].split("\n\n")[0].splitlines()


def test_outputs_have_an_entry_a_line() -> None:
    pool = {"accelerator": "nvidia-l4", "labels": {}, "key": Secret("canary"), "later": UNKNOWN, "max": 3}
    pool["tolerations"] = [{"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"}]
    assert outputs({"pools": {"aws": {"chat": pool}}, "none": {}}) == [
        "    none: {}",
        "    pools:",
        "      aws:",
        "        chat:",
        "          accelerator: nvidia-l4",
        "          labels: {}",
        "          key: [secret]",
        "          later: [unknown]",
        "          max: 3",
        "          tolerations:",
        "            - effect: NoSchedule",
        "              key: nvidia.com/gpu",
        "              operator: Exists",
    ]
    texts = {"number": "1.35", "empty": "", "space": " a", "lines": "a\nb", "word": "a"}
    assert outputs({"texts": texts})[1:] == [
        '      number: "1.35"',
        '      empty: ""',
        '      space: " a"',
        '      lines: "a\\nb"',
        "      word: a",
    ]


def test_long_outputs_are_wrapped_between_words_and_never_cut() -> None:
    url = "http://" + "x" * 90
    lines = outputs({"said": ["word " * 30 + "end"], "text": "word " * 30 + url, "url": url})
    assert [line for line in lines if len(line) > 80] == [f"        {url}"] * 2
    assert " ".join(line.strip() for line in lines).count("word word") == 30
    assert lines[0] == "    said:"
    assert lines[1].startswith("      - word")
    assert lines[2].startswith("        word")


def test_what_messages_said_is_not_said_again() -> None:
    said = ["a has no b", "c, or d"]
    assert outputs({"findings": said}, "open finding: a has no b", "open finding: c, or d") == [
        "    findings: 2, each in a message above"
    ]
    assert outputs({"findings": said}, "open finding: a has no b") == [
        "    findings:",
        "      - a has no b",
        "      - c, or d",
    ]
    assert outputs({"findings": []}) == ["    findings: []"]


def test_diff_shows_every_property() -> None:
    text = render(report(), diff=True)
    assert '~ data.a: "1" => "2"' in text
    assert '+ data.b: {"x": 1}' in text
    assert "- data.c: [secret]" in text
    assert '+ data.k: "v"' in text
    assert max(map(len, text.splitlines())) <= 80


def test_urns_are_made_and_read_as_pulumi_does() -> None:
    child = make("dev", "demo", make("dev", "demo", ROOT, "a:b:Outer", "o"), "a:b:Inner", "i::n")
    assert child == "urn:pulumi:dev::demo::a:b:Outer$a:b:Inner::i::n"
    assert (type_of(child), name_of(child)) == ("a:b:Inner", "i::n")


def test_children_of_a_renamed_parent_are_known_by_their_old_names() -> None:
    parent, old = make("dev", "demo", ROOT, "a:b:C", "new"), make("dev", "demo", ROOT, "a:b:C", "old")
    child = make("dev", "demo", parent, "x:y:Z", "new-child")
    assert former(child, parent, [old], [], []) == (make("dev", "demo", old, "x:y:Z", "old-child"),)
    assert former(child, parent, [], [], [child, "urn:other"]) == ("urn:other",)


def test_keys_read_well() -> None:
    assert str(Key("apps", "Deployment", "ns", "a")) == "Deployment ns/a"
    assert str(Key("", "Namespace", "", "a")) == "Namespace a"
    assert Key("apps", "Deployment", "ns", "a").group_kind == "Deployment.apps"
