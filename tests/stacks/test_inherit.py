"""Bases: how settings merge, what is refused, and where every error and explanation points."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from berth_stacks.errors import SettingsError
from berth_stacks.explain import explain
from berth_stacks.inherit import layers_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

STACK = """\
config:
  berth:extends: [low, high]
  berth:environment: development
  berth:sites:
    here: {cluster: {kubeconfig: k}}
  berth:models:
    chat:
      sites: [here]
      concurrency: {maxConcurrentRequests: 64}
      termination: null
"""
LOW = """\
config:
  berth:extends: [ground]
  berth:clients: {cidrs: [10.0.0.0/8, 192.168.0.0/16]}
  berth:models:
    chat:
      model: smollm2-135m-instruct-q4_1
      engine:
        resources: {cpuRequest: 400m, memoryRequest: 320Mi, memoryLimit: 640Mi}
      concurrency: {slots: 2, maxConcurrentRequests: 8}
      tokens: {maxInput: 1024, maxTotal: 2048}
      autoscaling: {max: 3}
      termination: {drainSeconds: 99}
"""
HIGH = """\
config:
  berth:extends: [ground]
  berth:clients: {cidrs: [172.16.0.0/12]}
  berth:namespace: high
"""
GROUND = """\
config:
  berth:namespace: ground
  berth:metricsNamespaces: [monitoring]
"""


@pytest.fixture
def bases(folder: Path) -> Path:
    for name, text in (("low", LOW), ("high", HIGH), ("ground", GROUND)):
        (folder / "bases" / f"{name}.yaml").write_text(text)
    (folder / "Pulumi.local.yaml").write_text(STACK)
    return folder


@pytest.mark.usefixtures("bases")
def test_maps_merge_lists_and_scalars_replace_null_removes(load: Callable[..., Any]) -> None:
    settings = load(STACK, {}).settings
    chat = settings.models["chat"]
    assert (chat.concurrency.slots, chat.concurrency.max_concurrent_requests) == (2, 64)
    assert settings.clients.cidrs == ["172.16.0.0/12"], "the later base's list, whole"
    assert chat.termination is None
    # `ground` counts once, below both: `high` is not overridden by it.
    assert settings.namespace == "high"
    assert settings.metrics_namespaces == ["monitoring"]


@pytest.mark.usefixtures("bases")
@pytest.mark.parametrize("text", [None, "", "null"])
def test_a_null_at_the_top_however_pulumi_says_it(load: Callable[..., Any], text: str | None) -> None:
    written = STACK + "  berth:namespace: null\n"
    extra = {} if text is None else {"berth:namespace": text}
    loaded = load(written, {"berth:namespace": "null", **extra})
    assert loaded.settings.namespace is None


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        (
            "bases/low.yaml",
            ("slots: 2", "slots: 0"),
            "bases/low.yaml:9: berth:models.chat.concurrency.slots is 0",
        ),
        (
            "bases/low.yaml",
            ("maxTotal: 2048", "maxTotl: 2048"),
            "bases/low.yaml:10: berth:models.chat.tokens.maxTotl",
        ),
        ("bases/low.yaml", ("[ground]", "[gruond]"), "bases/low.yaml:2: berth:extends[0] is 'gruond'"),
        ("bases/ground.yaml", ("config:", "config:\n  berth:extends: [low]"), "which extends this one"),
        ("bases/ground.yaml", ("config:", "config:\n  berth:extends: low"), "a list of names"),
        (
            "bases/ground.yaml",
            ("config:", "config:\n  aws:region: x"),
            "bases/ground.yaml:2: berth:aws:region is in",
        ),
        (
            "bases/ground.yaml",
            ("config:", "config:\n  berth:apiKeys: {a: b}"),
            "bases/ground.yaml:2: berth:apiKeys",
        ),
        ("bases/ground.yaml", ("ground", "{secure: v1:x}"), "namespace is a secret; allowed: plain values"),
        (
            "bases/ground.yaml",
            ("config:", "config:\n  berth:namespace: x"),
            "bases/ground.yaml:3: berth:namespace is",
        ),
        (
            "bases/ground.yaml",
            ("namespace: ground", "namespace: ["),
            "bases/ground.yaml:4: berth: is no YAML",
        ),
        (
            "Pulumi.local.yaml",
            ("termination: null", "rollout: null"),
            "local.yaml:10: berth:models.chat.rollout is null",
        ),
        ("Pulumi.local.yaml", ("[low, high]", "[low, hihg]"), "did you mean 'high'"),
        (
            "Pulumi.local.yaml",
            ("[low, high]", "[low, ../high]"),
            "Pulumi.local.yaml:2: berth:extends[1] is '../high'",
        ),
        (
            "Pulumi.local.yaml",
            ("sites: [here]", "tokens: null"),
            "local.yaml:8: berth:models.chat.tokens is missing",
        ),
    ],
)
def test_errors_point_to_where_it_is_written(
    bases: Path, load: Callable[..., Any], file: str, edit: tuple[str, str], message: str
) -> None:
    path = bases / file
    text = path.read_text().replace(*edit, 1)
    assert text != path.read_text()
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load((bases / "Pulumi.local.yaml").read_text(), {})
    assert message in str(caught.value)


@pytest.mark.usefixtures("bases")
def test_pulumi_runs_it_the_same(run: Callable[..., Any]) -> None:
    """Only the stack's own configuration comes from Pulumi; the program reads the bases itself."""
    done = run(STACK, {"berth:apiKeys": json.dumps({"a": "0123456789abcdef"})}, preview=True)
    names = {o["metadata"]["namespace"] for o in done.objects if o["kind"] == "Deployment"}
    assert "high" in names
    config = next(
        o for o in done.objects if o["kind"] == "ConfigMap" and o["metadata"]["name"] == "chat-gateway"
    )
    assert config["data"]["MAX_CONCURRENT_REQUESTS"] == "64"


