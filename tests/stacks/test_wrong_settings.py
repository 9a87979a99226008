"""Wrong settings: each named with file, line, key, value, what is allowed, and the next step; all at once."""

from __future__ import annotations

import json
import re
import traceback
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
from berth_stacks.errors import SettingsError
from berth_stacks.lines import ConfigFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GOOD = """\
config:
  berth:environment: local
  berth:sites:
    local: {cluster: {kubeconfig: k}, nodeAddress: 198.18.0.2}
  berth:clients:
    cidrs: [198.18.0.0/15]
  berth:models:
    chat:
      model: smollm2-135m-instruct-q4_1
      sites: [local]
      engine:
        resources: {cpuRequest: 400m, cpuLimit: "1", memoryRequest: 320Mi, memoryLimit: 640Mi}
      concurrency: {slots: 2, maxConcurrentRequests: 34}
      tokens:
        maxInput: 1024
        maxTotal: 2048
      autoscaling:
        max: 3
      service:
        type: NodePort
        nodePort: 30080
      termination:
        preStopSeconds: 2
        drainSeconds: 15
"""
NODE_PORT = "type: NodePort\n        nodePort: 30080"

# What is replaced in the good file, by what, the line that is named, and words of the message.
WRONG: list[tuple[str, str, int, list[str]]] = [
    ("environment: local", "environment: staging", 2, ["'staging'", "local, development, production"]),
    (
        "environment: local",
        "enviroment: local",
        2,
        ["berth:enviroment does not exist", "did you mean 'environment'"],
    ),
    ("local: {", "local: {nodeSelectors: {a: b}, ", 4, ["nodeSelectors does not exist", "'nodeSelector'"]),
    ("local: {", "local: {simulatedGpus: two, ", 4, ["simulatedGpus is 'two'", "whole number"]),
    ("local: {", "spare: {cluster: {kubeconfig: s}}\n    local: {", 4, ["sites.spare serves no model"]),
    ("sites: [local]", "sites: [lokal]", 10, ["sites[0] is 'lokal'", "did you mean 'local'"]),
    ("sites: [local]", "sites: []", 10, ["is empty"]),
    ("sites: [local]", "sites: [local, local]", 10, ["sites[1]", "again"]),
    ("sites: [local]", "sites: local", 10, ["is 'local'", "a list"]),
    ("cidrs: [198.18.0.0/15]", "cidrs: [198.18.0.1/15]", 6, ["cidrs[0] is '198.18.0.1/15'", "host bits"]),
    ("cidrs: [198.18.0.0/15]", "cidrs: []", 6, ["clients.cidrs", "clients.namespaces"]),
    ("cidrs: [198.18.0.0/15]", "cidrs: [0.0.0.0/0]", 6, ["0.0.0.0/0", "clients.publicReason"]),
    (
        "cidrs: [198.18.0.0/15]",
        "namespaces: [apps]",
        5,
        ["clients.cidrs is empty", "NodePort", "clients.publicReason"],
    ),
    ("    chat:", "    Chat:", 8, ["key 'Chat'", "lower-case"]),
    (
        "smollm2-135m-instruct-q4_1",
        "smolm2-135m",
        9,
        ["'smolm2-135m'", "did you mean 'smollm2-135m-instruct-q4_1'"],
    ),
    (
        "engine:\n",
        "engine:\n        name: lama.cpp\n",
        12,
        ["engine.name is 'lama.cpp'", "did you mean 'llama.cpp'"],
    ),
    ("cpuRequest: 400m", "cpuRequest: 400", 12, ["cpuRequest is 400", "'500m'"]),
    ("cpuRequest: 400m, ", "", 12, ["cpuRequest is missing", "quantity"]),
    ("memoryLimit: 640Mi", "memoryLimit: 64Mi", 12, ["memoryLimit is 64Mi", "memoryRequest, which is 320Mi"]),
    ("cpuLimit: ", "cpuLimits: ", 12, ["cpuLimits does not exist", "'cpuLimit'"]),
    ("slots: 2", "slots: 0", 13, ["slots is 0", "1 to 1024"]),
    ("slots: 2", 'slots: "2"', 13, ["slots is '2'", "whole number"]),
    ("maxConcurrentRequests: 34", "maxConcurrentRequests: 1", 13, ["is 1", "at least slots, which is 2"]),
    ("maxInput: 1024", "maxInput: 2048", 15, ["maxInput is 2048", "less than maxTotal"]),
    ("maxTotal: 2048", "maxTotal: 16384", 16, ["maxTotal is 16384", "8192"]),
    ("        max: 3", "        min: 3", 17, ["autoscaling.max is missing", "whole number"]),
    ("        max: 3", "        max: 3\n        min: -1", 19, ["min is -1", "0 to max"]),
    ("        max: 3", "        max: 3\n        min: 4", 19, ["min is 4", "at most max, which is 3"]),
    ("        max: 3", "        max: 3\n        target: -1", 19, ["target is -1", "above 0"]),
    ("        max: 3", "        max: 3\n        metric: gpu", 19, ["metric is 'gpu'", "queue_depth, cpu"]),
    ("        max: 3", "        max: 3\n        scaleUp: {pods: 0}", 19, ["scaleUp.pods is 0"]),
    ("autoscaling:", "replicas: 2\n      autoscaling:", 17, ["replicas is given", "Autoscaler owns"]),
    ("autoscaling:\n        max: 3", "rollout: {maxSurge: 1}", 8, ["replicas is missing", "autoscaled"]),
    (
        "autoscaling:",
        "rollout: {maxSurge: 0}\n      autoscaling:",
        17,
        ["maxUnavailable is 0", "maxSurge is 0"],
    ),
    ("nodePort: 30080", "nodePort: 80", 21, ["nodePort is 80", "30000"]),
    (NODE_PORT, "nodePort: 30080", 20, ["nodePort is given", "NodePort", "ClusterIP"]),
    ("type: NodePort", "type: nodeport", 20, ["'nodeport'", "NodePort"]),
    ("preStopSeconds: 2", "preStopSeconds: -2", 23, ["preStopSeconds is -2"]),
    (
        "drainSeconds: 15",
        "drainSeconds: 15\n        graceSeconds: 21",
        25,
        ["graceSeconds is 21", "at least 22"],
    ),
    ("drainSeconds: 15", "drainSecond: 15", 24, ["drainSecond does not exist", "'drainSeconds'"]),
    ("termination:", "gpu: {count: 1}\n      termination:", 22, ["gpu.count", "--simulated-gpus"]),
    ("termination:", "probes: {startupSeconds: 5}\n      termination:", 22, ["startupSeconds is 5", "10 to"]),
    ("termination:", "weights: {storage: hostPath}\n      termination:", 22, ["'hostPath'", "ephemeral"]),
    (
        "termination:",
        "placement: {tolerations: [{}]}\n      termination:",
        22,
        ["tolerations[0].key is missing"],
    ),
    ("config:\n", "config:\n  berth:metricsAdapter: {mode: none}\n", 18, ["metric is queue_depth", "none"]),
    (
        "config:\n",
        "config:\n  berth:metricsAdapter: {mode: mine}\n",
        2,
        ["'mine'", "owned, existing, keda, none"],
    ),
    (
        "config:\n",
        "config:\n  berth:metricsAdapter: {mode: existing, replicas: 2}\n",
        2,
        ["only with mode owned"],
    ),
    (
        "config:\n",
        "config:\n  berth:metricsAdapter: {mode: keda}\n",
        2,
        ["prometheus is missing", "mode keda"],
    ),
    (
        "config:\n",
        "config:\n  berth:metricsAdapter: {prometheus: 'http://a:9090'}\n",
        2,
        ["prometheus is given", "instead of our adapter"],
    ),
    (
        "config:\n",
        "config:\n  berth:metricsAdapter: {mode: keda, prometheus: a}\n",
        2,
        ["prometheus is 'a'", "http://"],
    ),
    ("config:\n", "config:\n  berth:models: {}\n", 8, ["berth:models is there twice"]),
    ("config:\n", "config:\n  berth:namespace: Room\n", 2, ["berth:namespace is 'Room'"]),
    ("config:\n", "config:\n  berth:apiKeysSecret: keys\n", 2, ["beside apiKeys"]),
]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [(old, new, (line, words)) for old, new, line, words in WRONG],
    ids=lambda value: str(value)[:50],
)
def test_one_mistake(
    load: Callable[..., Any], overlay: Callable[..., Any], old: str, new: str, expected: tuple[int, list[str]]
) -> None:
    line, words = expected
    text = GOOD.replace(old, new, 1)
    assert text != GOOD
    with pytest.raises(SettingsError) as caught:
        load(text, {key: value for key, value in overlay().items() if key != "berth:connections"})
    message = str(caught.value)
    first, *problems = message.split("\n  ")
    assert first == "stack 'local': 1 setting is wrong"
    (problem,) = problems
    assert problem.startswith(f"Pulumi.local.yaml:{line}: berth:"), message
    assert "allowed: " in problem
    for word in words:
        assert word in problem, message
    assert not re.search(r"\b[a-z]+_[a-z_]+\b(?<!queue_depth)", problem.replace("q4_1", "")), (
        "a name of the code"
    )


