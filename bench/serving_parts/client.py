"""A load generator that costs little: requests at fixed times, and streams whose events are counted."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """One request as bytes, ready to be sent.

    Attributes:
        port: on loopback.
        raw: the whole of it.
    """

    port: int
    raw: bytes

    @classmethod
    def post(cls, port: int, path: str, body: bytes, key: str) -> Request:
        """One POST of JSON."""
        head = (
            f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        return cls(port, head.encode() + body)


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self.events = 0
        self.bytes = 0
        self.open = True
        self.began = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self.open = False
        if hasattr(self, "done") and not self.done.done():
            self.done.set_result(b"closed")

    def send(self, request: Request) -> asyncio.Future[bytes]:
        """Send; the future has the status line once the answer is whole."""
        self._head = b""
        self._left = -1
        self._tail = b""
        self.done: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport.write(request.raw)
        return self.done

    def data_received(self, data: bytes) -> None:
        if self._left == -1:
            self._head += data
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            lower = head.lower()
            at = lower.find(b"content-length:")
            self._left = int(lower[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -2
            self._head = head
        self.bytes += len(data)
        if self._left >= 0:
            self._left -= len(data)
            if self._left <= 0:
                self._end()
            return
        self.events += data.count(b"data:")
        if self.events and not self.began.done():
            self.began.set_result(None)
        self._tail = (self._tail + data)[-7:]
        if self._tail.endswith(b"\r\n0\r\n\r\n") or data == b"0\r\n\r\n":
            self._end()

    def _end(self) -> None:
        if not self.done.done():
            self.done.set_result(self._head.split(b"\r\n", 1)[0])


async def connect(port: int) -> Connection:
    """Open one."""
    _, made = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return made


@dataclass
class Latencies:
    """Of one run, in seconds.

    Attributes:
        late: seconds by which a request was sent later than planned, the most.
    """

    all: list[float] = field(default_factory=list)
    failed: int = 0
    late: float = 0.0

    def quantile(self, share: float) -> float:
        """The value below which the share lies."""
        ordered = sorted(self.all)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def at_rate(request: Request, rate: float, seconds: float, *, warm_up: float = 1.0) -> Latencies:
    """Send requests at fixed times, answered or not; latency counts from the planned time."""
    found = Latencies()
    idle = [await connect(request.port) for _ in range(16)]
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()
    start = time.monotonic()

    async def one(planned: float) -> None:
        connection = idle.pop() if idle else await connect(request.port)
        status = await connection.send(request)
        took = time.monotonic() - planned
        if connection.open:
            idle.append(connection)
        if b" 200" not in status:
            found.failed += 1
        elif planned - start > warm_up:
            found.all.append(took)

    for number in range(int(rate * (seconds + warm_up))):
        planned = start + number / rate
        while (wait := planned - time.monotonic()) > 0:  # noqa: ASYNC110 - time itself is waited for
            # Timers are late by up to a millisecond; the last one is waited for without sleeping.
            await asyncio.sleep(max(0.0, wait - 0.001))
        found.late = max(found.late, -wait if number else 0.0)
        task = loop.create_task(one(planned))
        running.add(task)
        task.add_done_callback(running.discard)
        await asyncio.sleep(0)
    await asyncio.gather(*running)
    for connection in idle:
        connection.transport.close()
    return found


async def streams(request: Request, count: int) -> tuple[int, float]:
    """Run streams at once to their end; events in all, and seconds."""
    connections = [await connect(request.port) for _ in range(count)]
    began = time.monotonic()
    statuses = await asyncio.gather(*(connection.send(request) for connection in connections))
    seconds = time.monotonic() - began
    for connection in connections:
        connection.transport.close()
    bad = {status for status in statuses if b" 200" not in status}
    if bad:
        raise SystemExit(f"a stream was refused: {bad}")
    return sum(connection.events for connection in connections), seconds


async def idle_streams(request: Request, count: int) -> list[Connection]:
    """Begin streams; those whose first event came within a minute."""
    made = []
    for _ in range(count):
        connection = await connect(request.port)
        connection.send(request)
        made.append(connection)
    await asyncio.wait([connection.began for connection in made], timeout=60)
    return made
