"""The schema for editors: current, right about the shipped files, and of use against wrong ones."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from berth_stacks import schema
from jsonschema import Draft202012Validator

Json = dict[str, Any]


def _tables(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"{name}_tables", Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    made = schema.schema()
    Draft202012Validator.check_schema(made)
    return Draft202012Validator(made)


def test_it_is_current(root: Path) -> None:
    written = (root / "stacks" / schema.FILE).read_text(encoding="utf-8")
    assert written == schema.text(), "run ./berth schema --write"


def test_every_shipped_file_passes_and_names_it(root: Path, validator: Draft202012Validator) -> None:
    files = [*(root / "stacks").glob("Pulumi.*.yaml"), *(root / "stacks" / "bases").glob("*.yaml")]
    assert len(files) >= 12
    for file in files:
        text = file.read_text(encoding="utf-8")
        place = "../schema.json" if file.parent.name == "bases" else "schema.json"
        assert text.startswith(f"# yaml-language-server: $schema={place}\n"), file.name
        assert [*validator.iter_errors(yaml.safe_load(text))] == [], file.name
        if file.parent.name != "bases":
            assert len(text.splitlines()) <= 80, f"{file.name} is longer than a page"


def test_wrong_values_and_keys_fail(validator: Draft202012Validator) -> None:
    """What is wrong in itself: types, words, limits, keys. What must fit together only the program says."""
    wrong = _tables("test_wrong_settings")
    clouds = _tables("test_wrong_stacks")
    texts = [wrong.GOOD.replace(old, new, 1) for old, new, _, _ in wrong.WRONG]
    texts += [clouds.GOOD[name].replace(old, new, 1) for name, old, new, _, _ in clouds.WRONG]
    failed = 0
    for text in texts:
        content = yaml.safe_load(text)
        failed += not validator.is_valid(content)
    # The others contradict something else in the stack, or the catalogue.
    assert failed >= 42, f"{failed} of {len(texts)}"
    for good in (wrong.GOOD, *clouds.GOOD.values()):
        assert validator.is_valid(yaml.safe_load(good))


def test_every_setting_has_a_description_and_a_title() -> None:
    made = schema.schema()["$defs"]
    for name, group in made.items():
        if name.endswith(schema._PARTIAL):
            continue
        for key, field in group["properties"].items():
            assert field.get("description"), f"{name}.{key}"


def test_the_hints_are_the_components_own(load: Any) -> None:
    """Limits that editors are told are those at which components refuse: one below, and one above."""
    cases = {
        "concurrency.slots": (1, 1024),
        "concurrency.maxConcurrentRequests": (2, 100_000),
        "termination.preStopSeconds": (0, 300),
        "termination.drainSeconds": (1, 3600),
        "probes.startupSeconds": (10, 14400),
        "probes.readinessPeriodSeconds": (1, 60),
        "probes.livenessPeriodSeconds": (1, 15),
        "rollout.maxSurge": (0, 100),
        "service.port": (1, 65535),
        "gateway.payloadLimitBytes": (1024, 1_000_000_000),
        "gateway.maxStopSequences": (0, 64),
        "engine.threads": (0, 1024),
        "autoscaling.max": (1, 1000),
        "autoscaling.scaleUp.pods": (1, 1000),
        "autoscaling.scaleUp.windowSeconds": (0, 3600),
        "autoscaling.scaleUp.periodSeconds": (1, 1800),
    }
    effects = _tables("test_effects")
    tables = effects.frames
    made = schema.schema()["$defs"]
    for path, (low, high) in cases.items():
        *groups, last = path.split(".")
        owner: Json = made["Model"]
        for group in groups:
            owner = made[owner["properties"][group]["$ref"].rpartition("/")[2]]
        told = owner["properties"][last]
        assert (told["maximum"]) == high, path
        for value, right in ((low, True), (high, True), (low - 1, False), (high + 1, False)):
            needs = {"probes": {}} if path.startswith("probes") else {}
            changes = {**needs, f"{path}": value}
            if path == "concurrency.slots":
                changes["concurrency.maxConcurrentRequests"] = 100_000
            if path == "rollout.maxSurge" and value == 0:
                changes["rollout.maxUnavailable"] = 1
            model = effects.with_changes(tables.CPU_MODEL, changes)
            settings = tables.stack_of({"here": tables.OWN}, {"chat": model})
            text = effects._text(settings)
            if right:
                load(text, tables.EXTRA)
                continue
            with pytest.raises(ValueError, match=last):
                load(text, tables.EXTRA)
