"""A kubeconfig is read as kubectl reads it, and what is wrong with one is named."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.operations.errors import KubeconfigError
from berth.operations.kubeconfig import read_access

if TYPE_CHECKING:
    from pathlib import Path


def config(user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None) -> str:
    return yaml.safe_dump(
        {
            "current-context": "one",
            "contexts": [
                {"name": "one", "context": {"cluster": "c", "user": "u"}},
                {"name": "two", "context": {"cluster": "gone", "user": "u"}},
            ],
            "clusters": [{"name": "c", "cluster": {"server": "https://198.18.0.1:6443/", **(cluster or {})}}],
            "users": [{"name": "u", "user": {"token": "canary-token"} if user is None else user}],
        }
    )


async def test_contents_and_files_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "config"
    file.write_text(config())
    for given in (config(), str(file)):
        access = await read_access(given)
        assert access.server == "https://198.18.0.1:6443"
        assert access.headers == {"Authorization": "Bearer canary-token"}
        assert "canary" not in repr(access)


async def test_credentials_beside_the_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-a-file\n")
    (tmp_path / "config").write_text(config({"tokenFile": "token"}))
    access = await read_access(str(tmp_path / "config"))
    assert access.headers == {"Authorization": "Bearer from-a-file"}
    access = await read_access(config({"username": "ana", "password": "pass"}))
    assert access.headers == {"Authorization": "Basic " + base64.b64encode(b"ana:pass").decode()}


async def test_a_credential_plugin_is_run(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    answer = json.dumps({"kind": "ExecCredential", "status": {"token": "from-the-plugin"}})
    plugin.write_text(f'#!/bin/sh\n[ "$1 $WHO" = "give ana" ] && echo \'{answer}\'\n')
    plugin.chmod(0o755)
    entry = {"command": str(plugin), "args": ["give"], "env": [{"name": "WHO", "value": "ana"}]}
    access = await read_access(config({"exec": entry}))
    assert access.headers == {"Authorization": "Bearer from-the-plugin"}
    with pytest.raises(KubeconfigError, match="ended with 1"):
        await read_access(config({"exec": {**entry, "args": ["refuse"]}}))
    with pytest.raises(KubeconfigError, match=r"cannot be started.*brew install it"):
        await read_access(config({"exec": {"command": "/no/such/plugin", "installHint": "brew install it"}}))


@pytest.mark.parametrize(
    ("text", "context", "said"),
    [
        ("[1,\n2]", "", "holds no mapping"),
        ("a: [\n", "", "cannot be read as a kubeconfig"),
        (config(), "three", "has no context 'three'; it has: one, two"),
        (config(), "two", "has no cluster 'gone'; it has: c"),
        (config(cluster={"server": "http://198.18.0.1"}), "", "must begin with https"),
        (config(cluster={"proxy-url": "http://p"}), "", "uses proxy-url"),
        (config({"auth-provider": {"name": "gcp"}}), "", "uses auth-provider"),
        (config({"tokenFile": "/no/such/token"}), "", "tokenFile cannot be read"),
        (
            config({"client-certificate": "/no/such/file", "client-key": "/x"}),
            "",
            "client-certificate cannot",
        ),
        (config(cluster={"certificate-authority-data": "%%"}), "", "certificate-authority cannot be read"),
        (config(cluster={"certificate-authority-data": "Zm9v"}), "", "a certificate cannot be used"),
        ("/no/such/kubeconfig", "", "/no/such/kubeconfig cannot be read"),
    ],
)
async def test_what_is_wrong_is_named(text: str, context: str, said: str) -> None:
    with pytest.raises(KubeconfigError, match=said):
        await read_access(text, context)