def test_the_good_file_is_good(run: Callable[..., Any]) -> None:
    assert run(GOOD).outputs["endpoints"] == {"local/chat": "http://198.18.0.2:30080"}


def test_a_key_that_can_be_no_name(load: Callable[..., Any], overlay: Callable[..., Any]) -> None:
    text = GOOD.replace("local: {", "Local_1: {").replace("sites: [local]", "sites: [Local_1]")
    with pytest.raises(
        SettingsError, match=r"yaml:4: berth:sites\.Local_1 has the key 'Local_1'; .*lower-case"
    ):
        load(text, {key: value for key, value in overlay().items() if key != "berth:connections"})


def test_every_mistake_is_listed(load: Callable[..., Any]) -> None:
    text = GOOD
    for old, new in (
        ("slots: 2", "slots: 0"),
        ("maxInput: 1024", "maxInput: 2048"),
        ("drainSeconds: 15", "drainSeconds: 15\n        graceSeconds: 3"),
        ("        max: 3", "        max: 3\n        min: 4"),
    ):
        text = text.replace(old, new, 1)
    with pytest.raises(SettingsError) as caught:
        load(text)
    message = str(caught.value)
    assert message.startswith("stack 'local': 4 settings are wrong\n")
    for line in (13, 15, 19, 26):
        assert f"Pulumi.local.yaml:{line}: " in message, message


