"""A stand-in gateway as a process of its own, which a test can freeze and kill: prints its port.

`python -m tests.agents.lone_gateway NAME`. POST /held is answered when the process gets SIGUSR1, /stream
says a first word at once and the rest then; everything else is answered at once. At SIGUSR2 its node is dead:
its sockets drop whatever arrives, unacknowledged.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import socket
import struct
import sys
from pathlib import Path

from aiohttp import web

NAME = sys.argv[1] if len(sys.argv) > 1 else ""


_NOTHING = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0 bytes
_FILTER = struct.pack("HL", 1, ctypes.addressof(_NOTHING))
_SO_ATTACH_FILTER = 26


def die() -> None:
    """Every socket of this process is deaf from now on, as those of a node without a network are."""
    for name in Path("/proc/self/fd").iterdir():
        try:
            found = socket.socket(fileno=os.dup(int(name.name)))
        except OSError:
            continue  # no socket
        with found:
            if found.family == socket.AF_INET:
                found.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, _FILTER)


async def main() -> None:
    go_on = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR2, die)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, go_on.set)

    async def answer(request: web.Request) -> web.StreamResponse:
        await request.read()
        if request.path == "/held":
            sys.stdout.write("held\n")
            sys.stdout.flush()
            await go_on.wait()
        if request.path == "/stream":
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"first ")
            await go_on.wait()
            await response.write(b"last")
            return response
        return web.json_response({"from": NAME, "pid": os.getpid()})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
