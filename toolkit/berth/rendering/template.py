"""One object as a Helm template: literal but for its slots, whatever texts are in it."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .slots import NamespaceRef
from .yamltext import dump

if TYPE_CHECKING:
    from berth.deployer.values import Path

    from .slots import Slot


def reference(keys: tuple[str, ...]) -> str:
    """How a template names a value."""
    return ".Values." + ".".join(keys)


def literal(text: str) -> str:
    """Text that Helm prints as it is, braces included."""
    return text.replace("{{", '{{ "{{" }}')


class _Marks:
    """Words that stand in a document for expressions until it is text; none occurs in the document."""

    def __init__(self, document: Any) -> None:
        text = json.dumps(_shown(document), ensure_ascii=False)
        word = next(word for n in itertools.count() if (word := f"BERTH{n}SLOT") not in text)
        self._word = word
        self.values: list[str] = []
        self.optional: list[tuple[str, str]] = []

    def value(self, expression: str) -> str:
        """A text that becomes an expression."""
        self.values.append(expression)
        return f"{self._word}V{len(self.values) - 1}X"

    def key(self, name: str, slot: Slot) -> str:
        """A key that becomes a property which is there only where its value is."""
        parent, last = reference(slot.keys[:-1]), slot.keys[-1]
        self.optional.append((f'if hasKey {parent} "{last}"', f"{_key(name)}: {_value(slot)}"))
        return f"{name}{self._word}O{len(self.optional) - 1}X"  # so that it is sorted by its name

    def resolved(self, text: str) -> str:
        """The document's text with every mark replaced."""

        def property_of(found: re.Match[str]) -> str:
            condition, line = self.optional[int(found[2])]
            return f"{found[1]}{{{{- {condition} }}}}\n{found[1]}{line}\n{found[1]}{{{{- end }}}}"

        text = re.sub(rf'(?m)^( *)"?[^\s"]*{self._word}O(\d+)X"?: null$', property_of, text)
        return re.sub(rf"{self._word}V(\d+)X", lambda found: self.values[int(found[1])], text)


def _shown(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shown(item) for item in value]
    return value.key if isinstance(value, NamespaceRef) else value


def _key(name: str) -> str:
    return literal(dump({name: 0}).rpartition(":")[0])


def _value(slot: Slot) -> str:
    return f"{{{{ {reference(slot.keys)} | toJson }}}}"


def template(
    manifest: Any, slots: tuple[Slot, ...], extra: Mapping[Path, str], flag: tuple[str, ...] = ()
) -> str:
    """The object's template.

    Args:
        manifest: the object, with `NamespaceRef`s.
        slots: what of it is a value.
        extra: whole expressions instead of the value's own, by path.
        flag: the keys of the value that says whether the object is there; always without it.
    """
    marks = _Marks(manifest)
    document = manifest
    for slot in slots:
        document = _marked(document, slot.path, slot, marks, extra)
    text = dump(_with_namespaces(document, marks))
    text = marks.resolved(literal(text))
    return f"{{{{- if {reference(flag)} }}}}\n{text}{{{{- end }}}}\n" if flag else text


def _marked(value: Any, path: Path, slot: Slot, marks: _Marks, extra: Mapping[Path, str]) -> Any:
    head, rest = path[0], path[1:]
    if isinstance(value, list) and isinstance(head, int):
        return [
            _marked(item, rest, slot, marks, extra) if index == head else item
            for index, item in enumerate(value)
        ]
    if rest:
        inner = _marked(value[head], rest, slot, marks, extra)
        return {key: inner if key == head else item for key, item in value.items()}
    kept = {key: item for key, item in value.items() if key != head}
    if slot.path in extra:
        return {**kept, str(head): marks.value(extra[slot.path])}
    if not slot.optional:
        return {**kept, str(head): marks.value(_value(slot))}
    return {**kept, marks.key(str(head), slot): None}


def _with_namespaces(value: Any, marks: _Marks) -> Any:
    if isinstance(value, NamespaceRef):
        return marks.value(f"{{{{ .Values.namespaces.{value.key}.name | toJson }}}}")
    if isinstance(value, Mapping):
        return {key: _with_namespaces(item, marks) for key, item in value.items()}
    return [_with_namespaces(item, marks) for item in value] if isinstance(value, list) else value


def namespace_template(manifest: Any, key: str) -> str:
    """A namespace, which somebody else may make instead."""
    marks = _Marks(manifest)
    named = {**manifest, "metadata": {**manifest["metadata"], "name": NamespaceRef(key)}}
    text = marks.resolved(literal(dump(_with_namespaces(named, marks))))
    return f"{{{{- if .Values.namespaces.{key}.create }}}}\n{text}{{{{- end }}}}\n"
