"""What the settings' own docstrings say of each field, for people: `berth explain` and editors."""

import ast
import inspect
import sys
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel


@cache
def described(group: type[BaseModel]) -> dict[str, str]:
    """The docstring of each field of a group, by its key in stack files, on one line."""
    found: dict[str, str] = {}
    for owner in reversed(group.__mro__):
        if owner is not BaseModel and issubclass(owner, BaseModel):
            written = _of_module(owner.__module__).get(owner.__name__, {})
            for name, field in owner.model_fields.items():
                if name in written:
                    found[field.alias or name] = written[name]
    return found


def fields_of(group: type[BaseModel]) -> dict[str, Any]:
    """The fields of a group by their key in stack files."""
    return {field.alias or name: field for name, field in group.model_fields.items()}


def without_none(annotation: Any) -> Any:
    """`X` of `X | None`; anything else as it is."""
    options = [option for option in get_args(annotation) if option is not type(None)]
    return options[0] if type(None) in get_args(annotation) else annotation


def group_of(annotation: Any) -> tuple[type[BaseModel] | None, str]:
    """The group of settings that an annotation names, and how it is held: "", "dict" or "list"."""
    kind = without_none(annotation)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind, ""
    held = getattr(kind, "__origin__", None)
    inner = get_args(kind)[-1] if held in {dict, list} else None
    if held in {dict, list} and isinstance(inner, type) and issubclass(inner, BaseModel):
        return inner, held.__name__
    return None, ""


@cache
def _of_module(name: str) -> dict[str, dict[str, str]]:
    source = inspect.getsourcefile(sys.modules[name])
    tree = ast.parse(Path(source).read_text(encoding="utf-8")) if source else ast.Module([], [])
    return {node.name: _of_class(node) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_class(node: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, text in zip(node.body, node.body[1:], strict=False):
        match field, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(words))),
            ):
                found[name] = " ".join(words.split())
    return found
