"""The OpenAPI 3.1 document of this very server: its routes, its limits, what its engine honours.

Requests are described by the code that validates them (`contracts.declared`), TGI's and the lesson's answers
by the structures that are written. OpenAI's answers are described here; the tests hold them to real ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from berth_serving import errors, feedback
from berth_serving.contracts import openai as openai_contract
from berth_serving.contracts import plain, tgi, tokenize
from berth_serving.contracts.declared import schema_of
from berth_serving.contracts.model import VERSION
from berth_serving.gateway import managed

if TYPE_CHECKING:
    from berth_serving.contracts.fields import Fields
    from berth_serving.contracts.model import Limits
    from berth_serving.settings import GatewaySettings

    Schema = dict[str, Any]

_STRUCTS = (tgi.Generated, tgi.StreamEvent, plain.PlainAnswer, tokenize.SimpleToken)
# What is left of a field where the engine cannot honour it: its name here, and in each contract's schema.
_NEUTRAL: dict[str, dict[str, Schema]] = {
    "best_of": {"best_of": {"enum": [1, None]}},
    "n": {"n": {"enum": [1, None]}},
    "watermark": {"watermark": {"enum": [False, None]}},
    "decoder_input_details": {"decoder_input_details": {"enum": [False, None]}},
    "adapter_id": {"adapter_id": {"enum": ["", None]}},
    "top_n_tokens": {"top_n_tokens": {"enum": [0, None]}},
    "suffix": {"suffix": {"enum": ["", None]}},
    "typical_p": {"typical_p": {"type": "null"}},
    "seed": {"seed": {"type": "null"}},
    "min_p": {"min_p": {"enum": [0, None]}},
    "repetition_penalty": {"repetition_penalty": {"enum": [1, None]}},
    "frequency_penalty": {"frequency_penalty": {"enum": [0, None]}},
    "presence_penalty": {"presence_penalty": {"enum": [0, None]}},
    "logit_bias": {"logit_bias": {"enum": [{}, None]}},
    "ignore_eos": {"ignore_eos": {"enum": [False, None]}},
    "tools": {"tools": {"enum": [[], None]}, "tool_choice": {"enum": ["none", "auto", None]}},
    "response_format": {"response_format": {"type": "null"}},
    "logprobs": {
        "logprobs": {"enum": [False, None]},
        "top_logprobs": {"enum": [0, None]},
        "details": {"enum": [False, None]},
    },
}
_FAILURES = (
    errors.Unauthenticated,
    errors.Forbidden,
    errors.RequestTimeout,
    errors.PayloadTooLarge,
    errors.WrongMediaType,
    errors.GenerationFailed,
    errors.Overloaded,
    errors.NotReady,
    errors.Internal,
)
_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MAYBE: Schema = {"type": ["string", "null"]}
_LOGPROB: Schema = {
    "type": "object",
    "properties": {
        "token": _TEXT,
        "logprob": {"type": ["number", "null"]},
        "bytes": {"type": "array", "items": _COUNT},
    },
    "required": ["token", "logprob", "bytes"],
}


def document(settings: GatewaySettings, limits: Limits) -> Schema:
    """The whole document."""
    paths: Schema = {}

    def add(path: str, operation: Schema, method: str = "post") -> None:
        paths.setdefault(path, {})[method] = operation

    def both(read: Fields) -> object:
        return tgi.parse(read, limits, compat=False, stream=False)

    generate = _request(limits, both, lambda read: plain.parse(read, limits))
    add("/generate", _operation("generate", generate, {"anyOf": [_ref("Generated"), _ref("PlainAnswer")]}))
    stream = _request(limits, lambda read: tgi.parse(read, limits, compat=False, stream=True))
    add("/generate_stream", _operation("generateStream", stream, None))
    root = _request(
        limits,
        lambda read: tgi.parse(read, limits, compat=True, stream=False),
        lambda read: plain.parse(read, limits),
    )
    listed = {"anyOf": [{"type": "array", "items": _ref("Generated")}, _ref("PlainAnswer")]}
    add("/", _operation("generateOrStream", root, listed, streams=True))
    chat = _request(limits, lambda read: openai_contract.parse_chat(read, limits))
    add("/v1/chat/completions", _operation("chat", chat, _ref("ChatCompletion"), streams=True, openai=True))
    completion = _request(limits, lambda read: openai_contract.parse_completion(read, limits))
    add("/v1/completions", _operation("complete", completion, _ref("Completion"), streams=True, openai=True))
    tokens = {"type": "array", "items": _ref("SimpleToken")}
    text = _request(limits, lambda read: tokenize.parse(read, limits))
    add("/tokenize", _operation("tokenize", text, tokens))
    templated = {
        "type": "object",
        "properties": {"tokenize_response": tokens, "templated_text": _TEXT},
        "required": ["tokenize_response", "templated_text"],
    }
    add("/chat_tokenize", _operation("chatTokenize", chat, templated))
    counted = _object(counted={"type": "boolean"})
    say = _operation("feedback", _request(limits, feedback.parse), counted)
    answers = say["responses"]
    answers["202"] = answers.pop("200")
    add("/feedback", say)
    add("/v1/models", _look("models", _ref("Models")), "get")
    add("/info", _look("info", _ref("Info")), "get")
    add("/openapi.json", _look("openapi", {"type": "object"}), "get")
    for path in ("/", "/health"):
        add(path, _probe(f"health{path.strip('/').title()}", "the gateway itself is well"), "get")
    add("/ready", _probe("ready", "the model answers and requests are welcome", fails=True), "get")
    _add_managed(add, settings, limits)
    _, components = msgspec.json.schema_components(_STRUCTS, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"{settings.model_id} on Berth",
            "version": VERSION,
            "description": "TGI's, OpenAI's and the lesson's contract. Null is absent; no field is ignored.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, **_schemas(settings)},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _add_managed(add: Any, settings: GatewaySettings, limits: Limits) -> None:
    """What a managed cloud calls; it asks its callers for its own key."""
    if settings.managed_cloud == "sagemaker":
        body = _request(
            limits,
            lambda read: tgi.parse(read, limits, compat=True, stream=False),
            lambda read: openai_contract.parse_chat(read, limits),
            lambda read: openai_contract.parse_completion(read, limits),
        )
        add("/ping", _probe("ping", "the model answers", fails=True), "get")
        add("/invocations", {**_operation("invoke", body, {}, streams=True), "security": []})
    elif settings.managed_cloud == "vertex":
        body = _request(limits, lambda read: managed.parse_vertex(read, limits))
        texts = {"type": "object", "properties": {"predictions": {"type": "array", "items": _TEXT}}}
        add(settings.vertex_health_route, _probe("ping", "the model answers", fails=True), "get")
        add(settings.vertex_predict_route, {**_operation("predict", body, texts), "security": []})


def _request(limits: Limits, *reads: Any) -> Schema:
    shapes = [_honoured(schema_of(read), limits) for read in reads]
    return shapes[0] if len(shapes) == 1 else {"oneOf": shapes}


def _honoured(schema: Schema, limits: Limits) -> Schema:
    """A request's schema without what the engine cannot honour."""
    if "anyOf" in schema:
        return {**schema, "anyOf": [_honoured(one, limits) for one in schema["anyOf"]]}
    properties: Schema = {}
    neutral = {key: value for name in limits.unsupported for key, value in _NEUTRAL.get(name, {}).items()}
    for name, one in schema["properties"].items():
        if name in neutral:
            properties[name] = neutral[name]
        elif name == "grammar":
            kinds = [
                kind
                for kind in one["properties"]["type"]["enum"]
                if f"grammar.{kind}" not in limits.unsupported
            ]
            kept = {**one["properties"], "type": {"enum": kinds}}
            properties[name] = {**one, "properties": kept} if kinds else {"type": "null"}
        elif one.get("type") == ["object", "null"] and "properties" in one:
            properties[name] = _honoured(one, limits)
        else:
            properties[name] = one
    return {**schema, "properties": properties}


