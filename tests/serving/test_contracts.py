"""The three contracts on the wire: shapes, framing, headers, errors."""

from __future__ import annotations

import json
import socket
from typing import Any

import httpx
import pytest

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "Hi"}]


def tgi(**parameters: Any) -> dict[str, Any]:
    return {"inputs": "Hello", "parameters": {"max_new_tokens": 2, **parameters}}


def chat(**more: Any) -> dict[str, Any]:
    return {"messages": MESSAGES, "max_tokens": 2, **more}


def test_the_lessons_contract_has_all_its_fields(server: Any) -> None:
    response = server.post(
        "/generate", {"prompt": "Once upon", "max_length": 12, "temperature": 0.5, "top_p": 0.9}
    )
    answer = response.json()
    assert set(answer) == {
        "text", "generation_time", "total_time", "input_tokens", "output_tokens", "token_throughput",
    }  # fmt: skip
    assert answer["text"].startswith("Once upon")
    assert answer["input_tokens"] + answer["output_tokens"] <= 12
    assert answer["total_time"] >= answer["generation_time"] > 0
    assert answer["token_throughput"] == pytest.approx(answer["output_tokens"] / answer["generation_time"])


def test_the_lessons_temperature_of_zero_is_greedy(server: Any) -> None:
    texts = {
        server.post("/generate", {"prompt": "The sky", "max_length": 14, "temperature": 0}).json()["text"]
        for _ in range(3)
    }
    assert len(texts) == 1


def test_tgi_answers_with_its_headers(server: Any) -> None:
    response = server.post("/generate", tgi(details=True, max_new_tokens=5, top_n_tokens=3))
    answer = response.json()
    assert set(answer) == {"generated_text", "details"}
    details = answer["details"]
    assert details["generated_tokens"] == len(details["tokens"]) == 5
    assert [set(token) for token in details["tokens"]] == [{"id", "text", "logprob", "special"}] * 5
    assert all(len(tops) == 3 for tops in details["top_tokens"])
    assert details["prefill"] == []
    assert details["seed"] is None, "greedy decoding has no seed"
    headers = response.headers
    assert headers["x-generated-tokens"] == "5"
    assert headers["x-prompt-tokens"] == "1"
    assert headers["x-compute-characters"] == "5"
    assert headers["x-compute-type"] == "cpu"
    assert float(headers["x-compute-time"]) > 0
    for name in ("total", "validation", "queue", "inference"):
        assert headers[f"x-{name}-time"].isdigit()
    assert headers["x-time-per-token"].isdigit()


def test_tgi_on_the_root_is_a_list_or_a_stream(server: Any) -> None:
    whole = server.post("/", tgi()).json()
    assert isinstance(whole, list)
    assert len(whole) == 1
    streamed = server.post("/", {**tgi(), "stream": True})
    assert streamed.headers["content-type"] == "text/event-stream"


def test_tgi_streams_events_framed_as_it_does(server: Any) -> None:
    response = server.post("/generate_stream", tgi(max_new_tokens=4, details=True))
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["x-accel-buffering"] == "no"
    frames = response.text.split("\n\n")
    assert frames.pop() == ""
    assert all(frame.startswith("data: ") and "\n" not in frame for frame in frames)
    assert "[DONE]" not in response.text
    events = [json.loads(frame[6:]) for frame in frames]
    assert [event["index"] for event in events] == [1, 2, 3, 4]
    assert all(event["generated_text"] is None and event["details"] is None for event in events[:-1])
    assert events[-1]["generated_text"] == "".join(event["token"]["text"] for event in events)
    assert events[-1]["details"] == {
        "finish_reason": "length", "generated_tokens": 4, "seed": None, "input_length": 1,
    }  # fmt: skip


def test_tgi_marks_the_end_of_text_as_special_and_leaves_it_out_of_the_text(server: Any) -> None:
    question = "What is the capital of France? Answer in one word."
    prompt = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"
    body = {"inputs": prompt, "parameters": {"max_new_tokens": 40, "details": True}}
    answer = server.post("/generate", body).json()
    assert answer["details"]["finish_reason"] == "eos_token"
    last = answer["details"]["tokens"][-1]
    assert last["special"]
    assert last["text"] == "<|im_end|>"
    assert "<|im_end|>" not in answer["generated_text"]


def test_the_same_seed_gives_the_same_text(server: Any) -> None:
    body = tgi(max_new_tokens=12, temperature=1.5, seed=2**40 + 5, details=True)
    first, second = (server.post("/generate", body).json() for _ in range(2))
    assert first["generated_text"] == second["generated_text"]
    assert first["details"]["seed"] == 2**40 + 5


