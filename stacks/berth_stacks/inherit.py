"""A stack's settings laid over the bases that it extends, remembering where each came from.

`berth:extends: [aws, production]` in a stack's file, or in a base, names `bases/<name>.yaml` beside it. A
base has a `config` map of the same keys. Every base counts once, before whatever extends it; a later one
is laid over an earlier one, and the stack's own file over all:

- maps merge, key by key;
- everything else, lists too, replaces what was there;
- `null` removes what was inherited, so that the setting's default holds again.
"""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth_stacks.errors import Path as SettingPath
from berth_stacks.errors import Problem, SettingsError
from berth_stacks.lines import SECRET, ConfigFile

EXTENDS = "extends"
BASES = "bases"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_NOT_IN_BASES = {
    "apiKeys": "API keys are secrets of one stack",
    "siteToken": "it is a secret of one stack",
    "connections": "a machine says it for one stack, when it starts a run",
}
Located = tuple[str, Problem]


@dataclass(frozen=True)
class Origin:
    """Where a setting was written.

    Attributes:
        file: the file, as people see it.
        line: the line, None where the value was laid over the file.
        value: what was written there; None for a map, whose parts have origins of their own.
    """

    file: str
    line: int | None
    value: Any = None

    def __str__(self) -> str:
        return self.file if self.line is None else f"{self.file}:{self.line}"


class Layers:
    """Settings of several files, laid over each other."""

    def __init__(self, stack: str) -> None:
        """Begin without any."""
        self.values: dict[str, Any] = {}
        """The merged settings by key."""
        self.files: list[ConfigFile] = []
        """What was laid, the lowest first."""
        self.removed: dict[SettingPath, Origin] = {}
        """What a `null` took away, and where that is written."""
        self._stack = stack
        self._origins: dict[SettingPath, list[Origin]] = {}

    def lay(self, file: ConfigFile, values: Mapping[str, Any]) -> list[Located]:
        """Lay a file's values over what is there; gives what is wrong with them in themselves."""
        self.files.append(file)
        problems: list[Located] = []
        self._merge(self.values, (), values, file, problems)
        return problems

    def origins(self, path: SettingPath) -> list[Origin]:
        """Everywhere that a setting is written, the one that holds last; none for a default."""
        return self._origins.get(path, [])

    @property
    def paths(self) -> list[SettingPath]:
        """Every setting that is written somewhere."""
        return [*self._origins]

    def where(self, path: SettingPath) -> str:
        """File and line of a setting, or of the nearest one around it that is written somewhere."""
        for length in range(len(path), 0, -1):
            part = path[:length]
            if found := self._origins.get(part):
                return str(found[-1])
            if part in self.removed:
                return str(self.removed[part])
        return self.files[-1].name if self.files else f"Pulumi.{self._stack}.yaml"

    def _merge(
        self,
        target: dict[str, Any],
        path: SettingPath,
        values: Mapping[str, Any],
        file: ConfigFile,
        problems: list[Located],
    ) -> None:
        for key, value in values.items():
            here = (*path, key)
            if value is None:
                if key not in target:
                    given, allowed = "is null", "a value; null removes what a base says, and none says this"
                    problems.append((file.where(here), Problem(here, given, allowed, "remove the line")))
                    continue
                del target[key]
                self._forget(here)
                self.removed[here] = Origin(file.name, file.line(here))
            elif isinstance(value, Mapping):
                if not isinstance(target.get(key), dict):
                    self._forget(here)
                    target[key] = {}
                self._note(here, file, None)
                self._merge(target[key], here, value, file, problems)
            else:
                before = self.origins(here)
                self._forget(here)
                self._origins[here] = before
                target[key] = value
                self._note(here, file, value)
                self._note_items(here, value, file)

    def _note(self, path: SettingPath, file: ConfigFile, value: Any) -> None:
        self.removed.pop(path, None)
        self._origins.setdefault(path, []).append(Origin(file.name, file.line(path), value))

    def _note_items(self, path: SettingPath, value: Any, file: ConfigFile) -> None:
        items = enumerate(value) if isinstance(value, list) else ()
        for i, item in items:
            self._note((*path, i), file, item)
            self._note_items((*path, i), item, file)
            for key, inner in item.items() if isinstance(item, Mapping) else ():
                self._note((*path, i, key), file, inner)
                self._note_items((*path, i, key), inner, file)

    def _forget(self, path: SettingPath) -> None:
        for known in [known for known in self._origins if known[: len(path)] == path]:
            del self._origins[known]


