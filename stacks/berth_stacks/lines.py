"""A stack's file or a base, with the line of every setting in it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from berth_stacks.errors import Path as SettingPath
from berth_stacks.errors import Problem, SettingsError

NAMESPACE = "berth:"


class _Secret:
    """Stands for a value that is encrypted in the file."""

    def __repr__(self) -> str:
        return "[secret]"


SECRET: Final = _Secret()


try:  # the one in C where PyYAML has it: stacks are read at every start
    from yaml import CSafeLoader as _SafeLoader
except ImportError:  # pragma: no cover - a PyYAML that was built without libyaml
    from yaml import SafeLoader as _SafeLoader  # type: ignore[assignment] # the same, slower


class _Loader(_SafeLoader):
    """YAML 1.2's core types, as Pulumi reads them: `yes`, `on` and dates are text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?",
        "-+.0123456789",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("merge", r"<<", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), [*_first])


class ConfigFile:
    """A `Pulumi.<stack>.yaml` or a base: its settings, and the line of each."""

    def __init__(self, path: Path, stack: str, shown: str = "") -> None:
        """Read it. A file that is not there has no lines: `pulumi` was told to take another one.

        Args:
            path: the file.
            stack: whose settings are read, for messages.
            shown: what messages call the file; its name if "".

        Raises:
            SettingsError: it is not YAML, or says a key twice.
        """
        self.name = shown or path.name
        self.values: dict[str, Any] = {}
        """The settings of ours, secret ones as `SECRET`. A program's values come from Pulumi instead."""
        self.foreign: dict[str, int] = {}
        """Keys of other namespaces, and their lines."""
        self._lines: dict[SettingPath, int] = {}
        if not path.is_file():
            return
        try:
            loader = _Loader(path.read_text(encoding="utf-8"))
            root = loader.get_single_node()
            config = _value(root, "config")
            doubles = [*self._walk(config)]
            if doubles:
                problem = ("is there twice", "one value", "the last one would win silently")
                raise SettingsError(stack, [(self._at(line), Problem(at, *problem)) for line, at in doubles])
            content = loader.construct_mapping(config, deep=True) if config is not None else {}
        except UnicodeDecodeError:
            raise SettingsError(stack, [(self.name, Problem((), "is no text", "UTF-8"))]) from None
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            problem_there = Problem((), f"is no YAML: {error.problem}", "a mapping of config keys")
            raise SettingsError(stack, [(self._at(line), problem_there)]) from None
        self.values = {
            str(key).removeprefix(NAMESPACE): _masked(value)
            for key, value in content.items()
            if str(key) not in self.foreign
        }

    @property
    def keys(self) -> list[str]:
        """The top-level settings of ours in the file."""
        return [str(path[0]) for path in self._lines if len(path) == 1]

    def line(self, path: SettingPath) -> int | None:
        """The line of a setting, or of the nearest one around it; None where nothing of it is here."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return None

    def where(self, path: SettingPath) -> str:
        """File and line of a setting, or of the nearest one around it that is in the file."""
        line = self.line(path)
        return self.name if line is None else self._at(line)

    def _at(self, line: int) -> str:
        return f"{self.name}:{line}"

    def _walk(self, config: yaml.Node | None) -> Iterator[tuple[int, SettingPath]]:
        if not isinstance(config, yaml.MappingNode):
            return
        for key, value in config.value:
            name = str(key.value)
            # Pulumi takes a key without a namespace for one of the project, which is called berth too.
            if name.startswith(NAMESPACE) or ":" not in name:
                yield from self._note((name.removeprefix(NAMESPACE),), key, value)
            else:
                self.foreign[name] = key.start_mark.line + 1

    def _note(self, path: SettingPath, key: yaml.Node, value: yaml.Node) -> Iterator[tuple[int, SettingPath]]:
        line = key.start_mark.line + 1
        if path in self._lines:
            yield line, path
        self._lines[path] = line
        if isinstance(value, yaml.MappingNode):
            for inner, item in value.value:
                yield from self._note((*path, str(inner.value)), inner, item)
        elif isinstance(value, yaml.SequenceNode):
            for i, item in enumerate(value.value):
                yield from self._note((*path, i), item, item)


def _value(node: yaml.Node | None, key: str) -> yaml.MappingNode | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key and isinstance(value, yaml.MappingNode):
                return value
    return None


def _masked(value: Any) -> Any:
    """The value, with what is encrypted in it as `SECRET`; keys as text, as Pulumi makes them."""
    if isinstance(value, dict):
        if value.keys() == {"secure"} and isinstance(value["secure"], str):
            return SECRET
        return {str(key): _masked(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_masked(item) for item in value]
    return value
