"""Probes of llama.cpp for Kubernetes: `python3 -m berth_serving.engines.probe startup|liveness|drained`.

Exit code 0 or 1 and one line of reason. Standard library only, and little of
it: it starts many times an hour inside the engine's CPU limit.

startup: /health answers 200, which it does once the model is loaded.

liveness asks /metrics, which only the engine's main loop answers, between two
batches: an answer is progress, however long it took others to be served. No
answer means wedged only if the engine also used no CPU time meanwhile: a
process that computes a long batch under a small CPU limit is busy, not dead.
(An engine that burns CPU for ever without coming round is ended by its own
watchdog, see `berth_serving.engines.llama_cpp`.)

drained is the preStop hook: it ends, and with it the kubelet's wait before
SIGTERM, once nobody listens on the gateway's port any more. A pod's containers
are told to end at once, and the gateway still needs the engine for what it has
begun. The kubelet gives it the pod's grace, or that of the liveness probe, and
no more.
"""

from __future__ import annotations

import os
import socket
import sys
import time

TIMEOUT_SECONDS = 3.0
# CPU seconds per second of waiting below which nothing is going on.
_BUSY_SHARE = 0.02
_ENGINE_MODULE = b"berth_serving.engines.llama_cpp"
_ENOUGH = 64
_LISTENING = b"0A"
_LOOK_SECONDS = 0.1


def get(port: int, path: str, timeout: float) -> int:
    """Ask the engine on loopback; the HTTP status.

    Raises:
        OSError: no connection, or no answer within `timeout` seconds (TimeoutError).
    """
    with socket.socket() as connection:
        connection.settimeout(timeout)
        # Bytes: a host given as text loads the tables of internationalised names, 6 ms.
        connection.connect((b"127.0.0.1", port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        head = connection.recv(_ENOUGH)
    parts = head.split(b" ", 2)
    if len(parts) < 3 or not parts[0].startswith(b"HTTP/") or not parts[1].isdigit():  # noqa: PLR2004 - a status line
        raise OSError("answered no HTTP")
    return int(parts[1])


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used, in seconds; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:  # noqa: PTH123 - importing pathlib is not worth its time here
            fields = file.read().rpartition(b") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def listener(port: int) -> bytes | None:
    """What the kernel calls the socket that listens on a port of loopback here, as /proc/*/fd shows it."""
    with open("/proc/self/net/tcp", "rb") as file:  # noqa: PTH123 - as above
        rows = [line.split() for line in file.readlines()[1:]]
    wanted = b":%04X" % port
    found = next((row[9] for row in rows if row[1].endswith(wanted) and row[3] == _LISTENING), None)
    return None if found is None else b"socket:[" + found + b"]"


def _holds(pid: str, socket_name: bytes) -> bool:
    """Whether a process has the socket open."""
    folder = f"/proc/{pid}/fd".encode()
    for name in os.listdir(folder):  # noqa: PTH208 - as above
        try:
            if os.readlink(folder + b"/" + name) == socket_name:  # noqa: PTH115 - as above
                return True
        except OSError:
            continue
    return False


def find_engine(port: int) -> int | None:
    """The pid of the engine that listens on a port; others may be visible, on a host for example."""
    socket_name = listener(port)
    if socket_name is None:
        return None
    for name in os.listdir("/proc"):  # noqa: PTH208 - as above
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:  # noqa: PTH123 - as above
                is_engine = _ENGINE_MODULE in file.read().split(b"\0")
            if is_engine and _holds(name, socket_name):
                return int(name)
        except OSError:
            continue
    return None


def startup(port: int, timeout: float = TIMEOUT_SECONDS) -> tuple[bool, str]:
    """Whether the model is loaded, and why that is thought."""
    try:
        status = get(port, "/health", timeout)
    except OSError as error:
        return False, f"engine not up: {error or type(error).__name__}"
    return status == 200, f"engine /health says {status}"  # noqa: PLR2004 - HTTP's OK


def liveness(port: int, pid: int | None = None, timeout: float = TIMEOUT_SECONDS) -> tuple[bool, str]:
    """Whether the engine still comes round, and why that is thought."""
    pid = pid or find_engine(port)
    before = cpu_seconds(pid) if pid else 0.0
    try:
        status = get(port, "/metrics", timeout)
    except TimeoutError:
        used = cpu_seconds(pid) - before if pid else 0.0
        if used >= _BUSY_SHARE * timeout:
            return True, f"engine busy: no answer in {timeout:g} s, but {used:.2f} s of CPU time used"
        return False, f"engine wedged: no answer in {timeout:g} s and {used:.2f} s of CPU time used"
    except OSError as error:
        return False, f"engine gone: {error or type(error).__name__}"
    return status == 200, f"engine /metrics says {status}"  # noqa: PLR2004 - HTTP's OK


def drained(port: int) -> tuple[bool, str]:
    """Wait until nobody listens on a port of this pod."""
    while listener(port) is not None:
        time.sleep(_LOOK_SECONDS)
    return True, f"nobody listens on port {port}"


def main(arguments: list[str], environ: os._Environ[str] | dict[str, str] = os.environ) -> int:
    """Run one probe; 0 is healthy, 1 is not, 2 is a wrong call."""
    name, default = ("GATEWAY", "8000") if arguments == ["drained"] else ("ENGINE", "8001")
    port = environ.get(f"BERTH_{name}_PORT", default)
    if arguments not in (["startup"], ["liveness"], ["drained"]) or not port.isdigit():
        told = f"startup|liveness|drained (BERTH_{name}_PORT: a port)"
        print(f"usage: python3 -m berth_serving.engines.probe {told}")  # noqa: T201 - Kubernetes shows it
        return 2
    if arguments == ["drained"]:
        alive, reason = drained(int(port))
    else:
        alive, reason = startup(int(port)) if arguments == ["startup"] else liveness(int(port))
    print(reason)  # noqa: T201 - Kubernetes shows it in the event
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
