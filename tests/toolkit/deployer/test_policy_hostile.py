"""Policies that raise, hang, die or leak; packs that do not start: shown as such, never as a pass."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from berth.deployer import Event, Interpreter, RunRequest, previews, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from berth.deployer import PolicyPack, Report

Offline = Any
Pack = Any
CANARY = "canary-9f8e7d6c5b4a"
THREE = """
for key in "abc":
    k8s.core.v1.ConfigMap(key, metadata={"name": key}, data={"k": "v"})
"""


def told(report: Report) -> set[tuple[str, str, str]]:
    return {(r.policy, r.status, r.urn.rpartition("::")[2]) for r in report.policy_results}


def messages(report: Report, policy: str) -> list[str]:
    return [r.message for r in report.policy_results if r.policy == policy]


async def test_a_policy_that_raises_is_named_and_the_others_go_on(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        def raises(args, report):
            if args.name in "bc":
                report("said before")
                return {}[args.name]
        async def raises_later(args, report):
            if args.name == "a":
                raise ValueError("later")
        def finds(args, report):
            if args.name in "abc":
                report("found")
        def whole_raises(args, report):
            raise RuntimeError("of " + str(len(args.resources)))
        def whole_finds(args, report):
            report("found")
        def fix_raises(args):
            if args.name == "c":
                raise OSError("cannot")
        def fixes(args):
            if args.name == "c":
                return {**args.props, "data": {"fixed": "yes"}}
        """,
        "each(raises), each(raises_later, MANDATORY), each(finds), whole(whole_raises), whole(whole_finds),"
        "fix(fix_raises), fix(fixes)",
    )
    report = await offline(THREE, policy_packs=(rules,))
    assert not report.ok
    assert told(report) == {
        ("raises", "broken", "b"),
        ("raises", "broken", "c"),
        ("raises-later", "broken", "a"),
        ("finds", "violated", "a"),
        ("finds", "violated", "b"),
        ("finds", "violated", "c"),
        ("whole-raises", "broken", ""),
        ("whole-finds", "violated", ""),
        ("fix-raises", "broken", "c"),
        ("fixes", "remediated", "c"),
    }
    assert messages(report, "raises")[0] == "it raised KeyError: 'b' (__main__.py line 24)"
    assert messages(report, "whole-raises")[0].startswith("it raised RuntimeError: of ")
    assert "later" in messages(report, "raises-later")[0]
    (problem,) = report.errors
    assert problem.message == "policies are broken: fix-raises, raises, raises-later, whole-raises"
    assert "broken: raises (advisory)" in render(report)


