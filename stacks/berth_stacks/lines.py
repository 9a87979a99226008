"""Which line of a stack's file a setting is on.

Values never come from here: Pulumi merges and decrypts those.
"""

from collections.abc import Iterator
from pathlib import Path

import yaml

from berth_stacks.errors import Path as SettingPath
from berth_stacks.errors import Problem, SettingsError

NAMESPACE = "berth:"


class StackFile:
    """A `Pulumi.<stack>.yaml`, remembered by lines."""

    def __init__(self, path: Path, stack: str) -> None:
        """Read it. A file that is not there has no lines: `pulumi` was told to take another one.

        Raises:
            SettingsError: it is not YAML, says a key twice, or has no `config` mapping.
        """
        self.name = path.name
        self._lines: dict[SettingPath, int] = {}
        if not path.is_file():
            return
        try:
            root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            problem = Problem((), f"is no YAML: {error.problem}", "a mapping of config keys")
            raise SettingsError(stack, [(f"{self.name}:{line}", problem)]) from None
        config = _value(root, "config")
        doubles = [(line, path) for line, path in self._walk(config)]
        if doubles:
            problems = [
                (
                    f"{self.name}:{line}",
                    Problem(path, "is there twice", "one value", "the last one would win silently"),
                )
                for line, path in doubles
            ]
            raise SettingsError(stack, problems)

    @property
    def keys(self) -> list[str]:
        """The top-level settings of ours in the file."""
        return [str(path[0]) for path in self._lines if len(path) == 1]

    def where(self, path: SettingPath) -> str:
        """File and line of a setting, or of the nearest one around it that is in the file."""
        for length in range(len(path), 0, -1):
            if path[:length] in self._lines:
                return f"{self.name}:{self._lines[path[:length]]}"
        return self.name

    def _walk(self, config: yaml.Node | None) -> Iterator[tuple[int, SettingPath]]:
        if not isinstance(config, yaml.MappingNode):
            return
        for key, value in config.value:
            name = str(key.value)
            # Pulumi takes a key without a namespace for one of the project, which is called berth too.
            if name.startswith(NAMESPACE) or ":" not in name:
                yield from self._note((name.removeprefix(NAMESPACE),), key, value)

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


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key and isinstance(value, yaml.Node):
                return value
    return None