def layers_of(directory: Path, stack: str) -> Layers:
    """A stack's settings as its files have them, secret ones as `SECRET`; nothing is decrypted.

    Raises:
        SettingsError: a file is no YAML, a base is missing, in a circle or has keys that no base may have, or
            a null removes nothing.
    """
    file = ConfigFile(directory / f"Pulumi.{stack}.yaml", stack)
    return lay_all(directory, stack, file, file.values)


def lay_all(directory: Path, stack: str, file: ConfigFile, values: Mapping[str, Any]) -> Layers:
    """The bases that the values extend, and the values over them.

    Args:
        directory: where the stack's file is, and the folder `bases`.
        stack: its name.
        file: the stack's file, for lines.
        values: the stack's own settings, `extends` among them.

    Raises:
        SettingsError: as for `layers_of`.
    """
    layers = Layers(stack)
    problems: list[Located] = []
    bases = _Bases(directory / BASES, stack)
    for base in bases.below(file, values.get(EXTENDS)):
        problems += layers.lay(base, {key: v for key, v in base.values.items() if key != EXTENDS})
    own = {key: value for key, value in values.items() if key != EXTENDS}
    problems += layers.lay(file, own)
    problems += bases.problems
    if problems:
        raise SettingsError(stack, problems)
    return layers


class _Bases:
    """The bases of one stack, each read once."""

    def __init__(self, folder: Path, stack: str) -> None:
        self.problems: list[Located] = []
        self._folder = folder
        self._stack = stack
        self._done: set[str] = set()

    def below(self, file: ConfigFile, extends: Any, chain: tuple[str, ...] = ()) -> list[ConfigFile]:
        """What lies below a file, the lowest first."""
        found: list[ConfigFile] = []
        if extends is None:
            return found
        if not isinstance(extends, list):
            allowed = "a list of names, such as [defaults]"
            self.problems.append((file.where((EXTENDS,)), Problem((EXTENDS,), f"is {extends!r}", allowed)))
            return found
        for i, name in enumerate(extends):
            path: SettingPath = (EXTENDS, i)
            if problem := self._wrong(path, name, chain):
                self.problems.append((file.where(path), problem))
            elif name not in self._done:
                self._done.add(name)
                base = ConfigFile(self._folder / f"{name}.yaml", self._stack, f"{BASES}/{name}.yaml")
                self._check(base)
                found += [*self.below(base, base.values.get(EXTENDS), (*chain, name)), base]
        return found

    def _wrong(self, path: SettingPath, name: Any, chain: tuple[str, ...]) -> Problem | None:
        there = sorted(file.stem for file in self._folder.glob("*.yaml"))
        if name in chain:
            return Problem(path, f"is {name!r}, which extends this one", "bases that form no circle")
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name not in there:
            near = difflib.get_close_matches(str(name), there, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'?" if near else f"a base is a file {BASES}/<name>.yaml"
            return Problem(
                path, f"is {name!r}", "one of " + (", ".join(there) or "none: no base exists"), hint
            )
        return None

    def _check(self, base: ConfigFile) -> None:
        for key, line in base.foreign.items():
            problem = Problem(
                (key,),
                "is in a base",
                "settings of the namespace berth",
                "Pulumi reads it only there: move it to the stack's file",
            )
            self.problems.append((f"{base.name}:{line}", problem))
        for key in base.keys:
            path: SettingPath = (key,)
            if key in _NOT_IN_BASES:
                problem = Problem(path, "is in a base", "settings that stacks share", _NOT_IN_BASES[key])
                self.problems.append((base.where(path), problem))
        for path in _secrets((), base.values):
            allowed = "plain values in a base"
            remedy = "a secret is encrypted for one stack: set it there"
            self.problems.append((base.where(path), Problem(path, "is a secret", allowed, remedy)))


def _secrets(path: SettingPath, value: Any) -> list[SettingPath]:
    if value is SECRET:
        return [path]
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    return [found for key, item in items for found in _secrets((*path, key), item)]
