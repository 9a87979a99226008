"""Kubeconfigs: contexts, merging, credentials of every kind, and errors that name what is wrong."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.deployer import ConfigError, Unreachable
from berth.deployer.client import _proxy_for
from berth.deployer.kubeconfig import Credentials, load

if TYPE_CHECKING:
    from pathlib import Path


def document(user: dict[str, Any] | None = None, **cluster: Any) -> dict[str, Any]:
    return {
        "current-context": "one",
        "clusters": [{"name": "c", "cluster": {"server": "https://198.18.0.1:6443", **cluster}}],
        "users": [{"name": "u", "user": user or {"token": "canary-token"}}],
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u"}},
            {"name": "two", "context": {"cluster": "c", "user": "u", "namespace": "ns"}},
        ],
    }


def write(folder: Path, content: dict[str, Any], name: str = "config") -> str:
    path = folder / name
    path.write_text(yaml.safe_dump(content))
    return str(path)


async def test_path_contents_and_environment_mean_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, document())
    by_path, by_content = load(path), load(yaml.safe_dump(document()))
    by_json = load(json.dumps(document()))
    monkeypatch.setenv("KUBECONFIG", path)
    assert by_path == load()
    for target in (by_path, by_content, by_json):
        assert (target.server, target.namespace) == ("https://198.18.0.1:6443", "default")
        assert await Credentials(target).headers() == {"Authorization": "Bearer canary-token"}
        assert "canary" not in repr(target)
    assert load(path, "two").namespace == "ns"


def test_several_files_are_merged_and_the_first_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = document()
    second = document(server="https://198.18.0.9:1")
    second["contexts"].append({"name": "three", "context": {"cluster": "d", "user": "u"}})
    second["clusters"].append({"name": "d", "cluster": {"server": "https://198.18.0.2:1"}})
    paths = [write(tmp_path, first, "a"), str(tmp_path / "missing"), write(tmp_path, second, "b")]
    monkeypatch.setenv("KUBECONFIG", ":".join(paths))
    assert load().server == "https://198.18.0.1:6443"
    assert load(None, "three").server == "https://198.18.0.2:1"
    assert load(None, "one", "d").server == "https://198.18.0.2:1"


def test_files_named_in_a_kubeconfig_lie_beside_it(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("CA")
    (tmp_path / "cert.pem").write_text("CERT")
    data = base64.b64encode(b"KEY").decode()
    user = {"client-certificate": "cert.pem", "client-key-data": data}
    target = load(write(tmp_path, document(user, **{"certificate-authority": "ca.pem"})))
    assert (target.ca, target.client_cert, target.client_key) == ("CA", "CERT", "KEY")
    assert "KEY" in target.secrets()


async def test_token_files_and_basic_and_impersonation(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    target = load(write(tmp_path, document({"tokenFile": "token", "as": "eve", "as-groups": ["a", "b"]})))
    credentials = Credentials(target)
    assert await credentials.headers() == {"Authorization": "Bearer from-file"}
    assert "from-file" in credentials.secrets
    assert target.impersonate == (
        ("Impersonate-User", "eve"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
    )
    (tmp_path / "token").write_text("rotated")
    assert credentials.forget()
    assert await credentials.headers() == {"Authorization": "Bearer rotated"}
    basic = Credentials(load(write(tmp_path, document({"username": "u", "password": "p"}))))
    assert await basic.headers() == {"Authorization": f"Basic {base64.b64encode(b'u:p').decode()}"}


def plugin(folder: Path, body: str) -> dict[str, Any]:
    script = folder / "plugin.py"
    script.write_text(f"#!{sys.executable}\nimport json, os, sys\n{body}")
    script.chmod(0o755)
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "./plugin.py",
            "args": ["--x"],
            "env": [{"name": "MINE", "value": "1"}],
            "provideClusterInfo": True,
        }
    }


async def test_exec_plugins_are_run_and_renewed(tmp_path: Path) -> None:
    body = """
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
assert info["spec"]["cluster"]["server"] == "https://198.18.0.1:6443", info
assert sys.argv[1:] == ["--x"] and os.environ["MINE"] == "1"
count = len(os.listdir("."))
print(json.dumps({"kind": "ExecCredential", "status": {"token": "t%s" % open(__file__ + ".n").read(),
    "expirationTimestamp": "2020-01-01T00:00:00Z"}}))
"""
    target = load(write(tmp_path, document(plugin(tmp_path, body))))
    (tmp_path / "plugin.py.n").write_text("1")
    credentials = Credentials(target)
    assert await credentials.headers() == {"Authorization": "Bearer t1"}
    (tmp_path / "plugin.py.n").write_text("2")
    credentials.forget()
    assert await credentials.headers() == {"Authorization": "Bearer t2"}
    assert {"t1", "t2"} <= set(credentials.secrets)


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        ("sys.exit('no login')", Unreachable, "no login"),
        ("print('{}')", ConfigError, "did not print an ExecCredential"),
    ],
)
async def test_a_failing_plugin_is_named(
    tmp_path: Path, body: str, error: type[Exception], said: str
) -> None:
    target = load(write(tmp_path, document(plugin(tmp_path, body))))
    with pytest.raises(error, match=said):
        await Credentials(target).headers()


async def test_a_missing_plugin_says_how_to_get_it(tmp_path: Path) -> None:
    user = {"exec": {"command": "no-such-plugin", "installHint": "apt install it"}}
    with pytest.raises(ConfigError, match=r"cannot run 'no-such-plugin'.*apt install it"):
        await Credentials(load(write(tmp_path, document(user)))).headers()


@pytest.mark.parametrize(
    ("change", "context", "said"),
    [
        ({}, "nowhere", "has no context 'nowhere'; it has: one, two"),
        ({"current-context": ""}, None, "has no current context"),
        ({"clusters": []}, None, "has no cluster 'c'; it has: none"),
        ({"users": []}, None, "has no user 'u'"),
        ({"clusters": [{"name": "c", "cluster": {"server": "not an address"}}]}, None, "expected https://"),
        ({"users": [{"name": "u", "user": {"auth-provider": {}}}]}, None, "auth-provider"),
        (
            {"users": [{"name": "u", "user": {"client-key-data": "%%%"}}]},
            None,
            "client-key-data is not base64",
        ),
        (
            {"users": [{"name": "u", "user": {"client-key": "nope.pem"}}]},
            None,
            "nope.pem: No such file",
        ),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: dict[str, Any], context: str | None, said: str) -> None:
    path = write(tmp_path, {**document(), **change})
    with pytest.raises(ConfigError) as caught:
        load(path, context)
    assert said in str(caught.value)


def test_no_kubeconfig_at_all_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        ConfigError, match=r"missing, which the provider's `kubeconfig` names.* not read then"
    ):
        load(str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="kubernetes:kubeconfig, or the variable KUBECONFIG"):
        load()
    (tmp_path / "bad").write_text("a: [")
    with pytest.raises(ConfigError, match="bad is not YAML"):
        load(str(tmp_path / "bad"))


def test_proxies_are_not_asked_for_addresses_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://198.18.99.99:3128")
    assert _proxy_for("https://198.18.48.1:6443") is None
    assert _proxy_for("https://127.0.0.1:6443") is None
    assert _proxy_for("https://api.example.com:6443") == "http://198.18.99.99:3128"
    monkeypatch.setenv("NO_PROXY", "example.com")
    assert _proxy_for("https://api.example.com:6443") is None
