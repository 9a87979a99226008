"""Differences of inputs: lists by name, texts by line, JSON inside, order, and what only follows."""

from __future__ import annotations

import json
from typing import Any

from berth.review.model import Change
from berth.review.properties import added, differences, is_churn


def told(before: Any, after: Any) -> list[tuple[str, str, Any, Any]]:
    return [(one.path, one.kind, one.before, one.after) for one in differences(before, after)]


def test_items_of_lists_are_matched_by_what_names_them() -> None:
    before = {"containers": [{"name": "a", "image": "x:1"}, {"name": "b", "ports": [{"containerPort": 80}]}]}
    after = {
        "containers": [
            {"name": "new", "image": "y"},
            {"name": "a", "image": "x:2"},
            {"name": "b", "ports": [{"containerPort": 80}, {"containerPort": 81}]},
        ]
    }
    assert told(before, after) == [
        ("containers[name=a].image", "update", "x:1", "x:2"),
        ("containers[name=b].ports[containerPort=81]", "add", None, {"containerPort": 81}),
        ("containers[name=new]", "add", None, {"name": "new", "image": "y"}),
    ]


def test_an_order_that_changes_is_told_as_such() -> None:
    before, after = {"env": [{"name": "a"}, {"name": "b"}]}, {"env": [{"name": "b"}, {"name": "a"}]}
    assert told(before, after) == [("env(order)", "update", ["a", "b"], ["b", "a"])]
    assert told({"l": [1, 2]}, {"l": [2, 1]}) == [("l(order)", "update", [1, 2], [2, 1])]


def test_a_new_argument_in_the_middle_is_one_addition() -> None:
    before, after = {"args": ["--a", "--b", "--c"]}, {"args": ["--a", "--new", "--b", "--c"]}
    assert told(before, after) == [("args[1]", "add", None, "--new")]
    assert told(after, before) == [("args[1]", "delete", "--new", None)]
    assert told({"args": ["--a", "1"]}, {"args": ["--a", "2"]}) == [("args[1]", "update", "1", "2")]
    many = [change.path for change in differences({"l": list("abcdefghijkl")}, {"l": list("ABCDEFGHIJKL")})]
    assert many[1:3] == ["l[1]", "l[2]"]


def test_names_that_are_there_twice_name_nothing() -> None:
    before = {"ports": [{"port": 1, "p": "TCP"}, {"port": 1, "p": "UDP"}]}
    after = {"ports": [{"port": 1, "p": "TCP"}, {"port": 1, "p": "SCTP"}]}
    assert told(before, after) == [("ports[1].p", "update", "UDP", "SCTP")]


def test_json_in_a_text_is_compared_inside_unless_only_its_spelling_differs() -> None:
    one, two = ({"Statement": [{"Sid": "s", "Action": action}]} for action in ("s3:Get", "s3:*"))
    assert told({"policy": json.dumps(one)}, {"policy": json.dumps(two)}) == [
        ("policy(JSON).Statement[Sid=s].Action", "update", "s3:Get", "s3:*")
    ]
    spelled = differences({"policy": json.dumps(one)}, {"policy": json.dumps(one, indent=1)})
    assert [change.path for change in spelled] == ["policy"]


def test_long_texts_are_compared_by_line() -> None:
    before, after = "a\nb\nc\nd\n", "a\nb\nX\nd\n"
    (change,) = differences({"data": {"f.yaml": before}}, {"data": {"f.yaml": after}})
    assert change.path == 'data["f.yaml"]'
    assert [line for line in change.lines if line[0] in "+-"] == ["-c", "+X"]


def test_types_count() -> None:
    assert told({"a": "1"}, {"a": 1}) == [("a", "update", "1", 1)]
    assert told({"a": True}, {"a": 1}) == [("a", "update", True, 1)]
    assert told({"a": None}, {}) == [("a", "delete", None, None)]
    assert told({"a": {}}, {"a": []}) == [("a", "update", {}, [])]
    assert told({"a": {"x": [1]}}, {"a": {"x": [1]}}) == []


def test_odd_keys_cannot_be_taken_for_paths() -> None:
    (change,) = differences({}, {'a.b"]': 1})
    assert change.path == '["a.b\\"]"]'
    assert added({"k": {}, "l": [], "m": [{"name": "x y"}]}) == (
        Change("k", "add", None, {}),
        Change("l", "add", None, []),
        Change('m[name="x y"].name', "add", None, "x y"),
    )


def test_churn_is_hashes_in_annotations_and_never_an_image() -> None:
    for path in (
        'spec.template.metadata.annotations["berth.dev/config-checksum"]',
        "metadata.annotations.sha256",
        'metadata.labels["x/content-hash"]',
        "etag",
    ):
        assert is_churn(path), path
    for path in (
        "spec.template.spec.containers[name=a].image",
        'metadata.annotations["iam.gke.io/gcp-service-account"]',
        "data.checksum",
        "spec.digest",
    ):
        assert not is_churn(path), path


def test_thousands_of_items_stay_quick() -> None:
    before, after = {"l": list(range(5_000))}, {"l": [*range(4_999), -1]}
    assert [one.kind for one in differences(before, after)] == ["update"]
