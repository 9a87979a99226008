"""A language host for Python: what Pulumi's distribution calls `pulumi-language-python`.

The engine starts it, reads its port from the first line of its output, and asks it to run programs and policy
packs. The host of Pulumi's own distribution is a Go module that no registry here serves; this one does what
`preview`, `up`, `refresh` and `destroy` ask of it, and nothing else.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc  # type: ignore[import-untyped]  # grpcio ships no types
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

REPORTED = 32
PROGRAM = Path(__file__).with_name("program.py")


def python_of(info: Any, folder: str) -> str:
    """The interpreter of the virtualenv that a project names, or the one that runs this."""
    options = MessageToDict(info.options)
    given = options.get("virtualenv")
    if not given:
        return sys.executable
    return str(Path(info.root_directory or folder, given, "bin", "python"))


class Host(language_pb2_grpc.LanguageRuntimeServicer):
    """One engine's host."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._children: set[subprocess.Popen[bytes]] = set()

    def Handshake(self, request: Any, context: Any) -> Any:
        self._engine = request.engine_address or self._engine
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version="0.0.0-berth")

    def GetRequiredPlugins(self, request: Any, context: Any) -> Any:
        return language_pb2.GetRequiredPluginsResponse()

    def GetRequiredPackages(self, request: Any, context: Any) -> Any:
        # What is on the PATH is there already; nothing can be fetched here.
        return language_pb2.GetRequiredPackagesResponse()

    def About(self, request: Any, context: Any) -> Any:
        return language_pb2.AboutResponse(executable=sys.executable, version=sys.version.split()[0])

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:
        return language_pb2.GetProgramDependenciesResponse()

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:
        yield language_pb2.InstallDependenciesResponse(stdout=b"They are there.\n")

    def Run(self, request: Any, context: Any) -> Any:
        environment = {
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        program = Path(request.info.program_directory, request.info.entry_point)
        code = self._run(
            [
                python_of(request.info, request.pwd),
                "-u",
                str(PROGRAM),
                request.monitor_address,
                self._engine,
                request.project,
                request.stack,
                request.organization or "organization",
                "true" if request.dryRun else "false",
                str(request.parallel),
                str(program),
                *request.args,
            ],
            request.pwd,
            environment,
        )
        if code == REPORTED:
            return language_pb2.RunResponse(bail=True)
        return language_pb2.RunResponse(error=f"the program ended with {code}" if code else "")

    def _run(self, words: list[str], folder: str, environment: Mapping[str, str]) -> int:
        child = subprocess.Popen(words, cwd=folder or None, env={**os.environ, **environment})
        self._children.add(child)
        try:
            return child.wait()
        finally:
            self._children.discard(child)

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:
        environment = dict(one.partition("=")[::2] for one in request.env)
        program = str(Path(request.info.program_directory or request.program, request.info.entry_point))
        words = [python_of(request.info, program), "-u"]
        if request.kind == "analyzer":
            words += ["-m", "pulumi.policy", *request.args, program]
        else:
            words += [program, *request.args]
        child = subprocess.Popen(
            words,
            cwd=request.pwd or None,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._children.add(child)
        context.add_callback(child.terminate)
        with child, selectors.DefaultSelector() as streams:
            for name, stream in (("stdout", child.stdout), ("stderr", child.stderr)):
                if stream:
                    streams.register(stream, selectors.EVENT_READ, name)
            while streams.get_map():
                for key, _ in streams.select():
                    chunk = os.read(key.fd, 65536)
                    if not chunk:
                        streams.unregister(key.fd)
                    elif key.data == "stdout":
                        yield language_pb2.RunPluginResponse(stdout=chunk)
                    else:
                        yield language_pb2.RunPluginResponse(stderr=chunk)
        self._children.discard(child)
        yield language_pb2.RunPluginResponse(exitcode=child.wait())

    def Cancel(self, request: Any, context: Any) -> Any:
        self.end()
        return Empty()

    def end(self) -> None:
        """End what runs."""
        for child in list(self._children):
            child.terminate()


def main() -> None:
    """Serve until the engine goes."""
    engine = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    host = Host(engine)
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=32),
        options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
    )
    language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    ended.wait()
    host.end()
    server.stop(1)


if __name__ == "__main__":
    main()
