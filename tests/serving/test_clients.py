"""Outside clients, unmodified, against the real server with the real model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import openai
import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import UnknownError
from huggingface_hub.inference._common import ValidationError as TgiValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]


@pytest.fixture(scope="module")
def hub(server: Any) -> InferenceClient:
    return InferenceClient(model=server.url, token=server.key, timeout=60)


@pytest.fixture(scope="module")
def sdk(server: Any) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.url + "/v1", api_key=server.key, max_retries=0, timeout=60) as client:
        yield client


def test_hub_generates_text(hub: InferenceClient) -> None:
    text = hub.text_generation("Once upon a time", max_new_tokens=8)
    assert isinstance(text, str)
    assert text.strip()


def test_hub_gets_details(hub: InferenceClient) -> None:
    output = hub.text_generation("Once upon a time", max_new_tokens=6, details=True, seed=7, temperature=0.5)
    assert output.details is not None
    assert output.details.finish_reason == "length"
    assert output.details.generated_tokens == 6
    assert output.details.seed == 7
    assert "".join(token.text for token in output.details.tokens) == output.generated_text
    assert all(token.logprob <= 0 for token in output.details.tokens)


def test_hub_streams_what_it_would_have_answered_whole(hub: InferenceClient) -> None:
    whole = hub.text_generation("The sky is", max_new_tokens=12)
    pieces = list(hub.text_generation("The sky is", max_new_tokens=12, stream=True))
    assert len(pieces) == 12
    assert "".join(pieces) == whole


def test_hub_stream_with_details_ends_with_them(hub: InferenceClient) -> None:
    events = list(
        hub.text_generation("1, 2, 3, 4,", max_new_tokens=30, stream=True, details=True, stop=["8"])
    )
    assert [event.index for event in events] == list(range(1, len(events) + 1))
    assert all(event.details is None and event.generated_text is None for event in events[:-1])
    last = events[-1]
    assert last.details is not None
    assert last.details.finish_reason == "stop_sequence"
    assert last.generated_text == "".join(event.token.text for event in events)
    assert last.generated_text.endswith("8")


def test_hub_says_what_is_wrong_with_a_parameter(hub: InferenceClient) -> None:
    with pytest.raises(TgiValidationError, match=r"parameters\.top_p.*< 1"):
        hub.text_generation("Hello", top_p=1.5)


def test_hub_chats(hub: InferenceClient) -> None:
    answer = hub.chat_completion(QUESTION, max_tokens=12, temperature=0)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_hub_streams_a_chat(hub: InferenceClient) -> None:
    stream = hub.chat_completion(QUESTION, max_tokens=12, temperature=0, stream=True)
    assert "Paris" in "".join(chunk.choices[0].delta.content or "" for chunk in stream)


def test_hub_without_a_key_is_refused(server: Any) -> None:
    # The client knows no type of its own for it, and shows our sentence.
    with pytest.raises(UnknownError, match="API key"):
        InferenceClient(model=server.url, token="wrong").text_generation("Hello")


async def test_hub_async_streams(server: Any) -> None:
    client = AsyncInferenceClient(model=server.url, token=server.key)
    stream = await client.text_generation("The sky is", max_new_tokens=5, stream=True)
    assert len([piece async for piece in stream]) == 5
    await client.close()


def test_openai_chats(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, max_tokens=12)
    choice = answer.choices[0]
    assert "Paris" in (choice.message.content or "")
    assert choice.finish_reason == "stop"
    assert answer.object == "chat.completion"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0


def test_openai_streams_with_usage(sdk: openai.OpenAI) -> None:
    chunks = list(
        sdk.chat.completions.create(
            model=MODEL,
            messages=QUESTION,
            temperature=0,
            max_tokens=12,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "Paris" in text
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


def test_openai_gives_log_probabilities(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=4, logprobs=True, top_logprobs=3
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert len(logprobs.content) == 4
    for position in logprobs.content:
        assert len(position.top_logprobs) == 3
        assert position.logprob == position.top_logprobs[0].logprob


def test_openai_answers_in_a_schema(sdk: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}},
        "required": ["city"],
        "additionalProperties": False,
    }
    answer = sdk.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        max_tokens=60,
        temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}},
    )
    assert '"city"' in (answer.choices[0].message.content or "")


def test_openai_completes_text(sdk: openai.OpenAI) -> None:
    answer = sdk.completions.create(
        model=MODEL, prompt="1, 2, 3,", max_tokens=20, temperature=0, stop="6", echo=True
    )
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].text.startswith("1, 2, 3,")
    assert "6" not in answer.choices[0].text


def test_openai_completes_text_as_a_stream(sdk: openai.OpenAI) -> None:
    chunks = list(
        sdk.completions.create(model=MODEL, prompt="1, 2, 3,", max_tokens=5, temperature=0, stream=True)
    )
    assert chunks[-1].choices[0].finish_reason == "length"
    assert "".join(chunk.choices[0].text for chunk in chunks).strip()


def test_openai_lists_the_model(sdk: openai.OpenAI) -> None:
    assert [model.id for model in sdk.models.list()] == [MODEL]


def test_openai_errors_are_its_own(sdk: openai.OpenAI, server: Any) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.chat.completions.create(model="gpt-5", messages=QUESTION)
    assert missing.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as hot:
        sdk.chat.completions.create(model=MODEL, messages=QUESTION, temperature=3)
    assert hot.value.param == "temperature"
    with pytest.raises(openai.UnprocessableEntityError) as several:
        sdk.chat.completions.create(model=MODEL, messages=QUESTION, n=2)
    assert several.value.code == "unsupported_parameter"
    with (
        openai.OpenAI(base_url=server.url + "/v1", api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError),
    ):
        stranger.models.list()