def _operation(
    name: str, body: Schema, answer: Schema | None, *, streams: bool = False, openai: bool = False
) -> Schema:
    content: Schema = {} if answer is None else {"application/json": {"schema": answer}}
    if streams or answer is None:
        content["text/event-stream"] = {"schema": _events(openai=openai)}
    return {
        "operationId": name,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "200": {"description": "the answer", "headers": _headers(), "content": content},
            **_failures(openai=openai),
        },
    }


def _events(*, openai: bool) -> Schema:
    """An event of a stream: JSON in its data."""
    data = {**_TEXT, "contentMediaType": "application/json"}
    data["contentSchema"] = {"anyOf": [_ref("StreamEvent"), _ref("Failure")]}
    if openai:
        # The last one is [DONE], which is no JSON.
        data = {**_TEXT, "description": "JSON of Chunk or OpenAiFailure, and at last [DONE]"}
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}


def _failures(*, openai: bool) -> Schema:
    shape = _ref("OpenAiFailure" if openai else "Failure")
    kinds: dict[int, str] = {errors.ValidationError.status: "a field is wrong, or not honoured by the engine"}
    if openai:
        kinds |= {400: "a field is wrong", 404: "another model is asked for"}
    kinds |= {kind.status: (kind.__doc__ or "").splitlines()[0] for kind in _FAILURES}
    made: Schema = {}
    for status, text in sorted(kinds.items()):
        headers = _headers("retry-after") if status in (429, 503) else _headers()
        content = {"application/json": {"schema": shape}}
        made[str(status)] = {"description": text, "headers": headers, "content": content}
    return made