async def test_policies_that_do_not_end_are_stopped(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        remembered = {}
        def remembers(args, report):
            remembered[args.urn] = args.name
        def loops(args, report):
            while args.name == "b":
                pass
        def sleeps(args, report):
            if args.name == "b":
                time.sleep(10)
        def finds(args, report):
            if args.name in "abc":
                report("found")
        def counts(args, report):
            report(str(len(remembered) - len(args.resources)) + " missing")
        """,
        "each(remembers), each(loops, MANDATORY), each(sleeps), each(finds), whole(counts)",
    )
    began = time.monotonic()
    report = await offline(THREE, policy_packs=(rules,), policy_seconds=2.5)
    assert time.monotonic() - began < 60
    assert not report.ok
    assert {r for r in told(report) if r[2]} == {
        ("loops", "broken", "b"),
        ("sleeps", "broken", "b"),
        ("finds", "violated", "a"),
        ("finds", "violated", "b"),
        ("finds", "violated", "c"),
    }
    assert "it took longer than 2.5 s" in messages(report, "loops")
    # What a pack remembers of resources survives that its process did not.
    assert messages(report, "counts") == ["About counts.\n0 missing"]


BROKEN = {
    "raises": ("raise ValueError('at import')", "ValueError: at import"),
    "syntax": ("def (:", "SyntaxError"),
    "leaves": ("sys.exit(3)", "ended with exit code 3 before it served"),
    "vanishes": ("os._exit(0)", "ended with exit code 0 before it served"),
    "killed": ("os.kill(os.getpid(), 9)", "was killed by signal 9 before it served"),
    "empty": ("print('hello')", "ended with exit code 0 before it served; it said:\nhello"),
    "absent": ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
}


async def test_packs_that_do_not_start_say_why(offline: Offline, pack: Pack) -> None:
    good = pack(
        "def finds(args, report):\n    args.name == 'a' and report('found')\n", "each(finds)", name="good"
    )
    packs = [pack(body, name=name) for name, (body, _) in BROKEN.items()]
    report = await offline(THREE, policy_packs=(*packs, good))
    assert not report.ok
    errors = {run.name: run.error for run in report.policy_packs}
    assert errors.pop("good") == ""
    assert errors.keys() == BROKEN.keys()
    for name, (_, text) in BROKEN.items():
        assert text in errors[name], errors[name]
    assert [(r.pack, r.policy) for r in report.policy_results] == [("good", "finds")]
    text = render(report)
    assert text.count("did not run:\n") == len(BROKEN)
    assert "passed" not in text
    assert all(f"policy pack '{name}' did not run" in report.errors[0].message for name in BROKEN)


async def test_a_pack_that_never_listens_is_given_up(offline: Offline, pack: Pack) -> None:
    noise = "print('1234', '5678', '22', sep=chr(10)); time.sleep(600)"
    report = await offline(THREE, policy_packs=(pack(noise),), pack_seconds=1.0)
    assert not report.ok
    assert report.policy_packs[0].error.startswith("it did not serve within 1 s")


async def test_folders_that_are_no_packs_say_why(offline: Offline, pack: Pack, tmp_path: Path) -> None:
    def broken(name: str, file: str | None, *, main: bool = True) -> PolicyPack:
        made: PolicyPack = pack("", name=name)
        definition = made.folder / "PulumiPolicy.yaml"
        definition.unlink() if file is None else definition.write_text(file)
        if not main:
            (made.folder / "__main__.py").unlink()
        return made

    cases = {
        "none": (broken("none", None), "PulumiPolicy.yaml does not exist"),
        "node": (broken("node", "runtime: nodejs\n"), "runtime is 'nodejs'"),
        "yaml": (broken("yaml", "runtime: [\n"), "not YAML"),
        "list": (broken("list", "- runtime\n"), "expected a mapping"),
        "venv": (
            broken("venv", "runtime: {name: python, options: {virtualenv: gone}}\n"),
            f"virtualenv is 'gone', and there is no {tmp_path / 'venv' / 'gone' / 'bin' / 'python'}",
        ),
        "main": (broken("main", "runtime: python\n", main=False), "__main__.py does not exist"),
    }
    report = await offline(THREE, policy_packs=tuple(made for made, _ in cases.values()))
    assert not report.ok
    for run in report.policy_packs:
        assert cases[run.name][1] in run.error


async def test_a_pack_may_print_and_chooses_its_python(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        print("first words")
        print(12345)
        print("22")
        print("not a port: 8080", file=sys.stderr)
        def prints(args, report):
            print("looking at", args.name)
            if args.name == "a":
                report(sys.executable)
        """,
        "each(prints)",
    )
    own = Path(sys.executable).parent.parent
    link = rules.folder / "own"
    link.mkdir()
    for entry in ("bin", "lib", "pyvenv.cfg"):
        if (own / entry).exists():
            (link / entry).symlink_to(own / entry)
    (link / "bin").unlink()
    (link / "bin").mkdir()
    (link / "bin" / "python").symlink_to(sys.executable)
    definition = "runtime: {name: python, options: {virtualenv: own}}\n"
    (rules.folder / "PulumiPolicy.yaml").write_text(definition)
    report = await offline(THREE, policy_packs=(rules,))
    assert report.ok, render(report)
    assert messages(report, "prints") == [f"About prints.\n{link / 'bin' / 'python'}"]
    (said,) = [d for d in report.diagnostics if d.code == "policy"]
    assert said.severity == "info"
    assert "first words" in said.message
    assert "looking at a" in said.message


@pytest.mark.parametrize("how", ["os._exit(4)", "os.kill(os.getpid(), 9)"])
async def test_a_pack_that_dies_half_way_did_not_pass(offline: Offline, pack: Pack, how: str) -> None:
    rules = pack(
        f"""
        def dies(args, report):
            if args.name == "a":
                report("found")
            if args.name == "c":
                {how}
        def whole_finds(args, report):
            report("never asked")
        """,
        "each(dies, MANDATORY), whole(whole_finds)",
    )
    program = """
    a = k8s.core.v1.ConfigMap("a", metadata={"name": "a"}, data={"k": "v"})
    k8s.core.v1.ConfigMap("c", metadata={"name": "c"}, data={"k": a.metadata["name"]})
    """
    report = await offline(program, policy_packs=(rules,))
    assert not report.ok
    assert told(report) == {("dies", "violated", "a")}
    (run,) = report.policy_packs
    code = "ended with exit code 4" if "exit" in how else "was killed by signal 9"
    assert f"its process {code} in the middle" in run.error
    assert "passed" not in render(report)


async def test_huge_messages_are_cut_and_arrive(offline: Offline, pack: Pack) -> None:
    rules = pack(
        """
        def shouts(args, report):
            if args.name == "a":
                report("x" * 200_000)
            if args.name == "b":
                raise ValueError("y" * 20_000)
        """,
        "each(shouts)",
    )
    program = THREE + 'k8s.core.v1.ConfigMap("big", metadata={"name": "big"}, data={"k": "z" * 900_000})\n'
    report = await offline(program, policy_packs=(rules,))
    assert told(report) == {("shouts", "violated", "a"), ("shouts", "broken", "b")}
    for result in report.policy_results:
        assert len(result.message) < 9_000
    assert len(render(report)) < 5_000


