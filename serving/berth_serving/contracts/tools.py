"""OpenAI's tools, for any engine that can follow a JSON schema.

As TGI does it: the functions are described in the prompt, and the answer is held to a schema: a call is
`{"name": …, "arguments": {…}}`, and where the model may also speak, `{"content": "…"}`. It needs no template
and no parser of the model's own, so it works with every chat model; one trained on a format of its own may
call better through its own engine's parser.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving.contracts.declared import schema_of
from berth_serving.contracts.fields import show
from berth_serving.contracts.tgi import unsupported
from berth_serving.errors import ValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from berth_serving.contracts.fields import Fields
    from berth_serving.contracts.model import Limits

_MOST_TOOLS = 128
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHOICES = ("none", "auto", "required")
_CHOICE = {
    "anyOf": [
        {"enum": [*_CHOICES, None]},
        {
            "type": "object",
            "properties": {
                "type": {"const": "function"},
                "function": {
                    "type": "object",
                    "properties": {"name": {"type": "string"}},
                    "required": ["name"],
                    "additionalProperties": False,
                },
            },
            "required": ["type", "function"],
            "additionalProperties": False,
        },
    ]
}
_CALL = re.compile(r'\s*\{\s*"name"\s*:\s*"([A-Za-z0-9_-]*)"\s*,\s*"arguments"\s*:\s*')
_WORDS = re.compile(r'\s*\{\s*"content"\s*:\s*"')
_CLOSING = re.compile(r"\s*(?:\}\s*)?\Z")
# As much of a JSON string as is whole: no half escape at its end, no half of a surrogate pair.
_WHOLE = re.compile(
    r'(?:[^"\\]|\\(?:["\\/bfnrt]|u(?:[dD][89abAB][0-9a-fA-F]{2}(?:\\u[0-9a-fA-F]{4}|(?=[^\\]))'
    r"|(?![dD][89abAB])[0-9a-fA-F]{4})))*"
)
_DEEPEST = 64
_DEFINITIONS = ("$defs", "definitions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON schema of an object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What a request offers to the model.

    Attributes:
        schema: what every answer must fit.
        prompt: what is said to the model about it.
        named: the client chose the function, which OpenAI's finish reason does not call a tool call.
    """

    schema: dict[str, Any]
    prompt: str
    named: bool


def parse(read: Fields, limits: Limits) -> Offered | None:
    """The tools of a request, or None where none may be called.

    Raises:
        UnsupportedParameter: the engine cannot follow a schema.
        ValidationError: naming field, value and what is allowed.
    """
    listed = read.items("tools", _tool, most=_MOST_TOOLS, optional=True)
    choice = read.raw("tool_choice", _CHOICE)
    # Harmless either way: one call is made at a time.
    read.boolean("parallel_tool_calls")
    read.fixed("functions", [[]], "absent: `tools` replaced it")
    read.fixed("function_call", ["none"], "absent: `tool_choice` replaced it")
    names = [one.name for one in listed]
    if len(set(names)) < len(names):
        raise ValidationError("`tools` must have names of their own", param="tools")
    chosen = _chosen(read, choice, names)
    if chosen == "none" or not listed:
        return None
    if "tools" in limits.unsupported:
        raise unsupported("tools", "tools", limits)
    callable_ = [one for one in listed if chosen in ("auto", "required", one.name)]
    may_speak = chosen == "auto"
    return Offered(
        schema=_schema(callable_, may_speak=may_speak),
        prompt=_prompt(callable_, may_speak=may_speak),
        named=chosen not in _CHOICES,
    )


def _tool(read: Fields) -> Tool:
    read.choice("type", ("function",))
    function = read.needed("function")
    read.finish()
    name = function.required("name", pattern=_NAME.pattern)
    description = function.text("description")
    parameters = function.mapping("parameters") or {"type": "object", "properties": {}}
    function.boolean("strict")
    function.finish()
    return Tool(name=name, description=description, parameters=parameters)


def _chosen(read: Fields, choice: Any, names: Sequence[str]) -> str:
    """`none`, `auto`, `required` or a tool's name, which TGI's clients say as it is."""
    if choice is None:
        return "auto" if names else "none"
    name = choice
    if (
        isinstance(choice, dict)
        and choice.get("type") == "function"
        and isinstance(choice.get("function"), dict)
    ):
        name = choice["function"].get("name")
    elif choice in ("none", "auto"):
        return str(choice)
    allowed = ["none", "auto", *(["required", *names] if names else [])]
    if name not in allowed:
        raise read.wrong("tool_choice", f"one of {', '.join(allowed)}")
    return str(name)


def parse_calls(read: Fields) -> list[dict[str, str]]:
    """The calls of an assistant's earlier message, which a client sends back with their results."""
    return read.items("tool_calls", _call, most=_MOST_TOOLS, optional=True)


def calls_schema() -> dict[str, Any]:
    """What `parse_calls` takes where there has to be one."""
    return {"type": "array", "items": schema_of(_call), "minItems": 1, "maxItems": _MOST_TOOLS}


def _call(read: Fields) -> dict[str, str]:
    read.text("id")
    read.choice("type", ("function",))
    function = read.needed("function")
    read.optional_integer("index", low=0, high=_MOST_TOOLS)
    read.finish()
    made = {"name": function.required("name"), "arguments": function.text("arguments")}
    function.finish()
    return made


def calls_text(content: str, calls: Sequence[Mapping[str, str]]) -> str:
    """An assistant's earlier calls, as it had written them."""
    said = [f'{{"name": {_json(one["name"])}, "arguments": {one["arguments"] or "{}"}}}' for one in calls]
    return "\n".join([content, *said] if content else said)