def _headers(*more: str) -> Schema:
    return {name: {"schema": _TEXT, "required": name == "x-request-id"} for name in ("x-request-id", *more)}


def _look(name: str, answer: Schema) -> Schema:
    content = {"application/json": {"schema": answer}}
    refused = {"description": "no valid key", "content": {"application/json": {"schema": {}}}}
    drained = {"description": "the server is shutting down", "content": {"application/json": {"schema": {}}}}
    return {
        "operationId": name,
        "responses": {
            "200": {"description": "so it is", "headers": _headers(), "content": content},
            "401": refused,
            "403": {"description": "the key lacks the scope", "content": refused["content"]},
            "503": drained,
        },
    }


def _probe(name: str, text: str, *, fails: bool = False) -> Schema:
    content = {"application/json": {"schema": {"type": "object"}}}
    responses = {"200": {"description": text, "headers": _headers(), "content": content}}
    if fails:
        responses["503"] = {"description": "not so", "headers": _headers(), "content": content}
    return {"operationId": name, "security": [], "responses": responses}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(optional: tuple[str, ...] = (), /, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _schemas(settings: GatewaySettings) -> Schema:
    fine = {"message": _TEXT, "type": _TEXT, "param": _MAYBE, "code": _MAYBE}
    model = {"const": settings.model_id}
    head = {
        "id": _TEXT,
        "created": _COUNT,
        "model": model,
        "system_fingerprint": _TEXT,
        "usage": _ref("Usage"),
    }
    reason = {"enum": ["stop", "length", "tool_calls"]}
    called = _object(name=_TEXT, arguments=_TEXT)
    call = _object(id=_TEXT, type={"const": "function"}, function=called)
    position = {
        **_LOGPROB,
        "properties": {**_LOGPROB["properties"], "top_logprobs": {"type": "array", "items": _LOGPROB}},
    }
    listed = {"type": "array", "items": position}
    logprobs = {"anyOf": [{"type": "null"}, _object(content=listed, refusal=_MAYBE)]}
    message = _object(
        ("tool_calls",),
        role={"const": "assistant"},
        content=_MAYBE,
        refusal={"type": "null"},
        annotations={"type": "array", "maxItems": 0},
        tool_calls={"type": "array", "items": call},
    )
    said = _object(index={"const": 0}, message=message, logprobs=logprobs, finish_reason=reason)
    likely = _object(
        tokens={"type": "array", "items": _TEXT},
        token_logprobs={"type": "array", "items": {"type": ["number", "null"]}},
        top_logprobs={"type": ["array", "null"]},
        text_offset={"type": "array", "items": _COUNT},
    )
    wrote = _object(
        index={"const": 0}, text=_TEXT, logprobs={"anyOf": [{"type": "null"}, likely]}, finish_reason=reason
    )
    one = {"minItems": 1, "maxItems": 1, "type": "array"}
    card = _object(id=model, object={"const": "model"}, created=_COUNT, owned_by=_TEXT)
    return {
        "Failure": _object(error=_TEXT, error_type=_TEXT),
        "OpenAiFailure": _object(error=_object(**fine)),
        "Usage": _object(prompt_tokens=_COUNT, completion_tokens=_COUNT, total_tokens=_COUNT),
        "ChatCompletion": _object(
            object={"const": "chat.completion"}, choices={**one, "items": said}, **head
        ),
        "Completion": _object(object={"const": "text_completion"}, choices={**one, "items": wrote}, **head),
        "Chunk": _object(
            ("usage",),
            id=_TEXT,
            object={"enum": ["chat.completion.chunk", "text_completion"]},
            created=_COUNT,
            model=model,
            system_fingerprint=_TEXT,
            choices={"type": "array", "maxItems": 1},
            usage={"anyOf": [{"type": "null"}, _ref("Usage")]},
        ),
        "Models": _object(object={"const": "list"}, data={**one, "items": card}),
        "Info": _object(
            model_id=model,
            model_sha=_MAYBE,
            max_concurrent_requests=_COUNT,
            max_input_tokens=_COUNT,
            max_total_tokens=_COUNT,
            max_stop_sequences=_COUNT,
            max_best_of=_COUNT,
            version=_TEXT,
        ),
    }