def test_the_full_text_and_a_truncated_prompt(server: Any) -> None:
    answer = server.post("/generate", tgi(return_full_text=True)).json()
    assert answer["generated_text"].startswith("Hello")
    long = {"inputs": "word " * 200, "parameters": {"max_new_tokens": 1, "truncate": 10}}
    assert server.post("/generate", long).headers["x-prompt-tokens"] == "10"


def test_prompts_are_counted_exactly(server: Any) -> None:
    fits = server.post("/generate", {"prompt": " word" * 120, "max_length": 122}).json()
    assert (fits["input_tokens"], fits["output_tokens"]) == (120, 2)
    assert server.post("/generate", {"prompt": " word" * 120, "max_length": 120}).status_code == 422
    over = server.post("/generate", {"inputs": " word" * 500, "parameters": {"max_new_tokens": 13}})
    assert over.status_code == 422
    assert "500 tokens and 13 new ones" in over.json()["error"]


WRONG_TGI = [
    ({"temperature": 0}, "temperature"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"repetition_penalty": 0}, "repetition_penalty"),
    ({"frequency_penalty": 2.1}, "frequency_penalty"),
    ({"top_p": 0}, "top_p"),
    ({"top_p": 1}, "top_p"),
    ({"typical_p": 1.0}, "typical_p"),
    ({"top_k": 0}, "top_k"),
    ({"top_k": 1.5}, "top_k"),
    ({"max_new_tokens": 0}, "max_new_tokens"),
    ({"max_new_tokens": -3}, "max_new_tokens"),
    ({"max_new_tokens": 100_000}, "max_new_tokens"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ({"stop": "a"}, "stop"),
    ({"stop": [""]}, "stop"),
    ({"top_n_tokens": 6}, "top_n_tokens"),
    ({"best_of": 3}, "best_of"),
    ({"best_of": 2, "do_sample": True}, "best_of"),
    ({"truncate": 0}, "truncate"),
    ({"seed": -1}, "seed"),
    ({"watermark": True}, "watermark"),
    ({"decoder_input_details": True}, "decoder_input_details"),
    ({"adapter_id": "mine"}, "adapter_id"),
    ({"grammar": {"type": "regex", "value": "a+"}}, "regex"),
    ({"grammar": {"type": "xml", "value": "a"}}, "grammar"),
    ({"grammar": {"type": "json", "value": 3}}, "grammar"),
    ({"grammar": {"type": "json", "value": {"type": "nonsense"}}}, "schema.type"),
    ({"grammar": {"type": "json", "value": {"type": "array", "uniqueItems": True}}}, "schema.uniqueItems"),
    ({"nonsense": 1}, "nonsense"),
    ({"do_sample": "yes"}, "do_sample"),
]


@pytest.mark.parametrize(("parameters", "named"), WRONG_TGI, ids=lambda value: str(value)[:40])
def test_tgi_refuses_by_name_with_422(server: Any, parameters: dict[str, Any], named: str) -> None:
    for path in ("/generate", "/generate_stream"):
        response = server.post(path, tgi(**parameters))
        assert response.status_code == 422
        said = response.json()
        assert set(said) == {"error", "error_type"}
        assert said["error_type"] == "validation"
        assert named in said["error"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "exactly one of"),
        ({"inputs": "a", "prompt": "b"}, "exactly one of"),
        ({"inputs": ""}, "inputs"),
        ({"inputs": 3}, "inputs"),
        ({"inputs": "a", "parameters": []}, "parameters"),
        ({"inputs": "a", "extra": 1}, "extra"),
        ({"inputs": "a", "stream": True}, "stream"),
        ({"prompt": "a", "max_length": 1}, "max_length"),
        ({"prompt": "a", "max_length": 10**9}, "max_length"),
        ({"prompt": "a b c d e f g h", "max_length": 3}, "max_length"),
        ({"prompt": "a", "temperature": -0.1}, "temperature"),
        ({"prompt": "a", "top_p": 0}, "top_p"),
        ({"prompt": "a", "max_new_tokens": 3}, "max_new_tokens"),
        ([1, 2], "object"),
        (3, "object"),
        (None, "object"),
    ],
)
def test_generate_refuses_bodies_with_422(server: Any, body: Any, named: str) -> None:
    response = server.post("/generate", body)
    assert response.status_code == 422
    assert named in response.json()["error"]