def result_message(called: str, content: str) -> dict[str, str]:
    """What a function answered, as a message that every chat template takes."""
    which = f" of the call {called}" if called else ""
    return {"role": "user", "content": f"The result{which}: {content}"}


def with_prompt(messages: Sequence[dict[str, str]], offered: Offered) -> list[dict[str, str]]:
    """The messages, the last of which also says what may be called."""
    *before, last = messages
    return [*before, {**last, "content": f"{last['content']}\n---\n{offered.prompt}"}]


def _prompt(listed: Sequence[Tool], *, may_speak: bool) -> str:
    functions = [
        {"name": one.name, "description": one.description, "parameters": one.parameters} for one in listed
    ]
    words = ' If none of them helps, answer in words as JSON {"content": your answer}.' if may_speak else ""
    return (
        "Answer by calling one of these functions, as JSON "
        f'{{"name": function name, "arguments": its arguments}}.{words}\n{_json(functions)}'
    )


def _schema(listed: Sequence[Tool], *, may_speak: bool) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    answers = [_object(content={"type": "string"})] if may_speak else []
    for index, one in enumerate(listed):
        arguments = _moved(one, f"{index}.", definitions)
        answers.append(_object(name={"const": one.name}, arguments=arguments))
    whole: dict[str, Any] = answers[0] if len(answers) == 1 else {"anyOf": answers}
    return {**whole, "$defs": definitions} if definitions else whole


def _object(**properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [*properties],
        "additionalProperties": False,
    }


def _moved(tool: Tool, prefix: str, definitions: dict[str, Any]) -> dict[str, Any]:
    """A tool's parameters, their definitions moved to the whole schema's root under names of their own."""
    for name in _DEFINITIONS:
        below = tool.parameters.get(name, {})
        if not isinstance(below, dict):
            raise ValidationError(f"`tools` {tool.name}: {name} must be an object", param="tools")
        definitions |= {prefix + key: _pointed(one, tool.name, prefix) for key, one in below.items()}
    rest = {key: value for key, value in tool.parameters.items() if key not in _DEFINITIONS}
    parameters: dict[str, Any] = _pointed(rest, tool.name, prefix)
    # What a function does not declare, it does not take; a small model would go on inventing.
    if "properties" in parameters or not parameters:
        parameters = {"type": "object", "additionalProperties": False, **parameters}
    return parameters


def _pointed(value: Any, tool: str, prefix: str, depth: int = 0) -> Any:
    """A schema whose references point to where its definitions were moved."""
    if depth > _DEEPEST:
        raise ValidationError(f"`tools` {tool}: nested more than {_DEEPEST} deep", param="tools")
    if isinstance(value, list):
        return [_pointed(one, tool, prefix, depth + 1) for one in value]
    if not isinstance(value, dict):
        return value
    made = {key: _pointed(one, tool, prefix, depth + 1) for key, one in value.items()}
    reference = value.get("$ref")
    if isinstance(reference, str):
        _, where, name = (*reference.split("/", 2), "", "")[:3]
        if not reference.startswith("#/") or where not in _DEFINITIONS:
            raise ValidationError(
                f"`tools` {tool}: $ref {show(reference)} must point into its own $defs", param="tools"
            )
        made["$ref"] = f"#/$defs/{prefix}{name}"
    return made


class CallText:
    """Turns the text of an answer into OpenAI's deltas, piece by piece."""

    def __init__(self) -> None:
        self._text = ""
        self._kind = ""
        self._begun = False
        self.called = False

    def add(self, text: str) -> list[dict[str, Any]]:
        """Take a piece of the answer; what it adds."""
        self._text += text
        deltas: list[dict[str, Any]] = []
        if not self._kind:
            if found := _CALL.match(self._text):
                self._kind, self.called = "arguments", True
                deltas.append(_first(found[1]))
            elif found := _WORDS.match(self._text):
                self._kind = "content"
            else:
                return []
            self._text = self._text[found.end() :]
        more = self._arguments() if self._kind == "arguments" else self._content()
        return [*deltas, *([more] if more else [])]

    def _arguments(self) -> dict[str, Any] | None:
        # The last bracket closes the call, not its arguments: it waits until more comes.
        found = _CLOSING.search(self._text)
        end = found.start() if found else len(self._text)
        piece, self._text = self._text[:end], self._text[end:]
        piece = piece if self._begun else piece.lstrip()
        self._begun = self._begun or bool(piece)
        return _more(piece) if piece else None

    def _content(self) -> dict[str, Any] | None:
        found = _WHOLE.match(self._text) if self._kind == "content" else None
        if found is None:
            return None
        raw, self._text = found[0], self._text[found.end() :]
        if self._text.startswith('"'):
            self._kind = "done"
        return {"content": _unescaped(raw)} if raw else None


def _unescaped(raw: str) -> str:
    try:
        return str(msgspec.json.decode(f'"{raw}"'.encode()))
    except msgspec.MsgspecError:
        return raw


def _first(name: str) -> dict[str, Any]:
    function = {"name": name, "arguments": ""}
    call = {"index": 0, "id": f"call_{secrets.token_hex(12)}", "type": "function", "function": function}
    return {"tool_calls": [call]}


def _more(piece: str) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}


def message_of(text: str) -> tuple[dict[str, Any], bool]:
    """The message of a whole answer, and whether it calls."""
    reader = CallText()
    content, arguments = "", ""
    call: dict[str, Any] | None = None
    for delta in reader.add(text):
        content += delta.get("content", "")
        for one in delta.get("tool_calls", []):
            call = call or {key: one[key] for key in ("id", "type", "function")}
            arguments += one["function"]["arguments"]
    if call is None:
        return {"content": content, "tool_calls": []}, False
    call["function"] = {**call["function"], "arguments": arguments}
    return {"content": None, "tool_calls": [call]}, True


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
