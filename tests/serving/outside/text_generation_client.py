"""What TGI's own client does with the server: run in its own environment with the server's URL and a key."""

from __future__ import annotations

import asyncio
import sys

from text_generation import AsyncClient, Client
from text_generation.errors import ValidationError

URL, KEY = sys.argv[1:]
HEADERS = {"Authorization": f"Bearer {KEY}"}
MESSAGES = [{"role": "user", "content": "Say hello."}]
TOOL = {
    "type": "function",
    "function": {
        "name": "greet",
        "parameters": {"type": "object", "properties": {"who": {"type": "string", "maxLength": 8}}},
    },
}


def whole(client: Client) -> None:
    answer = client.generate("1, 2, 3,", max_new_tokens=6, decoder_input_details=False, top_n_tokens=2)
    assert answer.details.generated_tokens == 6
    assert len(answer.details.tokens) == len(answer.details.top_tokens) == 6
    assert "".join(token.text for token in answer.details.tokens) == answer.generated_text
    stopped = client.generate("1, 2, 3,", max_new_tokens=30, stop_sequences=["6"], return_full_text=True)
    assert stopped.details.finish_reason.value == "stop_sequence"
    assert stopped.generated_text.startswith("1, 2, 3,")


def stream(client: Client) -> None:
    events = list(
        client.generate_stream("The sky is", max_new_tokens=5, do_sample=True, seed=3, temperature=0.5)
    )
    assert len(events) == 5
    assert events[-1].details.generated_tokens == 5
    assert events[-1].details.seed == 3
    assert events[-1].generated_text == "".join(event.token.text for event in events)


def chat(client: Client) -> None:
    answer = client.chat(MESSAGES, max_tokens=6, seed=1)
    assert answer.choices[0].message.content
    assert answer.system_fingerprint
    called = client.chat(MESSAGES, max_tokens=80, seed=1, tools=[TOOL], tool_choice="greet")
    assert called.choices[0].message.tool_calls[0]["function"]["name"] == "greet"


def errors(client: Client) -> None:
    for call in (
        lambda: client.generate("Hello", max_new_tokens=100_000),
        lambda: list(client.generate_stream("Hello", max_new_tokens=100_000)),
        lambda: client.generate("Hello", watermark=True),
    ):
        said = ""
        try:
            call()
        except ValidationError as error:
            said = str(error)
        assert "parameters." in said


async def asynchronous() -> None:
    client = AsyncClient(URL, headers=HEADERS, timeout=60)
    answer = await client.generate("1, 2, 3,", max_new_tokens=3)
    assert answer.details.generated_tokens == 3
    events = [event async for event in client.generate_stream("1, 2, 3,", max_new_tokens=3)]
    assert events[-1].generated_text == answer.generated_text


def main() -> None:
    client = Client(URL, headers=HEADERS, timeout=60)
    for part in (whole, stream, chat, errors):
        part(client)
    asyncio.run(asynchronous())


main()
