"""No setting is without effect: changing any one changes a field of a resource, or is refused.

Every setting of the schema is enumerated from the settings' own types, and has a case in `effect_cases.py`:
another value, and what else that needs before and after. Labels, annotations, descriptions and hashes of
resources do not count. Many cases share one program: each is a model, a pool or a site of its own in it.
"""

from __future__ import annotations

import copy
import importlib.util
import itertools
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from berth_stacks.errors import SettingsError
from berth_stacks.settings import Settings, Stack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Json = dict[str, Any]


def _module(name: str) -> Any:
    """A file of cases beside this one; tests are no package, so it is named for those after it."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


frames, cases, clouds, watching, routed, hybrid = (
    _module(f"effect_{name}")
    for name in ("frames", "cases", "cases_clouds", "cases_monitoring", "cases_routers", "cases_hybrid")
)
CASES = [*cases.CASES, *clouds.CLOUD_CASES, *routed.CASES]
ALONE = {**cases.ALONE, **routed.ALONE, **hybrid.ALONE}
_AT_ONCE = 20
_SILENT = re.compile(r"labels|annotations|description|descriptions|checksum|hash", re.IGNORECASE)


def leaves(group: type[Settings], path: str = "") -> Iterable[str]:
    """Every setting below a group, by its path; entries of mappings and lists as `*`."""
    for name, field in group.model_fields.items():
        where = f"{path}{field.alias or name}"
        words = str(field.annotation)
        inner = [
            kind for kind in _parts(field.annotation) if isinstance(kind, type) and issubclass(kind, Settings)
        ]
        if not inner:
            yield where
            continue
        many = "dict[" in words or "list[" in words
        yield from leaves(inner[0], f"{where}.*." if many else f"{where}.")
        if "list[" in words:
            yield where


def _parts(annotation: Any) -> list[Any]:
    return [annotation, *(part for inner in get_args(annotation) for part in _parts(inner))]


def with_changes(settings: Json, changes: Json) -> Json:
    """A copy of settings with others set by path; None removes."""
    settings = copy.deepcopy(settings)
    for path, value in changes.items():
        *groups, last = path.split(".")
        place: Any = settings
        for group in groups:
            place = place[int(group)] if isinstance(place, list) else place.setdefault(group, {})
        if value is None:
            place.pop(last, None)
        else:
            place[int(last) if isinstance(place, list) else last] = copy.deepcopy(value)
    return settings


def _text(settings: Json) -> str:
    """A stack's file; JSON is YAML, and quicker to write and read."""
    return json.dumps({"config": {f"berth:{key}": value for key, value in settings.items()}})


def heard(value: Any) -> Any:
    """A resource's inputs without what only people or tools read."""
    if isinstance(value, dict):
        return {key: heard(item) for key, item in value.items() if not _SILENT.fullmatch(key)}
    return [heard(item) for item in value] if isinstance(value, list) else value


def test_every_setting_has_a_case() -> None:
    known = {case.path for case in CASES} | ALONE.keys() | {*map(watching.path_of, watching.CASES)}
    assert set(leaves(Stack)) == known


def _batches() -> list[tuple[str, int, list[Any]]]:
    found = []
    for kind, of_kind in itertools.groupby(sorted(CASES, key=lambda one: one.kind), lambda one: one.kind):
        listed = list(of_kind)
        starts = range(0, len(listed), _AT_ONCE)
        found += [(kind, start, listed[start : start + _AT_ONCE]) for start in starts]
    return found


