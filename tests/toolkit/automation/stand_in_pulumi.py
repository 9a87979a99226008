"""A stand-in for the `pulumi` executable. It is not the Pulumi CLI, and says so in its version's build part.

It answers the commands that the Automation API issues, as the CLI's sources say they are answered
(pulumi/pulumi: `pkg/cmd/pulumi`, `pkg/backend/diy/lock.go`, `pkg/backend/httpstate`, and what
`pulumi.automation` parses). It runs no program: an operation sends the engine events that a test wrote down,
in the shapes of `sdk/go/common/apitype/events.go`. Its "backend" and its notes on what it was asked are
files in the folder that $STAND_IN names.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

HOME = Path(os.environ["STAND_IN"])
BACKEND = HOME / "backend.json"
SCENARIO = json.loads((HOME / "scenario.json").read_text())
MISTAKES = {
    "login": "error: PULUMI_ACCESS_TOKEN must be set for login during non-interactive CLI sessions",
    "passphrase": "error: getting stack configuration: get stack secrets manager: incorrect passphrase",
    "no-passphrase": (
        "error: getting stack configuration: get stack secrets manager: passphrase must be set with "
        "PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE environment variables"
    ),
    "locked": (
        "error: the stack is currently locked by 1 lock(s). Either wait for the other process(es) to end or "
        "delete the lock file with `pulumi cancel`.\n"
        "  file:///state/.pulumi/locks/organization/demo/dev/1b2c.json: created by ada@build-7 (pid 4242) at "
        "2026-11-23T09:30:00Z"
    ),
    "conflict": "error: [409] Conflict: Another update is currently in progress.",
    "plugin": (
        "error: Could not automatically download and install resource plugin 'pulumi-resource-aws' at "
        "version v7.51.1, install the plugin using `pulumi plugin install resource aws v7.51.1`: no network"
    ),
    "update": "error: update failed",
}
NOTHING = {"summaryEvent": {"maybeCorrupt": False, "durationSeconds": 0, "resourceChanges": {}}}


def die(text: str, code: int = 255) -> NoReturn:
    sys.stderr.write(f"{text}\n")
    sys.exit(code)


def option(arguments: list[str], name: str) -> str | None:
    return arguments[arguments.index(name) + 1] if name in arguments else None


def backend() -> dict[str, Any]:
    return json.loads(BACKEND.read_text()) if BACKEND.exists() else {}


def note(entry: dict[str, Any]) -> None:
    with (HOME / "asked.jsonl").open("a") as file:
        file.write(json.dumps(entry) + "\n")


def require(name: str) -> dict[str, Any]:
    if "login" in SCENARIO.get("mistakes", []):
        die(MISTAKES["login"], 3)
    stacks = backend()
    if name not in stacks:
        die(f"error: no stack named '{name}' found")
    for mistake in ("passphrase", "no-passphrase"):
        if mistake in SCENARIO.get("mistakes", []):
            die(MISTAKES[mistake])
    found: dict[str, Any] = stacks[name]
    return found


def seal(text: str) -> str:
    """Hide a value from a test that looks for it; the CLI encrypts it with the stack's secrets provider."""
    return "stand-in:" + base64.b64encode(text[::-1].encode()).decode()


def unseal(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"secure"}:
        return base64.b64decode(str(value["secure"]).removeprefix("stand-in:")).decode()[::-1]
    return value


def config_set(arguments: list[str], stack: str) -> None:
    require(stack)
    import yaml  # noqa: PLC0415 - most commands need none, and a test runs dozens

    positional = [a for n, a in enumerate(arguments[2:], 2) if not a.startswith("--")]
    path = Path(option(arguments, "--config-file") or f"Pulumi.{stack}.yaml")
    document = yaml.safe_load(path.read_text()) or {}
    value = sys.stdin.read().removesuffix("\n")
    document.setdefault("config", {})[positional[0]] = {"secure": seal(value)}
    path.write_text(yaml.safe_dump(document))


def config_of(arguments: list[str], stack: str) -> dict[str, Any]:
    import yaml  # noqa: PLC0415 - as above

    path = option(arguments, "--config-file")
    file = Path(path) if path else next(iter(Path().rglob(f"Pulumi.{stack}.yaml")), None)
    document = yaml.safe_load(file.read_text()) if file else {}
    return {key: unseal(value) for key, value in (document.get("config") or {}).items()}