def test_explain_says_file_line_and_what_was_overridden(bases: Path) -> None:
    (one,) = explain(bases, "local", "models.chat.concurrency.maxConcurrentRequests")
    assert (one.value, str(one.origin)) == (64, "Pulumi.local.yaml:9")
    assert [(str(before), before.value) for before in one.overrode] == [("bases/low.yaml:9", 8)]
    (cidrs,) = explain(bases, "local", "berth:clients.cidrs")
    assert str(cidrs.origin) == "bases/high.yaml:3"
    assert cidrs.overrode[0].value == ["10.0.0.0/8", "192.168.0.0/16"]


def test_explain_gives_defaults_with_their_reason(bases: Path) -> None:
    (one,) = explain(bases, "local", "models.chat.autoscaling.min")
    assert (one.value, one.origin) == (1, None)
    assert "production needs 2" in one.reason
    found = explain(bases, "local", "models.chat.termination")
    assert all(str(each.removed or "Pulumi.local.yaml:10") == "Pulumi.local.yaml:10" for each in found)
    (grace,) = explain(bases, "local", "models.chat.probes.startupSeconds")
    assert grace.value is None
    assert "twice the measured load" in grace.reason


def test_explain_lists_the_whole_stack(bases: Path) -> None:
    found = {one.key: one for one in explain(bases, "local")}
    assert found["berth:environment"].value == "development"
    assert found["berth:sites.here.cluster.kubeconfig"].value == "k"
    assert found["berth:metricsAdapter"].origin is None
    for one in found.values():
        json.dumps(one.to_json())


@pytest.mark.parametrize("key", ["modles", "models.chat.enigne", "sites.there", "models.chat.tokens.max"])
def test_explain_of_what_is_no_setting(bases: Path, key: str) -> None:
    with pytest.raises(SettingsError, match="is no setting of this stack"):
        explain(bases, "local", key)


def test_explain_shows_no_secret(bases: Path) -> None:
    text = STACK + (
        "  berth:apiKeys: {team: canary-0123456789abcdef, other: {secure: v1:canary}}\n"
        "  berth:images: {registry: {secure: v1:canary}}\n"
        "  berth:connections: {here: {kubeconfig: '{\"canary\": 1}'}}\n"
    ).replace("kubeconfig: k", 'kubeconfig: "{canary: {}}"')
    (bases / "Pulumi.local.yaml").write_text(text.replace("kubeconfig: k}", 'kubeconfig: "{canary: {}}"}'))
    found = explain(bases, "local")
    shown = json.dumps([one.to_json() for one in found])
    assert "canary" not in shown
    assert shown.count("[secret]") >= 4
    keys = [one.key for one in found]
    assert keys.count("berth:apiKeys") == keys.count("berth:connections") == 1
    assert "no such setting" not in shown


def test_the_layers_of_every_shipped_stack(root: Path) -> None:
    for file in (root / "stacks").glob("Pulumi.*.yaml"):
        layers = layers_of(root / "stacks", file.name[7:-5])
        assert layers.values["sites"]
