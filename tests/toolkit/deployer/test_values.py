"""Wire values, and secrets kept out of text in every form."""

from __future__ import annotations

import base64
import json

import pytest
from berth.deployer.values import (
    UNKNOWN,
    Redactor,
    Secret,
    Special,
    decode,
    dotted,
    encode,
    from_json,
    has_unknown,
    mark_secrets,
    parse_path,
    secret_paths,
    shown,
    to_wire,
)


def test_values_survive_the_wire() -> None:
    value = {
        "text": "a",
        "whole": 3,
        "part": 1.5,
        "yes": True,
        "nothing": None,
        "list": [1, {"x": Secret({"deep": ["s"]})}],
        "later": UNKNOWN,
        "secret later": Secret(UNKNOWN),
    }
    assert decode(encode(value)) == value
    assert from_json(json.dumps(to_wire(value))) == value


def test_whole_numbers_are_ints_as_kubernetes_wants_them() -> None:
    found = decode(encode({"port": 80.0, "big": float(2**60)}))
    assert isinstance(found["port"], int)
    assert isinstance(found["big"], float)


def test_output_values_and_resources_are_understood() -> None:
    signature = "4dabf18193072939515e22adb298388d"
    wire = {
        "known": {signature: "d0e6a833031e9bbcd3f4e8bde6ca49a4", "value": "v", "secret": True},
        "unknown": {signature: "d0e6a833031e9bbcd3f4e8bde6ca49a4"},
        "asset": {signature: "c44067f5952c0a294b673a41bacd8c17", "text": "t"},
    }
    found = from_json(json.dumps(wire))
    assert found["known"] == Secret("v")
    assert found["unknown"] is UNKNOWN
    assert isinstance(found["asset"], Special)


def test_secrets_are_found_marked_and_hidden() -> None:
    value = {"a": [{"b": Secret("s")}], "c": Secret(UNKNOWN)}
    assert secret_paths(value) == {("a", 0, "b"), ("c",)}
    assert has_unknown(value)
    assert shown(value) == {"a": [{"b": "[secret]"}], "c": "[secret]"}
    assert mark_secrets({"a": {"b": 1, "c": 2}}, {("a", "b")}) == {"a": {"b": Secret(1), "c": 2}}
    assert "canary" not in repr(Secret("canary"))
    assert "canary" not in f"{Secret('canary')}"


@pytest.mark.parametrize("secret", ["pa55 w/rd\"'", "line one is long\nand line two as well", "ünïcødé"])
def test_redactor_knows_the_forms_in_which_a_secret_is_written(secret: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    forms = [
        secret,
        json.dumps(secret),
        repr(secret),
        base64.b64encode(secret.encode()).decode(),
        base64.urlsafe_b64encode(secret.encode()).decode(),
        secret.splitlines()[0],
    ]
    for form in forms:
        text = redactor.text(f"before {form} after")
        assert form not in text
        assert text.startswith("before ")
        assert text.endswith(" after")


def test_redactor_opens_base64_and_json() -> None:
    redactor = Redactor()
    redactor.add(base64.b64encode(b"-----BEGIN KEY-----\nabcdefghijklmnop\n").decode())
    redactor.add('{"user": {"token": "token-in-json"}}')
    assert redactor.text("abcdefghijklmnop token-in-json") == "[secret] [secret]"
    assert redactor.value({"token-in-json": ["x token-in-json"]}) == {"[secret]": ["x [secret]"]}
    assert "token" not in repr(redactor)


def test_short_values_do_not_blank_out_the_text() -> None:
    redactor = Redactor()
    redactor.add(["1", "dev", True])
    assert redactor.text("1 dev True") == "1 dev True"


def test_paths_read_back_as_written() -> None:
    for path in [("spec", "ports", 0, "name"), ("metadata", "labels", "a.b/c"), ("data", 'quo"te')]:
        assert parse_path(dotted(path)) == path
    assert parse_path("spec.containers[*].image") == ("spec", "containers", "*", "image")
    with pytest.raises(ValueError, match="spec"):
        parse_path("spec..x")