def _event_request(line: str) -> bytes:
    """Encode an EventRequest: its only field is the text, number 1."""
    data = line.encode()
    size, length = b"", len(data)
    while length > 0x7F:
        size += bytes([length & 0x7F | 0x80])
        length >>= 7
    return b"\x0a" + size + bytes([length]) + data


class Log:
    """Where events go: a file, or since 3.206 the Automation API's gRPC server."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.sent: list[str] = []

    def send(self, events: list[dict[str, Any]]) -> None:
        lines = []
        for event in events:
            self.sent.append("")
            stamped = {"sequence": len(self.sent), "timestamp": int(time.time()), **event}
            lines.append(json.dumps(stamped))
        if not self.target.startswith("tcp://"):
            with Path(self.target).open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
            return
        import grpc  # noqa: PLC0415 - slow to import, and most commands send nothing

        with grpc.insecure_channel(self.target.removeprefix("tcp://")) as channel:
            # By its name and by hand: the SDK's stubs would take longer to import than all the rest.
            stream = channel.stream_unary("/pulumirpc.Events/StreamEvents", _event_request)
            stream(iter(lines))


def operate(operation: str, arguments: list[str], stack: str) -> None:
    found = require(stack)
    for mistake in ("locked", "conflict"):
        if mistake in SCENARIO.get("mistakes", []):
            die(MISTAKES[mistake])
    note({"operation": operation, "config": config_of(arguments, stack), "stack": stack})
    log = Log(option(arguments, "--event-log") or os.devnull)
    stopped: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _frame: stopped.append(number))
    events: list[dict[str, Any]] = []
    for event in SCENARIO.get(operation, [NOTHING]):
        if event != "wait for ^C":
            events.append(event)
            continue
        log.send(events)
        events = []
        (HOME / "waiting").touch()
        while not stopped:
            time.sleep(0.01)
        time.sleep(0.2)  # what is under way is finished; a second signal would have been an abort
        note({"signals": len(stopped)})
    log.send([*events, {"cancelEvent": {}}])
    if stopped:
        die("error: update canceled")
    if "plugin" in SCENARIO.get("mistakes", []):
        die(MISTAKES["plugin"])
    if "update" in SCENARIO.get("mistakes", []):
        die(MISTAKES["update"])
    if operation in {"up", "destroy"}:
        outputs = SCENARIO.get("outputs", {}) if operation == "up" else {}
        BACKEND.write_text(json.dumps({**backend(), stack: {**found, "outputs": outputs, "updated": True}}))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def stack_command(arguments: list[str], stack: str) -> None:
    if arguments[1] == "init":
        if "login" in SCENARIO.get("mistakes", []):
            die(MISTAKES["login"], 3)
        BACKEND.write_text(json.dumps({**backend(), arguments[2]: {"outputs": {}}}))
        return
    found = require(stack)
    if arguments[1] == "output":
        open_ = "--show-secrets" in arguments
        values = found["outputs"].items()
        say(json.dumps({k: v["value"] if open_ or not v.get("secret") else "[secret]" for k, v in values}))
    elif arguments[1] == "history":
        entry = {"kind": "update", "startTime": "2026-11-23T09:00:00.000Z", "message": "", "environment": {}}
        done = {**entry, "config": {}, "result": "succeeded"}
        say(json.dumps([done] if found.get("updated") else []))


def main() -> None:
    arguments = [a for a in sys.argv[1:] if a != "--non-interactive"]
    note({"argv": sys.argv[1:], "group": os.getpgrp() == os.getpid()})
    command = arguments[0]
    stack = option(arguments, "--stack") or ""
    if command == "version":
        say(SCENARIO.get("version", "v3.272.0+berth.stand-in"))
    elif command == "stack":
        stack_command(arguments, stack)
    elif arguments[:2] == ["config", "set"]:
        config_set(arguments, stack)
    elif command == "destroy" and "--preview-only" in arguments:
        operate("preview_destroy", arguments, stack)
    elif command in {"preview", "up", "destroy"}:
        operate(command, arguments, stack)
    else:
        die(f"error: the stand-in knows no `pulumi {' '.join(arguments)}`")


main()