async def test_what_a_policy_says_of_secrets_is_taken_out(offline: Offline, pack: Pack) -> None:
    rules = pack(
        f"""
        import base64
        def leaks(args, report):
            if args.name != "holds":
                return
            secret = args.props["data"]["s"]
            assert secret == "{CANARY}" == pulumi.Config("demo").require("key")
            print("printing", secret)
            print("complaining", secret, file=sys.stderr)
            report("it is " + secret + " or " + base64.b64encode(secret.encode()).decode())
            report("x" * 7_990 + secret)
        def raises(args, report):
            if args.name == "holds":
                raise ValueError(args.props["data"]["s"])
        def looks_around(args, report):
            if args.name == "holds":
                for file in ("environ", "cmdline"):
                    for process in ("self", str(os.getppid())):
                        seen = open(f"/proc/{{process}}/{{file}}").read()
                        report(f"{{process}} {{file}}: " + str("{CANARY}" in seen))
        """,
        "each(leaks, MANDATORY), each(raises), each(looks_around)",
    )
    report = await offline(
        'k8s.core.v1.ConfigMap("holds", data={"s": config.require_secret("key")})',
        config={"key": CANARY},
        secret={"key"},
        policy_packs=(rules,),
    )
    assert len(messages(report, "leaks")) == 2
    assert "it is [secret] or [secret]" in messages(report, "leaks")[0]
    assert "it raised ValueError: [secret]" in messages(report, "raises")[0]
    assert all(message.endswith("False") for message in messages(report, "looks-around"))
    assert len(messages(report, "looks-around")) == 4
    everything = render(report, diff=True, same=True) + json.dumps(report.to_json()) + repr(report)
    for form in (CANARY, CANARY[:14], base64.b64encode(CANARY.encode()).decode()):
        assert form not in everything


async def test_a_pack_that_fails_to_start_does_not_leak(offline: Offline, pack: Pack) -> None:
    body = """
    key = pulumi.Config("demo").require("key")
    print("a", key)
    raise ValueError((key + " ") * 90)
    """
    report = await offline(THREE, config={"key": CANARY}, secret={"key"}, policy_packs=(pack(body),))
    assert "ValueError: [secret]" in report.policy_packs[0].error
    everything = render(report) + json.dumps(report.to_json()) + repr(report)
    # Where a text is cut, no half of a secret is left either.
    assert not [n for n in range(len(CANARY) - 8) if CANARY[n : n + 9] in everything]


PIDS = """
open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "pids"), "a").write(f"{os.getpid()}\\n")
"""


def pids(made: PolicyPack) -> list[int]:
    file = made.folder / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def wait_for(condition: Callable[[], Any]) -> Any:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen within a minute")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def test_a_pack_ends_with_its_preview(offline: Offline, pack: Pack) -> None:
    rules = pack(f"{PIDS}\ndef quiet(args, report):\n    pass\n", "each(quiet)")
    await offline(THREE, policy_packs=(rules,))
    (pid,) = pids(rules)
    assert not alive(pid)


def test_a_pack_ends_with_a_killed_deployer(write: Callable[[str], Path], pack: Pack, tmp_path: Path) -> None:
    rules = pack(f"{PIDS}\ndef hangs(args, report):\n    time.sleep(600)\n", "each(hangs)")
    script = tmp_path / "run.py"
    script.write_text(
        "import asyncio, pathlib\n"
        "from berth.deployer import PolicyPack, RunRequest, preview\n"
        f"pack = PolicyPack(pathlib.Path({str(rules.folder)!r}))\n"
        f"program = pathlib.Path({str(write(THREE))!r})\n"
        "more = {'offline': True, 'policy_packs': (pack,), 'policy_seconds': 600}\n"
        "asyncio.run(preview(RunRequest(program, 'demo', 'dev', **more)))\n"
    )
    child = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    try:
        (pid,) = wait_for(lambda: pids(rules))
        assert alive(pid)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    wait_for(lambda: not alive(pid))


async def test_previews_that_are_cancelled_leave_nothing_running(
    write: Callable[[str], Path], pack: Pack, interpreter: Interpreter
) -> None:
    rules = pack(f"{PIDS}\ndef quiet(args, report):\n    pass\n", "each(quiet)")
    program = write(THREE)
    requests = [RunRequest(program, "demo", f"dev{n}", offline=True, policy_packs=(rules,)) for n in range(4)]
    before = asyncio.all_tasks()
    for moment in range(4):
        begun = asyncio.Event()
        seen: list[str] = []

        def told(_: RunRequest, event: Event, seen: list[str] = seen, begun: asyncio.Event = begun) -> None:
            seen.append(event.message)
            if len(seen) > moment:  # noqa: B023 - called while this round lasts
                begun.set()

        work = asyncio.create_task(previews(requests, interpreter=interpreter, parallel=2, on_event=told))
        await begun.wait()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert not {task for task in asyncio.all_tasks() - before if not task.done()}
        # One that was asked for while its interpreter imported is ended as soon as it begins.
        async with asyncio.timeout(30):
            while any(alive(pid) for pid in pids(rules)):  # noqa: ASYNC110 - a process gives no event
                await asyncio.sleep(0.05)
