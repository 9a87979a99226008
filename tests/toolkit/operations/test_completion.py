"""The proof by one completion: it waits for what passes, and says at once what does not."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import pytest
from berth.operations import ask
from berth.operations.errors import EndpointRefused, EndpointUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable


async def test_returns_what_the_model_said(server: Any, key: str) -> None:
    answer = await ask(server.url + "/", key, "Hello", max_new_tokens=8)
    assert answer.text == "word " * 4
    assert answer.tokens == 4
    assert answer.attempts == 1
    assert 0 < answer.seconds <= answer.waited_seconds
    assert server.seen == [
        (
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 8, "temperature": 0},
        )
    ]


async def test_asks_again_while_the_endpoint_comes_up(server: Any, key: str) -> None:
    server.refusals = 3
    answer = await ask(server.url, key, "Hello")
    assert answer.attempts == 4


async def test_waits_for_somebody_to_listen(key: str, server: Any, unused_port: Callable[[], int]) -> None:
    port = unused_port()
    asked = asyncio.create_task(ask(f"http://127.0.0.1:{port}", key, "Hello"))
    await asyncio.sleep(0.3)
    assert not asked.done()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, target = server.url.removeprefix("http://").split(":")
        there, back = await asyncio.open_connection(host, int(target))
        back.write(await reader.read(65536))
        writer.write(await there.read(65536))
        writer.close()
        back.close()

    async with await asyncio.start_server(relay, "127.0.0.1", port):
        assert (await asked).attempts > 1


async def test_gives_up_in_time_and_says_what_came_instead(
    server: Any, key: str, unused_port: Callable[[], int]
) -> None:
    server.refusals = 1000
    with pytest.raises(EndpointUnreachable, match=r"within 0\.5 s .* 503 .*starting"):
        await ask(server.url, key, "Hello", wait_seconds=0.5)
    with pytest.raises(EndpointUnreachable, match="ConnectError"):
        await ask(f"http://127.0.0.1:{unused_port()}", key, "Hello", wait_seconds=0.3)
    server.refusals, server.mode = 0, "hang"
    with pytest.raises(EndpointUnreachable, match="no answer within"):
        await ask(server.url, key, "Hello", wait_seconds=0.3)


async def test_a_wrong_key_is_said_at_once_and_not_shown(server: Any) -> None:
    with pytest.raises(EndpointRefused, match=r"401.*wrong key.*berth key") as caught:
        await ask(server.url, "guessed-canary", "Hello")
    assert "guessed-canary" not in str(caught.value)
    with pytest.raises(EndpointRefused, match="without an API key"):
        await ask(server.url, None, "Hello")


async def test_what_is_no_model_server_is_said_at_once(server: Any, key: str) -> None:
    with pytest.raises(EndpointRefused, match="404"):
        await ask(server.url + "/elsewhere", key, "Hello")
    with pytest.raises(EndpointRefused, match="no address"):
        await ask("localhost:8000", key, "Hello")
    server.mode = "not a completion"
    with pytest.raises(EndpointRefused, match="content is missing"):
        await ask(server.url, key, "Hello")


@pytest.fixture
def unused_port() -> Callable[[], int]:
    """Give a port of loopback that nobody listens on."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find
