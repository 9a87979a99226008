"""What a cluster can do to a deployment: faults in front of the real API server, no answer, no permission."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from berth.deployer import Report, RunRequest, outputs, preview, render
from berth.deployer.client import NAMESPACES, Api
from berth.deployer.errors import ApiError
from berth.deployer.kubeconfig import Credentials, load

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .conftest import Stack

pytestmark = pytest.mark.cluster
TWO = 'configmap("one", {"a": "1"})\nconfigmap("two", {"a": "1"})'


class FaultyFront:
    """A plain HTTP server before the real API server that misbehaves on demand, and counts.

    `fault(method, path, number)` gives, for the number-th such request: a status to answer with, `reset` to
    cut the connection, or None to pass it on.
    """

    def __init__(self, kubeconfig: Path) -> None:
        self.target = load(str(kubeconfig))
        self.seen: list[tuple[str, str]] = []
        self.fault: Callable[[str, str, int], Any] = lambda *_: None
        self.headers: dict[str, str] = {}
        self.server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        credentials = Credentials(self.target)
        context = await credentials.tls()
        assert isinstance(context, ssl.SSLContext)
        self.http = httpx.AsyncClient(base_url=self.target.server, verify=context, trust_env=False)
        self.own_headers = await credentials.headers()
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.server is not None
        self.server.close()
        await self.http.aclose()

    def kubeconfig(self, folder: Path) -> Path:
        path = folder / "front.kubeconfig"
        content = {
            "current-context": "front",
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": {"token": "front-token-canary"}}],
            "contexts": [{"name": "front", "context": {"cluster": "c", "user": "u"}}],
        }
        path.write_text(yaml.safe_dump(content))
        return path

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while line := await reader.readline():
                method, target, _ = line.decode().split()
                headers = {}
                while (row := await reader.readline()).strip():
                    name, _, value = row.decode().partition(":")
                    headers[name.strip().lower()] = value.strip()
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                path = urlsplit(target).path
                number = self.seen.count((method, path))
                self.seen.append((method, path))
                answer = self.fault(method, path, number)
                if answer == "reset":
                    writer.transport.abort()
                    return
                if answer is None:
                    kept = {"content-type": headers.get("content-type", ""), **self.own_headers}
                    response = await self.http.request(method, target, headers=kept, content=body)
                    status, text = response.status_code, response.content
                elif isinstance(answer, tuple):
                    status, text = answer
                else:
                    status, text = answer, b'{"kind":"Status","message":"injected"}'
                extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
                head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(text)}\r\n{extra}\r\n"
                writer.write(head.encode() + text)
                await writer.drain()
        writer.close()


@pytest.fixture
async def front(stack: Stack, tmp_path: Path) -> AsyncIterator[FaultyFront]:
    """Put a faulty front before the API server, and point the stack at it."""
    async with FaultyFront(stack.kubeconfig) as made:
        stack.kubeconfig = made.kubeconfig(tmp_path)
        yield made


def fine(report: Report) -> Report:
    assert report.ok, render(report)
    return report


@pytest.mark.parametrize("fault", [429, 500, 503, "reset"])
async def test_passing_faults_are_retried(stack: Stack, front: FaultyFront, fault: Any) -> None:
    front.headers = {"Retry-After": "0"} if fault == 429 else {}
    front.fault = lambda _, path, number: (
        fault if number % 2 == 0 and ("configmaps/" in path or "secrets/" in path) else None
    )
    done = fine(await stack.up(TWO))
    assert done.summary == {"create": 2}
    assert any(event.startswith("retry:") for event in stack.events)
    front.fault = lambda *_: None
    assert fine(await stack.up()).changes == []


async def test_retry_after_is_honoured(stack: Stack, front: FaultyFront) -> None:
    api = Api(load(str(stack.kubeconfig)))
    front.headers = {"Retry-After": "1"}
    front.fault = lambda *request: 429 if request[2] == 0 else None
    began = asyncio.get_running_loop().time()
    await api.get(NAMESPACES, "", "kube-system")
    assert asyncio.get_running_loop().time() - began >= 1.0
    await api.close()


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
async def test_final_answers_are_not_retried(stack: Stack, front: FaultyFront, status: int) -> None:
    api = Api(load(str(stack.kubeconfig)))
    front.fault = lambda *_: status
    with pytest.raises(ApiError):
        await api.call("GET", "/api/v1/namespaces/kube-system")
    assert len(front.seen) == 1
    await api.close()


async def test_schema_errors_that_come_as_500_are_not_retried(stack: Stack, front: FaultyFront) -> None:
    api = Api(load(str(stack.kubeconfig)))
    front.fault = lambda *_: (500, b'{"message":"failed to create typed patch object (x)"}')
    with pytest.raises(ApiError):
        await api.call("PATCH", "/api/v1/namespaces/x/configmaps/y", body={})
    assert len(front.seen) == 1
    await api.close()


async def test_a_stale_record_is_read_again_at_most_five_times(stack: Stack, front: FaultyFront) -> None:
    fine(await stack.up(TWO))
    stale = (409, b'{"kind":"Status","reason":"Conflict","message":"stale"}')
    name = f"/secrets/demo.{stack.name}"
    front.fault = lambda method, path, number: (
        stale if method == "PUT" and path.endswith(name) and number < 4 else None
    )
    front.seen.clear()
    fine(await stack.up('configmap("one", {"a": "2"})'))
    front.seen.clear()
    front.fault = lambda method, path, _: stale if method == "PUT" and path.endswith(name) else None
    failed = await stack.up(TWO)
    assert not failed.ok
    assert "changes faster than it can be written" in failed.errors[0].message
    assert sum(1 for method, path in front.seen if method == "PUT" and path.endswith(name)) <= 12


async def test_a_cluster_that_does_not_answer_is_one_error(stack: Stack, tmp_path: Path) -> None:
    async with FaultyFront(stack.kubeconfig) as front:
        path = front.kubeconfig(tmp_path)
    stack.kubeconfig = path  # its port is closed now
    body = "\n".join(f'configmap("c{index}", {{"a": "1"}})' for index in range(10))
    stack.write(body)
    for run in (stack.preview, stack.up):
        report: Any = await run()
        assert not report.ok
        assert [error.code for error in report.errors] == ["unreachable"], render(report)
        text = report.errors[0].message
        assert "127.0.0.1" in text
        assert str(path) in text
        assert "front-token-canary" not in text
    report = await stack.down()
    assert [error.code for error in report.errors] == ["unreachable"]


async def test_a_wrong_certificate_is_named(stack: Stack, tmp_path: Path) -> None:
    content = yaml.safe_load(stack.kubeconfig.read_text())
    for entry in content["clusters"]:
        entry["cluster"].pop("certificate-authority-data", None)
        entry["cluster"].pop("certificate-authority", None)
    stack.kubeconfig = tmp_path / "kubeconfig"
    stack.kubeconfig.write_text(yaml.safe_dump(content))
    report = await stack.up(TWO)
    assert not report.ok
    assert "not signed by the kubeconfig's CA" in report.errors[0].message


async def test_a_forbidden_verb_is_refused_before_anything_changes(stack: Stack, tmp_path: Path) -> None:
    name, kubectl = stack.name, stack.cluster.kubectl
    kubectl("create", "serviceaccount", "weak", "-n", name)
    kubectl(
        "create", "clusterrole", name, "--verb=get,list", "--resource=configmaps,secrets,namespaces,leases"
    )
    kubectl("create", "clusterrolebinding", name, f"--clusterrole={name}", f"--serviceaccount={name}:weak")
    try:
        token = kubectl("create", "token", "weak", "-n", name).strip()
        content = yaml.safe_load(stack.kubeconfig.read_text())
        content["users"] = [{"name": content["users"][0]["name"], "user": {"token": token}}]
        strong, stack.kubeconfig = stack.kubeconfig, tmp_path / "weak.kubeconfig"
        stack.kubeconfig.write_text(yaml.safe_dump(content))
        stack.write(TWO)
        planned = fine(await stack.preview())
        assert planned.summary == {"create": 2}
        (warning,) = [d for d in planned.diagnostics if d.severity == "warning"]
        assert "cannot patch resource" in warning.message
        refused = await stack.up()
        assert [error.code for error in refused.errors] == ["forbidden"], render(refused)
        assert token not in render(refused)
        assert stack.objects("configmaps") == set()
        assert f"demo.{name}" not in kubectl("get", "leases,secrets", "-A", "-o", "name")
        stack.kubeconfig = strong
    finally:
        kubectl("delete", "clusterrole", name)
        kubectl("delete", "clusterrolebinding", name)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            'k8s.apiextensions.CustomResource("x", "no.example.com/v1", "Nothing", {}, {"name": "x"}, on)',
            "has no kind Nothing.no.example.com",
        ),
        (
            'k8s.core.v1.ConfigMap("x", metadata={"namespace": "nowhere-at-all"}, opts=on)',
            "namespace 'nowhere-at-all' does not exist",
        ),
        (
            'k8s.core.v1.Service("x", on, metadata={"namespace": name}, spec={"ports": [{"port": 99999}]})',
            "spec.ports[0].port",
        ),
        (
            'k8s.core.v1.ConfigMap("x", metadata={"name": "Not A Name", "namespace": name}, opts=on)',
            "metadata.name",
        ),
    ],
)
async def test_what_cannot_work_is_refused_before_anything_changes(
    stack: Stack, body: str, said: str
) -> None:
    stack.write(f'configmap("fine", {{"a": "1"}})\n{body}')
    for run in (stack.preview, stack.up):
        report: Any = await run()
        assert not report.ok
        assert said in report.errors[0].message, render(report)
        assert len(report.errors) == 1
    assert stack.objects() == set()


async def test_a_full_disk_is_one_error(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    mount = Path(tempfile.mkdtemp())
    await _run("mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=1", "tmpfs", str(mount))
    try:
        monkeypatch.setattr(tempfile, "tempdir", str(mount))
        stack.write(TWO)
        with pytest.raises(Exception, match=f"cannot .* in {mount}: No space left on device"):
            await stack.up()
        monkeypatch.undo()
        assert stack.objects() == set()
    finally:
        await _run("umount", str(mount))
        await _run("rmdir", str(mount))


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0


async def test_a_stack_of_another_engine_is_refused(stack: Stack) -> None:
    fine(await stack.up(TWO))
    patch = '{"stringData":{"engine":"pulumi"}}'
    stack.cluster.kubectl("patch", "secret", f"demo.{stack.name}", "-n", "berth-system", "-p", patch)
    for run in (stack.preview, stack.up, stack.down):
        report: Any = await run()
        assert [error.code for error in report.errors] == ["engine"], render(report)
        assert "was deployed by pulumi" in report.errors[0].message
    stack.cluster.kubectl(
        "patch",
        "secret",
        f"demo.{stack.name}",
        "-n",
        "berth-system",
        "-p",
        patch.replace("pulumi", "berth-deployer"),
    )


async def test_a_lost_record_is_made_again_and_nothing_is_orphaned(stack: Stack) -> None:
    fine(await stack.up(TWO))
    stack.cluster.kubectl("delete", "secret", f"demo.{stack.name}", "-n", "berth-system")
    done = fine(await stack.up('configmap("one", {"a": "1"})'))
    assert [(step.name, step.op.value) for step in done.changes] == [("two", "delete")]


async def test_outputs_of_a_stack_that_is_not_there(stack: Stack) -> None:
    stack.write(TWO)
    with pytest.raises(Exception, match="is not deployed on"):
        await outputs(stack.request(), interpreter=stack.interpreter)


async def test_down_works_with_a_broken_program(stack: Stack) -> None:
    fine(await stack.up(TWO))
    stack.write(TWO + "\nraise RuntimeError('broken')")
    report = fine(await stack.down())
    assert len(report.changes) == 2
    assert any("broken" in d.message and d.severity == "warning" for d in report.diagnostics)
    fine(await stack.up(TWO))
    (stack.folder / "__main__.py").write_text("raise RuntimeError('broken from the start')")
    report = await stack.down()
    assert not report.ok
    assert "hand them over as kubeconfigs" in report.errors[0].message
    report = fine(await stack.down(kubeconfigs=((str(stack.kubeconfig), None),)))
    assert len(report.changes) == 2
    assert stack.objects() == set()


async def test_previews_offline_ask_nobody(stack: Stack, front: FaultyFront) -> None:
    stack.write(TWO)
    request: RunRequest = stack.request(offline=True)
    report = fine(await preview(request, interpreter=stack.interpreter))
    assert report.summary == {"create": 2}
    assert front.seen == []