def test_every_unknown_key_and_wrong_type_is_listed(load: Callable[..., Any]) -> None:
    text = (
        GOOD.replace("slots: 2", "slot: 2")
        .replace("nodePort: 30080", "nodePort: high")
        .replace("max: 3", "max: 3.5")
    )
    with pytest.raises(SettingsError) as caught:
        load(text)
    problems = [".".join(map(str, problem.path)) for problem in caught.value.problems]
    assert sorted(problems) == [
        "models.chat.autoscaling.max",
        "models.chat.concurrency.slot",
        "models.chat.service.nodePort",
    ]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("berth:connections", None, ["sites.local has no ground", "berth up local"]),
        ("berth:connections", "[]", ["berth:connections is no mapping"]),
        ("berth:connections", "{secret", ["berth:connections is no mapping"]),
        ("berth:connections", '{"lokal": {}}', ["is for no site", "did you mean 'local'"]),
        ("berth:connections", '{"local": {"kubeconfig": "k"}}', ["sites.local.nodeAddress is missing"]),
        ("berth:connections", '{"local": {"kubeconfig": ""}}', ["kubeconfig is not as it should be"]),
        ("berth:connections", '{"local": {"token": "t"}}', ["token does not exist"]),
        ("berth:connections", '{"local": {"context": "c"}}', ["has neither kubeconfig nor stack"]),
        ("berth:images", '{"refs": {"model-server": "a:latest"}}', ["'a:latest'", "digest"]),
    ],
)
def test_what_is_laid_over_the_file(
    load: Callable[..., Any],
    overlay: Callable[..., dict[str, str]],
    key: str,
    value: str | None,
    words: list[str],
) -> None:
    extra = overlay()
    del extra[key]
    if value is not None:
        extra[key] = value
    text = GOOD.replace("local: {cluster: {kubeconfig: k}, nodeAddress: 198.18.0.2}", "local: {}")
    with pytest.raises(SettingsError) as caught:
        load(text, extra)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "", (False, ["images.refs.model-server is registry.example/model-server:fixture", "by digest"])),
        ("min: 2", "min: 1", (True, ["autoscaling.min is 1", "at least 2"])),
        ("min: 2", "min: 2\n    ", (True, [])),
        (
            "local: {",
            "local: {simulatedGpus: 2, ",
            (True, ["simulatedGpus is given", "only in environment local"]),
        ),
        (
            "autoscaling:\n        max: 3\n        min: 2",
            "replicas: 1",
            (True, ["replicas is 1", "at least 2"]),
        ),
        (
            "config:\n",
            "config:\n  berth:metricsAdapter: {replicas: 1}\n",
            (True, ["metricsAdapter.replicas is 1"]),
        ),
    ],
)
def test_production(
    load: Callable[..., Any],
    overlay: Callable[..., dict[str, str]],
    old: str,
    new: str,
    expected: tuple[bool, list[str]],
) -> None:
    digests, words = expected
    good = GOOD.replace("environment: local", "environment: production").replace(
        "max: 3", "max: 3\n        min: 2"
    )
    extra = overlay(registry="registry.example", digest=digests)
    if not words:
        load(good.replace(old, new, 1), extra)
        return
    with pytest.raises(SettingsError) as caught:
        load(good.replace(old, new, 1), extra)
    for word in words:
        assert word in str(caught.value)


