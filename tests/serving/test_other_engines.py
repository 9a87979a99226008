"""vLLM, SGLang and TGI behind the gateway, each as a stand-in that says it is one: `stand_in_engines.py`."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from berth_serving.engines.stops import HeldText

from tests.serving.stand_in_engines import BOS, CONTEXT, ENGINES, SLOTS, Json, StandIn, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@dataclass
class Served:
    """A gateway before a stand-in."""

    gateway: Any
    engine: StandIn

    def post(self, path: str, body: Json) -> httpx.Response:
        answer = self.gateway.post(path, body)
        assert isinstance(answer, httpx.Response)
        return answer

    def events(self, path: str, body: Json) -> list[Any]:
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        lines = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        return [line if line == "[DONE]" else json.loads(line) for line in lines]


def serve(make_gateway: Callable[..., Any], wait: Callable[..., Any], engine: StandIn, **more: str) -> Served:
    gateway = make_gateway(
        engine.url,
        BERTH_ENGINE=engine.engine,
        BERTH_ENGINE_SLOTS=str(SLOTS),
        MAX_TOTAL_TOKENS=str(CONTEXT),
        MODEL_ID="example/tiny",
        **more,
    )
    wait(gateway)
    return Served(gateway, engine)


@pytest.fixture(scope="module")
def until_ready() -> Callable[[Any], None]:
    def wait(gateway: Any) -> None:
        for _ in range(600):
            if gateway.is_ready():
                return
            threading.Event().wait(0.05)
        raise AssertionError(gateway.log.read_text())

    return wait


@pytest.fixture(scope="module", params=ENGINES)
def served(
    request: pytest.FixtureRequest, make_gateway: Callable[..., Any], until_ready: Callable[[Any], None]
) -> Iterator[Served]:
    with running(StandIn(request.param)) as engine:
        made = serve(make_gateway, until_ready, engine)
        yield made
        made.gateway.end()


def test_a_chat_is_rendered_by_the_engine_and_streamed_with_usage(served: Served) -> None:
    body = {
        "messages": [{"role": "user", "content": "Hi there"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": 20,
    }
    *chunks, usage, done = served.events("/v1/chat/completions", body)
    assert done == "[DONE]"
    assert "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks) == " Hello world!"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert usage["usage"] == {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}
    asked = served.engine.asked
    prompt = asked.get("prompt") or asked.get("input_ids") or asked.get("inputs")
    # The chat template says <s> by itself; the engine adds it to text, and to ids not.
    assert prompt == ("[user] Hi there" if served.engine.engine == "tgi" else [BOS[0], 208])


def test_generate_with_details(served: Served) -> None:
    body = {"inputs": "Say it", "parameters": {"details": True, "max_new_tokens": 2, "seed": None}}
    answer = served.post("/generate", body)
    assert answer.status_code == 200, answer.text
    details = answer.json()["details"]
    assert answer.json()["generated_text"] == " Hello world"
    assert (details["finish_reason"], details["generated_tokens"]) == ("length", 2)
    assert [(one["id"], one["text"], one["logprob"]) for one in details["tokens"]] == [
        (11, " Hello", -0.5),
        (12, " world", -0.5),
    ]


def test_a_streams_end_of_text_token_is_named_and_is_no_text(served: Served) -> None:
    events = served.events("/generate_stream", {"inputs": "Say it", "parameters": {"details": True}})
    assert [one["token"]["text"] for one in events] == [" Hello", " world", "!", "</s>"]
    assert events[-1]["token"]["special"] is True
    assert events[-1]["generated_text"] == " Hello world!"
    assert events[-1]["details"]["finish_reason"] == "eos_token"
    assert events[-1]["details"]["input_length"] == 7


def test_a_stop_sequence_of_several_tokens_shows_in_no_token(served: Served) -> None:
    body = {"prompt": "SPLIT it", "stop": ["END"], "max_tokens": 20, "stream": True, "model": "example/tiny"}
    *chunks, done = served.events("/v1/completions", body)
    assert done == "[DONE]"
    text = "".join(one["choices"][0]["text"] for one in chunks if one["choices"])
    assert text == " one "
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    whole = served.post("/generate", {"inputs": "SPLIT it", "parameters": {"stop": ["END"]}}).json()
    assert whole["generated_text"] == " one END", "TGI's contract keeps it"


def test_what_looks_like_a_stop_sequence_and_is_none_is_shown(served: Served) -> None:
    body = {"prompt": "SPLIT it", "stop": ["ENTER"], "max_tokens": 20, "model": "example/tiny"}
    answer = served.post("/v1/completions", body).json()
    assert answer["choices"][0]["text"] == " one END two"


def test_the_engine_is_told_every_knob_in_its_own_words(served: Served) -> None:
    body = {
        "inputs": "Say it",
        "parameters": {
            "temperature": 0.5,
            "top_k": 7,
            "top_p": 0.9,
            "repetition_penalty": 1.2,
            "frequency_penalty": 0.3,
            "max_new_tokens": 3,
            "stop": ["x"],
        },
    }
    assert served.post("/generate", body).status_code == 200
    asked = served.engine.asked
    sampling = {"vllm": asked, "sglang": asked.get("sampling_params"), "tgi": asked.get("parameters")}
    told = sampling[served.engine.engine]
    assert told is not None
    wanted = {"temperature": 0.5, "top_k": 7, "top_p": 0.9, "repetition_penalty": 1.2}
    assert {name: told[name] for name in wanted} == wanted
    assert told["frequency_penalty"] == 0.3
    assert told["stop"] == ["x"]
    assert told.get("max_new_tokens", told.get("max_tokens")) == 3


def test_a_json_schema_reaches_the_engine(served: Served) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    body = {
        "messages": [{"role": "user", "content": "Hi"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}},
        "max_tokens": 5,
    }
    served.post("/v1/chat/completions", body)
    asked = served.engine.asked
    found = {
        "vllm": lambda: asked["response_format"]["json_schema"]["schema"],
        "sglang": lambda: json.loads(asked["sampling_params"]["json_schema"]),
        "tgi": lambda: asked["parameters"]["grammar"]["value"],
    }[served.engine.engine]()
    assert found == schema


UNSUPPORTED: dict[str, dict[str, Json]] = {
    "vllm": {
        "typical_p": {"typical_p": 0.5},
        "top_n_tokens": {"top_n_tokens": 2},
        "watermark": {"watermark": True},
    },
    "sglang": {"typical_p": {"typical_p": 0.5}, "seed": {"seed": 3, "do_sample": True}},
    "tgi": {"decoder_input_details": {"decoder_input_details": True}},
}


@pytest.mark.parametrize(("engine", "name"), [(e, n) for e, names in UNSUPPORTED.items() for n in names])
def test_a_parameter_that_an_engine_cannot_honour_is_422_by_name(
    served: Served, engine: str, name: str
) -> None:
    if served.engine.engine != engine:
        name = next(iter(UNSUPPORTED[served.engine.engine]))
    parameters = UNSUPPORTED[served.engine.engine][name]
    before = len(served.engine.runs)
    answer = served.post("/generate", {"inputs": "Hi", "parameters": parameters})
    assert answer.status_code == 422
    assert name in answer.json()["error"]
    assert served.engine.engine in answer.json()["error"]
    assert len(served.engine.runs) == before, "the engine was not asked"


def test_openai_parameters_that_tgi_lacks_are_422(served: Served) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], "min_p": 0.1, "max_tokens": 3}
    answer = served.post("/v1/chat/completions", body)
    assert answer.status_code == (422 if served.engine.engine == "tgi" else 200)
    ids = served.post("/v1/completions", {"model": "example/tiny", "prompt": [1, 2], "max_tokens": 3})
    assert ids.status_code == (422 if served.engine.engine == "tgi" else 200)


def test_an_engines_refusal_is_the_clients_error_and_it_goes_on(served: Served) -> None:
    answer = served.post("/generate", {"inputs": "REFUSE this"})
    assert answer.status_code == 422
    assert "it is too odd" in answer.json()["error"]
    assert served.post("/generate", {"inputs": "Say it"}).status_code == 200


@pytest.mark.parametrize("prompt", ["GARBLE it", "ABORT it"])
def test_a_failed_generation_is_424_for_its_request_alone(served: Served, prompt: str) -> None:
    answer = served.post("/generate", {"inputs": prompt})
    assert answer.status_code == 424
    assert served.post("/generate", {"inputs": "Say it"}).status_code == 200


def test_a_missing_chat_template_is_told(served: Served) -> None:
    body = {"messages": [{"role": "user", "content": "NOTEMPLATE"}], "max_tokens": 3}
    answer = served.post("/v1/chat/completions", body)
    assert answer.status_code == 400
    assert "no chat template" in answer.json()["error"]["message"]


def test_a_client_that_leaves_cancels_the_engines_work(served: Served) -> None:
    gateway = served.gateway
    with (
        httpx.Client(base_url=gateway.url, headers=gateway.headers, timeout=30) as client,
        client.stream("POST", "/generate_stream", json={"inputs": "HANG on"}) as answer,
    ):
        assert answer.status_code == 200
        for _ in answer.iter_lines():
            break
    for _ in range(400):
        if served.engine.runs[-1].cancelled:
            break
        threading.Event().wait(0.02)
    assert served.engine.runs[-1].cancelled
    for _ in range(400):
        if gateway.load()["berth_running_requests"] == 0:
            break
        threading.Event().wait(0.02)
    assert gateway.load()["berth_running_requests"] == 0


def test_a_prompt_that_is_too_long_is_counted_and_refused(served: Served) -> None:
    words = " ".join(["word"] * 600)
    answer = served.post("/generate", {"inputs": words})
    assert answer.status_code == 422
    assert f"at most {CONTEXT - 1}" in answer.json()["error"]


def test_truncation_keeps_the_prompts_end(served: Served) -> None:
    body = {"inputs": "one two three four", "parameters": {"truncate": 2, "max_new_tokens": 2}}
    assert served.post("/generate", body).status_code == 200
    asked = served.engine.asked
    if served.engine.engine == "tgi":
        assert (asked["inputs"], asked["parameters"]["truncate"]) == ("one two three four", 2)
    else:
        assert len(asked.get("prompt") or asked.get("input_ids")) == 2


def test_an_engine_that_is_gone_is_told_at_once_and_found_again(
    make_gateway: Callable[..., Any], until_ready: Callable[[Any], None]
) -> None:
    with running(StandIn("vllm")) as engine:
        served = serve(make_gateway, until_ready, engine)
        answer = served.post("/generate", {"inputs": "BREAK it"})
        assert answer.status_code == 424
        until_ready(served.gateway)
        assert served.post("/generate", {"inputs": "Say it"}).status_code == 200
    answer = served.post("/generate", {"inputs": "Say it"})
    assert answer.status_code in (424, 503)
    served.gateway.end()


def test_an_engine_with_less_context_than_asked_is_never_ready(make_gateway: Callable[..., Any]) -> None:
    with running(StandIn("vllm")) as engine:
        gateway = make_gateway(engine.url, BERTH_ENGINE="vllm", MAX_TOTAL_TOKENS=str(CONTEXT + 1))
        for _ in range(400):
            if "MAX_TOTAL_TOKENS" in gateway.log.read_text():
                break
            threading.Event().wait(0.02)
        assert "MAX_TOTAL_TOKENS=513 needs more" in gateway.log.read_text()
        assert not gateway.is_ready()
        gateway.end()


def test_sglang_events_that_repeat_everything_are_understood(
    make_gateway: Callable[..., Any], until_ready: Callable[[Any], None]
) -> None:
    with running(StandIn("sglang", cumulative=True)) as engine:
        served = serve(make_gateway, until_ready, engine)
        events = served.events("/generate_stream", {"inputs": "Say it", "parameters": {"details": True}})
        assert [one["token"]["text"] for one in events] == [" Hello", " world", "!", "</s>"]
        assert [one["token"]["id"] for one in events] == [11, 12, 13, 2]
        served.gateway.end()


@pytest.mark.parametrize(
    ("device", "parameters", "said"),
    [
        ("tpu", {"seed": 3, "do_sample": True}, "seed"),
        ("neuron", {"repetition_penalty": 1.1}, "repetition_penalty"),
        ("neuron", {"details": True}, "details"),
    ],
)
def test_vllms_builds_differ_in_what_they_honour(
    make_gateway: Callable[..., Any],
    until_ready: Callable[[Any], None],
    device: str,
    parameters: Json,
    said: str,
) -> None:
    with running(StandIn("vllm")) as engine:
        served = serve(make_gateway, until_ready, engine, BERTH_ENGINE_DEVICE=device)
        answer = served.post("/generate", {"inputs": "Hi", "parameters": parameters})
        assert answer.status_code == 422
        assert said in answer.json()["error"]
        events = served.events("/generate_stream", {"inputs": "Hi"})
        assert "".join(one["token"]["text"] for one in events[:-1]) == " Hello world!"
        assert "seed" not in engine.asked
        served.gateway.end()


@pytest.mark.parametrize(
    ("stops", "pieces", "stop", "shown"),
    [
        ((), ["a", "b"], "", ["a", "b", ""]),
        (("END",), [" E", "N", "D"], "END", [" ", "", "", ""]),
        (("END",), [" E", "N", "X"], "", [" ", "", "ENX", ""]),
        (("END",), [" E"], "", [" ", "E"]),
        (("ab", "bc"), ["a", "b", "c"], "", ["", "", "", "abc"]),
        (("aab",), ["a", "a", "a", "b"], "aab", ["", "", "a", "", ""]),
    ],
)
def test_held_text(stops: tuple[str, ...], pieces: list[str], stop: str, shown: list[str]) -> None:
    held = HeldText(stops)
    found = [held.add(piece) for piece in pieces]
    found.append(held.end(stop))
    assert "".join(found) == "".join(shown)
    assert found[: len(pieces)] == shown[: len(pieces)] or stops == ("ab", "bc")