@pytest.mark.parametrize(
    ("kind", "batch"), [pytest.param(kind, batch, id=f"{kind}-{start}") for kind, start, batch in _batches()]
)
def test_another_value_changes_a_resource(run: Callable[..., Any], kind: str, batch: list[Any]) -> None:
    """Each case is there with its value (…b), and what it begins with once for all that share it (…a)."""
    frame = frames.FRAMES[kind]
    entries: Json = {}
    bases: dict[str, str] = {}
    for i, case in enumerate(batch):
        before = with_changes(frame.entry, case.needs)
        base = bases.setdefault(json.dumps(before, sort_keys=True), f"x{len(bases):02}a")
        entries[base] = before
        entries[f"x{i:02}b"] = with_changes(before, {case.inner: case.value})
    text = _text(frame.around(entries))
    done = run(text, frames.EXTRA, "effects", preview=True, others=frames.OTHERS)
    seen: dict[str, list[str]] = {key: [] for key in entries}
    for resource in done.resources:
        found = [key for key in entries if re.search(rf"(^|-){key}(-|$)", resource.name)]
        if found and not resource.typ.startswith("berth:"):
            (key,) = found
            shown = json.dumps(
                [resource.typ, resource.name, heard(frames.plain(resource.inputs))], sort_keys=True
            )
            seen[key].append(shown.replace(key, "KEY"))
    silent = []
    for i, case in enumerate(batch):
        base = bases[json.dumps(with_changes(frame.entry, case.needs), sort_keys=True)]
        after = sorted(seen[f"x{i:02}b"])
        if not after or after == sorted(seen[base]):
            silent.append(case.path)
    assert not silent, "these settings change nothing"


@pytest.mark.parametrize("path", [path for path, case in ALONE.items() if case.value is not None])
def test_another_value_of_the_stack_changes_a_resource(run: Callable[..., Any], path: str) -> None:
    case = ALONE[path]

    def render(changes: Json) -> str:
        settings = with_changes(cases.STACK, changes)
        text = _text(settings)
        done = run(text, case.extra, "effects", preview=True, others=frames.OTHERS)
        listen = frames.plain if case.audible else lambda inputs: heard(frames.plain(inputs))
        found = [[r.typ, r.name, listen(r.inputs)] for r in done.resources]
        return json.dumps(sorted(found, key=lambda one: one[:2]), sort_keys=True)

    assert render(case.needs) != render({**case.needs, case.real: case.value})


@pytest.fixture(scope="module")
def known() -> dict[str, str]:
    """Resources of stacks that were rendered, by the stack's text."""
    return {}


@pytest.fixture
def monitored(run: Callable[..., Any], known: dict[str, str]) -> Callable[..., str]:
    """The resources of a stack with other settings of monitoring; each is rendered once."""

    def render(changes: Json, listen: Callable[[Any], Any] | None = None) -> str:
        hear = listen or (lambda inputs: heard(frames.plain(inputs)))
        text = _text(with_changes(watching.STACK, changes))
        if text not in known:
            done = run(text, frames.EXTRA | watching.PASSWORD, "effects", preview=True)
            found = [[one.typ, one.name, hear(one.inputs)] for one in done.resources]
            known[text] = json.dumps(sorted(found, key=lambda one: one[:2]), sort_keys=True)
        return known[text]

    return render


@pytest.mark.parametrize("inner", watching.CASES)
def test_another_value_of_monitoring_changes_a_resource(monitored: Callable[..., str], inner: str) -> None:
    value, needs = watching.CASES[inner]
    before = {f"monitoring.{key}": one for key, one in watching.before(inner, needs).items()}
    # Labels are otherwise not listened to: these pick who is watched.
    listen = frames.plain if inner == "operator.labels" else None
    if inner == "mode":
        assert monitored({}) != monitored({"monitoring": None})
        return
    # Another kind of receiver is another receiver.
    path = f"monitoring.{inner}".removesuffix(".kind")
    assert monitored(before, listen) != monitored({**before, path: value}, listen)


@pytest.mark.parametrize("path", [path for path, case in ALONE.items() if case.refused])
def test_another_value_is_refused(load: Callable[..., Any], path: str) -> None:
    case = ALONE[path]
    for changes, wrong in ((case.needs, False), ({**case.needs, **case.refused}, True)):
        settings = with_changes(cases.STACK, changes)
        text = _text(settings)
        if not wrong:
            load(text, case.extra, "effects")
            continue
        with pytest.raises(SettingsError) as caught:
            load(text, case.extra, "effects")
        assert case.words in str(caught.value)


def test_the_frames_are_right(load: Callable[..., Any]) -> None:
    """What every case begins with is nothing that is refused."""
    for frame in frames.FRAMES.values():
        text = _text(frame.around({"x00a": frame.entry}))
        load(text, frames.EXTRA, "effects")
