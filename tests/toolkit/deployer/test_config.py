"""Stack files as the Pulumi CLI reads and writes them, secrets included."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from berth.deployer import ConfigError, load_config, load_project, set_secret

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = """
name: demo
runtime: {name: python, options: {virtualenv: venv}}
main: src
stackConfigDir: stacks
config:
  region: here
  aws:zone: {value: z}
  size: {type: integer, default: 3}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "Pulumi.yaml").write_text(PROJECT)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "src").mkdir()
    return tmp_path


def stack(project: Path, text: str, name: str = "dev") -> None:
    (project / "stacks" / f"Pulumi.{name}.yaml").write_text(text)


def test_values_are_text_and_objects_are_json(project: Path) -> None:
    stack(
        project,
        """
config:
  demo:text: hello
  demo:number: 3
  demo:float: 1.5
  demo:flag: true
  demo:word: yes
  demo:date: 2026-01-02
  demo:octal: 0123
  demo:object: {a: [1, two, {b: false}], on: off}
  demo:nothing: null
  region: there
""",
    )
    config, secret = load_config(project, "dev")
    assert config == {
        "demo:region": "there",
        "aws:zone": "z",
        "demo:size": "3",
        "demo:text": "hello",
        "demo:number": "3",
        "demo:float": "1.5",
        "demo:flag": "true",
        "demo:word": "yes",
        "demo:date": "2026-01-02",
        "demo:octal": "0123",
        "demo:object": '{"a":[1,"two",{"b":false}],"on":"off"}',
    }
    assert secret == frozenset()
    found = load_project(project)
    assert (found.name, found.program, found.python) == ("demo", project / "src", None)


def test_secrets_are_written_and_read_and_nothing_else_changes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack(project, "# a comment\nconfig:\n  demo:a: 1 # beside\n  demo:b: {x: 2}\n\n# at the end\n")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "open sesame")
    set_secret(project, "dev", "key", "canary-ü")
    set_secret(project, "dev", "other:key", "canary-2")
    text = (project / "stacks/Pulumi.dev.yaml").read_text()
    assert "canary" not in text
    assert text.startswith("encryptionsalt: v1:")
    for line in ("# a comment", "  demo:a: 1 # beside", "  demo:b: {x: 2}", "# at the end"):
        assert line in text
    config, secret = load_config(project, "dev")
    assert config["demo:key"] == "canary-ü"
    assert config["other:key"] == "canary-2"
    assert secret == {"demo:key", "other:key"}
    set_secret(project, "dev", "key", "again")
    assert load_config(project, "dev")[0]["demo:key"] == "again"
    assert text.count("secure:") == (project / "stacks/Pulumi.dev.yaml").read_text().count("secure:")

    nested = (
        (project / "stacks/Pulumi.dev.yaml")
        .read_text()
        .replace(
            "  demo:a: 1 # beside",
            "  demo:a:\n    in:\n      - secure: " + text.split("secure: ")[1].split()[0],
        )
    )
    stack(project, nested)
    config, secret = load_config(project, "dev", "open sesame")
    assert config["demo:a"] == '{"in":["canary-ü"]}'
    assert "demo:a" in secret


def test_passphrases_come_from_argument_variable_or_file(
    project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    set_secret(project, "new", "key", "v", "right")
    (tmp_path / "file").write_text("right\n")
    with pytest.raises(ConfigError, match="set PULUMI_CONFIG_PASSPHRASE"):
        load_config(project, "new")
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE_FILE", str(tmp_path / "file"))
    assert load_config(project, "new")[0]["demo:key"] == "v"
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "wrong")
    with pytest.raises(ConfigError, match="the passphrase is wrong"):
        load_config(project, "new")
    assert load_config(project, "new", "right")[0]["demo:key"] == "v"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("config: [", "line 1: not YAML"),
        ("- a", "expected a mapping"),
        ("config: [1]", "`config` is no mapping"),
        ("config: {demo:a: {secure: x}}", "kept by 'passphrase'"),
        (
            "secretsprovider: awskms://alias/x\nencryptedkey: y\nconfig: {demo:a: {secure: x}}",
            "kept by 'awskms://alias/x'",
        ),
        ("encryptionsalt: nonsense\nconfig: {demo:a: {secure: x}}", "encryptionsalt is malformed"),
    ],
)
def test_mistakes_name_the_file(project: Path, text: str, said: str) -> None:
    stack(project, text)
    with pytest.raises(ConfigError) as caught:
        load_config(project, "dev", "p")
    assert said in str(caught.value)
    assert "Pulumi.dev.yaml" in str(caught.value)


def test_missing_files_are_named(project: Path) -> None:
    stack(project, "", "there")
    with pytest.raises(ConfigError, match="stacks here: there"):
        load_config(project, "nowhere")
    (project / "Pulumi.yaml").write_text("name: x\nruntime: nodejs\n")
    with pytest.raises(ConfigError, match="'nodejs'; the deployer runs python"):
        load_project(project)


def test_a_closed_secret_is_said_to_be_one_where_nothing_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE", raising=False)
    monkeypatch.delenv("PULUMI_CONFIG_PASSPHRASE_FILE", raising=False)
    (tmp_path / "Pulumi.yaml").write_text("name: shop\nruntime: python\n")
    file = tmp_path / "Pulumi.prod.yaml"
    config = "config:\n  shop:keys: {a: {secure: AAAA}, b: plain}\n"
    for provider in ("awskms://alias/x?region=eu-central-1", "passphrase"):
        file.write_text(f"secretsprovider: {provider}\nencryptionsalt: v1:AAAA:v1:AAAA\n{config}")
        with pytest.raises(ConfigError, match="--offline"):
            load_config(tmp_path, "prod")
        found, secret = load_config(tmp_path, "prod", closed="closed")
        assert (json.loads(found["shop:keys"]), secret) == ({"a": "closed", "b": "plain"}, {"shop:keys"})
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "wrong")
    with pytest.raises(ConfigError, match="encryptionsalt is malformed"):
        load_config(tmp_path, "prod", closed="closed")