@pytest.mark.parametrize(
    ("more", "status", "param"),
    [
        ({"temperature": 2.5}, 400, "temperature"),
        ({"temperature": -1}, 400, "temperature"),
        ({"top_p": 0}, 400, "top_p"),
        ({"n": 2}, 422, "n"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"presence_penalty": 3}, 400, "presence_penalty"),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop"),
        ({"stop": 3}, 400, "stop"),
        ({"top_logprobs": 2}, 400, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
        ({"logit_bias": {"x": 1}}, 400, "logit_bias"),
        ({"logit_bias": {"1": 101}}, 400, "logit_bias.1"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({"response_format": {"type": "yaml"}}, 400, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, 400, "response_format.json_schema"),
        ({"tools": [{"type": "function"}]}, 400, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, 400, "tools[0].function.name"),
        ({"tool_choice": "required"}, 400, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, 400, "tool_choice"),
        ({"store": True}, 400, "store"),
        ({"nonsense": 1}, 400, "nonsense"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, 400, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0].content"),
        (
            {"messages": [{"role": "assistant", "content": "x", "tool_calls": [1]}]},
            400,
            "messages[0].tool_calls[0]",
        ),
        ({"model": "other"}, 404, "model"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_openai_refuses_in_its_own_words(server: Any, more: dict[str, Any], status: int, param: str) -> None:
    response = server.post(CHAT, chat(**more))
    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param


def test_a_chat_takes_text_parts_and_a_developer(server: Any) -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Hello "}, {"type": "text", "text": "there"}]},
    ]
    assert server.post(CHAT, {"messages": messages, "max_tokens": 2}).status_code == 200


def test_a_chat_longer_than_the_context_is_refused(server: Any) -> None:
    response = server.post(CHAT, chat(messages=[{"role": "user", "content": "word " * 600}]))
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "context_length_exceeded"


def test_completions_take_token_ids(server: Any) -> None:
    response = server.post(
        "/v1/completions", {"prompt": [19556, 28], "max_tokens": 3, "logprobs": 2, "temperature": 0}
    )
    choice = response.json()["choices"][0]
    assert len(choice["logprobs"]["tokens"]) == 3
    assert response.json()["usage"]["prompt_tokens"] == 2
    refused = server.post("/v1/completions", {"prompt": [10**9], "max_tokens": 3})
    assert refused.status_code == 400


def test_info_and_models(server: Any) -> None:
    info = server.get("/info").json()
    assert info["model_id"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert info["max_total_tokens"] == 512
    assert info["max_stop_sequences"] == 4
    assert [model["id"] for model in server.get("/v1/models").json()["data"]] == [info["model_id"]]


def test_only_the_probes_need_no_key(server: Any) -> None:
    for path in ("/health", "/ready"):
        assert server.get(path, headers={}).status_code == 200
    for path in ("/", "/generate", "/generate_stream", CHAT, "/v1/completions"):
        response = server.post(path, {}, headers={})
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
    for path in ("/info", "/v1/models", "/metrics", "/load", "/nonsense", "/slots", "/completion"):
        assert server.get(path, headers={"Authorization": "Bearer nope"}).status_code == 401
    assert server.get("/v1/models", headers={}).json()["error"]["code"] == "invalid_api_key"
    assert server.get("/info", headers={}).json()["error_type"] == "authentication"


def test_unknown_paths_and_methods(server: Any) -> None:
    assert server.get("/slots").status_code == 404
    assert server.get("/metrics").status_code == 404
    refused = server.get("/generate")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "POST"
    assert httpx.head(server.url + "/health").status_code == 200


def test_request_ids_are_kept_or_made(server: Any) -> None:
    kept = server.post("/generate", tgi(), headers={**server.headers, "x-request-id": "abc-123"})
    assert kept.headers["x-request-id"] == "abc-123"
    made = server.post("/generate", tgi(), headers={**server.headers, "x-request-id": "a b\tc"})
    assert len(made.headers["x-request-id"]) == 32


def test_the_metrics_port_serves_nothing_else(server: Any) -> None:
    base = f"http://127.0.0.1:{server.metrics_port}"
    assert httpx.get(base + "/generate").status_code == 404
    assert httpx.post(base + "/load").status_code == 405


def test_a_body_over_the_limit_is_413_whether_announced_or_not(server: Any) -> None:
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        head = f"POST /generate HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {server.key}\r\n"
        connection.sendall(head.encode() + b"Content-Length: 1000000000\r\n\r\n{")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")

    def flood() -> Any:
        for _ in range(400):
            yield b"x" * 65_536

    try:
        status = httpx.post(
            server.url + "/generate", headers=server.headers, content=flood(), timeout=30
        ).status_code
    except (httpx.WriteError, httpx.ReadError):
        status = 413  # the connection was closed in the face of who went on sending
    assert status == 413


HOSTILE = {
    "not http": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "no such method": b"BREW / HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad utf-8": b'POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 14\r\n\r\n{"inputs":"\xff"}',
    "bad path": b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    "bad length": b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    "two lengths": b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "huge header": b"GET /health HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 400_000,
    "connect": b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    "absolute": b"GET http://a/%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "upgrade": b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    "nul in header": b"GET /health HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
    "star": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_never_make_a_5xx(server: Any, name: str) -> None:
    head = HOSTILE[name].replace(
        b"Host: a\r\n", f"Host: a\r\nAuthorization: Bearer {server.key}\r\n".encode(), 1
    )
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.sendall(head)
        connection.settimeout(10)
        try:
            answer = connection.recv(65_536)
        except ConnectionResetError:
            answer = b""
    status = answer.split(b" ", 2)[1] if answer else b"-"
    assert status in (b"-", b"200", b"400", b"401", b"404", b"405", b"422", b"431"), answer
    assert b"Traceback" not in answer
    assert server.get("/health").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"inputs":"\\ud800"}',
        b'{"inputs":"a","parameters":{"top_k":1e999}}',
        b'{"inputs":"a","parameters":{"seed":123456789012345678901234567890}}',
        b'{"inputs":' + b"9" * 5000 + b"}",
        b'{"messages":' * 2000,
    ],
    ids=range(9),
)
def test_malformed_json_is_422_or_400(server: Any, body: bytes) -> None:
    for path, status in (("/generate", 422), ("/v1/chat/completions", 400)):
        response = httpx.post(server.url + path, content=body, headers=server.headers, timeout=30)
        assert response.status_code == status, response.text
        assert len(response.text) < 2000


def test_logs_never_hold_what_was_said_or_a_key(server: Any) -> None:
    server.post(
        "/generate", {"inputs": "canaryprompt tells", "parameters": {"max_new_tokens": 2, "top_k": 0}}
    )
    server.post("/generate", {"inputs": "canaryprompt tells", "parameters": {"max_new_tokens": 2}})
    server.post(CHAT, chat(messages=[{"role": "user", "content": "canaryprompt"}]))
    log = server.log.read_text()
    assert "canaryprompt" not in log
    assert server.key not in log
    assert "Traceback" not in log
    assert any(record["message"] == "request" and record.get("key") == "tests" for record in server.records())


FOLLOWED = [
    {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]},
    {"$schema": "https://json-schema.org/draft/2020-12/schema", "enum": ["red", "blue"]},
    {
        "type": "array",
        "items": {"$ref": "#/$defs/digit"},
        "maxItems": 3,
        "$defs": {"digit": {"enum": [1, 2]}},
    },
    {"type": "string", "pattern": "^[a-c]{3}$"},
    {"type": "string", "format": "date"},
    {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
]


@pytest.mark.parametrize("schema", FOLLOWED, ids=range(len(FOLLOWED)))
def test_answers_follow_a_json_schema(server: Any, schema: dict[str, Any]) -> None:
    grammar = {"type": "json", "value": schema}
    answer = server.post("/generate", tgi(max_new_tokens=60, grammar=grammar, details=True))
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["details"]["finish_reason"] == "eos_token"
    json.loads(said["generated_text"])


@pytest.mark.parametrize(
    ("schema", "named"),
    [
        ({"oneOf": [{"type": "null"}]}, "schema.oneOf"),
        ({"not": {"type": "null"}}, "schema.not"),
        ({"properties": {"a": {"type": "text"}}}, "schema.properties.a.type"),
        ({"$ref": "#/$defs/none"}, "schema.$ref"),
        ({"$ref": "https://example.com/schema"}, "schema.$ref"),
        ({"type": "string", "format": "uri"}, "schema.format"),
        ({"type": "string", "pattern": "(?=a)b"}, "schema.pattern"),
        ({"type": "string", "pattern": "("}, "schema.pattern"),
        ({"type": "integer", "minimum": 3, "maximum": 1}, "schema.minimum"),
        ({"enum": []}, "schema.enum"),
        ({"anyOf": []}, "schema.anyOf"),
        ({"required": ["a"], "properties": {}, "additionalProperties": False}, "schema.required"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_schema_that_would_be_ignored_is_refused_by_path(server: Any, schema: Any, named: str) -> None:
    asked = chat(response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": schema}})
    response = server.post(CHAT, asked)
    assert response.status_code == 400
    assert named in response.json()["error"]["message"]


def test_a_schema_that_contradicts_itself_is_no_silent_success(server: Any) -> None:
    impossible = {"allOf": [{"type": "integer"}, {"type": "string"}]}
    response = server.post("/generate", tgi(max_new_tokens=8, grammar={"type": "json", "value": impossible}))
    assert response.status_code == 424
    assert "JSON schema" in response.json()["error"]
