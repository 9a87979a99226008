"""Routes beside generation: tokens of a text, tools, managed clouds, and the document that describes all."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from berth_serving.contracts.tokenize import tokens_of
from berth_serving.contracts.tools import CallText, message_of
from berth_serving.engines.protocol import Piece
from berth_serving.engines.vocabulary import bytes_of

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER = {
    "name": "get_weather",
    "description": "Current weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "required": ["city"],
        "$defs": {"city": {"type": "string", "maxLength": 12}},
    },
}
TOOLS = [{"type": "function", "function": WEATHER}]


def test_tokenize_says_where_each_token_stands(server: Any) -> None:
    text = "Hé 😀 wor"
    tokens = server.post("/tokenize", {"inputs": text}).json()
    assert [set(one) for one in tokens] == [{"id", "text", "start", "stop"}] * len(tokens)
    assert all(text[one["start"] : one["stop"]] == one["text"] for one in tokens)
    assert tokens[0]["start"] == 0
    assert tokens[-1]["stop"] == len(text)
    assert server.post("/tokenize", {"inputs": ""}).status_code == 422
    assert server.post("/tokenize", {"inputs": text}, headers={}).status_code == 401


def test_chat_tokenize_shows_the_rendered_chat(server: Any) -> None:
    answer = server.post("/chat_tokenize", {"messages": MESSAGES}).json()
    assert MESSAGES[0]["content"] in answer["templated_text"]
    tokens = answer["tokenize_response"]
    assert "".join(one["text"] for one in tokens) == answer["templated_text"]
    used = server.post(CHAT, {"messages": MESSAGES, "max_tokens": 1}).json()["usage"]
    assert used["prompt_tokens"] == len(tokens)


@pytest.mark.parametrize(
    ("entries", "text", "wanted"),
    [
        (["Ġwor", "ld", "Ã©"], " worldé", [b" wor", b"ld", "é".encode()]),
        (["<s>", "▁wor", "ld", "<0xC3>", "<0xA9>"], "worldé", [b"<s>", b" wor", b"ld", b"\xc3", b"\xa9"]),
    ],
)
def test_entries_of_vocabularies_are_understood(entries: list[str], text: str, wanted: list[bytes]) -> None:
    assert bytes_of(entries, text) == wanted


def test_tokens_of_one_character_share_it_and_others_have_no_width() -> None:
    pieces = [Piece(1, None), Piece(2, b" a"), Piece(3, b"\xf0\x9f"), Piece(4, b"\x98\x80"), Piece(5, b"zz")]
    spans = [(one.text, one.start, one.stop) for one in tokens_of("a😀", pieces)]
    assert spans == [("", 0, 0), ("a", 0, 1), ("😀", 1, 2), ("😀", 1, 2), ("", 2, 2)]


def test_a_tool_that_must_be_called_is_called_with_its_arguments(server: Any) -> None:
    body = {"messages": MESSAGES, "tools": TOOLS, "tool_choice": "required", "temperature": 0}
    choice = server.post(CHAT, {**body, "max_tokens": 100}).json()["choices"][0]
    [call] = choice["message"]["tool_calls"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    assert (call["type"], call["function"]["name"]) == ("function", "get_weather")
    assert set(json.loads(call["function"]["arguments"])) == {"city"}
    named = {"type": "function", "function": {"name": "get_weather"}}
    lines = server.post(CHAT, {**body, "tool_choice": named, "stream": True, "max_tokens": 100}).text
    chunks = [json.loads(line[6:]) for line in lines.splitlines() if line.startswith("data: {")]
    deltas = [one for chunk in chunks for one in chunk["choices"][0]["delta"].get("tool_calls", [])]
    assert deltas[0]["function"]["name"] == "get_weather"
    assert "".join(one["function"]["arguments"] for one in deltas) == call["function"]["arguments"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop", "OpenAI's word where the client chose"


def test_a_tool_that_may_be_called_leaves_room_for_words(server: Any) -> None:
    earlier = {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "get_weather", "arguments": "{}"}}
        ],
    }
    result = {"role": "tool", "tool_call_id": "c1", "content": "sunny"}
    body = {"messages": [*MESSAGES, earlier, result], "tools": TOOLS, "max_tokens": 60, "seed": 4}
    choice = server.post(CHAT, body).json()["choices"][0]
    message = choice["message"]
    assert bool(message["content"]) != bool(message["tool_calls"])
    spoken = server.post(CHAT, {**body, "tool_choice": "none"}).json()["choices"][0]["message"]
    assert "tool_calls" not in spoken


@pytest.mark.parametrize(
    ("text", "content", "arguments"),
    [
        ('{"content": "He\\"llo \\\\ \\ud83d\\ude00 \\u00e9"}', 'He"llo \\ 😀 é', None),
        (' {"name": "f", "arguments": {"a": {"b": "}"} } } ', None, '{"a": {"b": "}"} }'),
    ],
)
def test_answers_are_the_same_in_pieces(text: str, content: str | None, arguments: str | None) -> None:
    whole, called = message_of(text)
    pieces = CallText()
    deltas = [delta for letter in text for delta in pieces.add(letter)]
    assert whole["content"] == content
    assert called == pieces.called == (arguments is not None)
    said = [one["function"]["arguments"] for delta in deltas for one in delta.get("tool_calls", [])]
    assert "".join(delta.get("content", "") for delta in deltas) == (content or "")
    assert "".join(said) == (arguments or "")
    if arguments is not None:
        assert whole["tool_calls"][0]["function"]["arguments"] == arguments


def test_get_on_the_root_is_a_probe_and_wrong_media_are_refused(server: Any) -> None:
    assert server.get("/", headers={}).status_code == 200
    head = httpx.head(server.url + "/")
    assert (head.status_code, head.text) == (200, "")
    for path, found in (("/generate", 415), (CHAT, 415)):
        wrong = httpx.post(
            server.url + path,
            content=b'{"inputs": "a"}',
            headers={**server.headers, "content-type": "text/plain"},
        )
        assert wrong.status_code == found
    packed = httpx.post(
        server.url + "/generate", content=b"{}", headers={**server.headers, "content-encoding": "gzip"}
    )
    assert packed.status_code == 415
    huge = b'{"inputs": "a", "parameters": {"temperature": %s}}' % (b"9" * 400)
    named = httpx.post(server.url + "/generate", content=huge, headers=server.headers)
    assert named.status_code == 422
    assert "parameters.temperature" in named.json()["error"]
    allowed = httpx.options(server.url + "/", headers=server.headers)
    assert (allowed.status_code, allowed.headers["allow"]) == (405, "GET, POST")


def test_the_document_is_served_with_this_servers_limits(server: Any) -> None:
    assert server.get("/openapi.json", headers={}).status_code == 401
    document = server.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    body = document["paths"]["/generate_stream"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    parameters = body["properties"]["parameters"]["properties"]
    assert parameters["max_new_tokens"]["maximum"] == 511
    assert parameters["watermark"] == {"enum": [False, None]}, "what the engine lacks is not offered"
    assert parameters["grammar"]["properties"]["type"] == {"enum": ["json", "json_schema"]}
    assert set(document["paths"]) == {
        "/", "/generate", "/generate_stream", "/v1/chat/completions", "/v1/completions", "/v1/models",
        "/tokenize", "/chat_tokenize", "/feedback", "/info", "/openapi.json", "/health", "/ready",
    }  # fmt: skip


def test_sagemaker_calls_its_own_routes_only(engine: Any, make_gateway: Any, until: Any) -> None:
    gateway = make_gateway(engine.url, BERTH_MANAGED_CLOUD="sagemaker", BERTH_API_KEYS_DIR="")
    until(gateway.is_ready, "the gateway is ready")
    assert gateway.get("/ping", headers={}).status_code == 200
    asked = {"max_new_tokens": 2}
    tgi = gateway.post("/invocations", {"inputs": "Hello", "parameters": asked}, headers={})
    assert list(tgi.json()[0]) == ["generated_text"]
    chat = gateway.post("/invocations", {"messages": MESSAGES, "max_tokens": 2}, headers={})
    assert chat.json()["object"] == "chat.completion"
    text = gateway.post("/invocations", {"prompt": "Hello", "max_tokens": 2, "stream": True}, headers={})
    assert text.text.endswith("data: [DONE]\n\n")
    assert gateway.post("/invocations", {}, headers={}).status_code == 422
    assert gateway.post("/generate", {"inputs": "Hello"}, headers={}).status_code == 401
    assert gateway.get("/metrics", headers={}).status_code == 401
    gateway.end()


def test_vertex_names_its_routes(engine: Any, make_gateway: Any, until: Any) -> None:
    gateway = make_gateway(
        engine.url,
        BERTH_MANAGED_CLOUD="vertex",
        AIP_HEALTH_ROUTE="/v1/endpoints/1/health",
        AIP_PREDICT_ROUTE="/v1/endpoints/1:predict",
    )
    until(gateway.is_ready, "the gateway is ready")
    assert gateway.get("/v1/endpoints/1/health", headers={}).status_code == 200
    instances = [
        {"inputs": "1, 2, 3,", "parameters": {"max_new_tokens": 4}},
        {"messages": MESSAGES, "max_tokens": 4, "temperature": 0},
    ]
    for path in ("/vertex", "/v1/endpoints/1:predict"):
        predictions = gateway.post(path, {"instances": instances}, headers={}).json()["predictions"]
        assert [type(one) for one in predictions] == [str, str]
        assert predictions[0].strip().startswith("4")
    wrong = gateway.post("/vertex", {"instances": [{"inputs": "a", "stream": True}]}, headers={})
    assert wrong.status_code == 422
    gateway.end()


def test_managed_routes_are_not_there_otherwise(server: Any) -> None:
    for path in ("/invocations", "/vertex"):
        assert server.post(path, {"inputs": "Hello"}).status_code == 404
    assert server.get("/ping").status_code == 404