def test_an_image_of_another_registry(
    load: Callable[..., Any], overlay: Callable[..., dict[str, str]]
) -> None:
    images = {**json.loads(overlay()["berth:images"]), "registry": "registry.example/berth"}
    with pytest.raises(SettingsError, match=r"refs\.model-server is berth\.local/.*registry\.example/berth"):
        load(GOOD, {**overlay(), "berth:images": json.dumps(images)})


def test_two_sites_that_are_one(load: Callable[..., Any], overlay: Callable[..., dict[str, str]]) -> None:
    text = GOOD.replace(
        "local: {cluster: {kubeconfig: k}, nodeAddress: 198.18.0.2}", "local: {}\n    second: {}"
    )
    text = text.replace("sites: [local]", "sites: [local, second]")
    site = json.loads(overlay()["berth:connections"])["local"]
    extra = {**overlay(), "berth:connections": json.dumps({"local": site, "second": site})}
    with pytest.raises(SettingsError) as caught:
        load(text, extra)
    assert "Pulumi.local.yaml:5: berth:sites.second is the same cluster and namespace as site 'local'" in str(
        caught.value
    )
    assert "service.nodePort is 30080" in str(caught.value)


def test_two_models_that_get_one_name(
    load: Callable[..., Any], overlay: Callable[..., dict[str, str]]
) -> None:
    """Components are called <site>-<model>."""
    head, models = GOOD.split("    chat:\n")
    models = models.replace("nodePort: 30080", "port: 80").replace("sites: [local]", "sites: [SITE]")
    text = head.replace("    local: {", "    a: {").replace(
        "  berth:clients", "    a-b: {cluster: {kubeconfig: l}, nodeAddress: 198.18.0.2}\n  berth:clients"
    )
    text += f"    b-chat:\n{models.replace('SITE', 'a')}    chat:\n{models.replace('SITE', 'a-b')}"
    extra = {key: value for key, value in overlay().items() if key != "berth:connections"}
    with pytest.raises(SettingsError) as caught:
        load(text, extra)
    (problem,) = str(caught.value).split("\n  ")[1:]
    assert "berth:models.chat would be called a-b-chat at site 'a-b', as a/b-chat is" in problem
    load(text.replace("    b-chat:", "    b-talk:"), extra)


@pytest.mark.parametrize(
    "text", ["canary-0123456789", '"canary-0123456789"', '["canary-0123456789"]', "{canary"]
)
@pytest.mark.parametrize("secret", [("berth:apiKeys",), ()])
def test_keys_that_are_no_mapping_are_not_shown(
    load: Callable[..., Any], overlay: Callable[..., dict[str, str]], text: str, secret: tuple[str, ...]
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(GOOD, {**overlay(), "berth:apiKeys": text}, secret=secret)
    assert "berth:apiKeys is no mapping; allowed: keys of clients by name; ./berth key <stack>" in str(
        caught.value
    )
    shown = "".join(traceback.format_exception(caught.value))
    assert "canary" not in shown


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("berth:clients", "{canary"),
        ("berth:clients", '{"cidrs": ["canary"]}'),
        ("berth:clients", '"canary"'),
        ("berth:sites", '{"local": "canary"}'),
        ("berth:environment", "canary"),
        ("berth:images", '{"registry": "r.example", "refs": {"model-server": "canary:1"}}'),
    ],
)
def test_a_secret_setting_is_not_shown(
    load: Callable[..., Any], overlay: Callable[..., dict[str, str]], key: str, text: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load(GOOD, {**overlay(), key: text}, secret=("berth:apiKeys", key))
    assert "is not as it should be" in str(caught.value)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_a_secret_is_never_shown(run: Callable[..., Any], overlay: Callable[..., dict[str, str]]) -> None:
    extra = {**overlay(), "berth:apiKeys": json.dumps({"tester": "short-canary"})}
    with pytest.raises(Exception, match="16 printable") as caught:
        run(GOOD, extra)
    assert "short-canary" not in str(caught.value)


def test_no_yaml(tmp_path: Path) -> None:
    file = tmp_path / "Pulumi.local.yaml"
    file.write_text("config:\n  berth:sites: {a: b\n  c: d\n")
    with pytest.raises(SettingsError, match=r"Pulumi\.local\.yaml:3: berth: is no YAML"):
        ConfigFile(file, "local")


def test_an_error_ends_the_program_without_a_traceback() -> None:
    assert issubclass(SettingsError, pulumi.RunError)
