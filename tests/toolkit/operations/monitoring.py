"""A real Prometheus and a real Alertmanager on loopback: those of the images' Debian."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from tests.serving.conftest import free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def prometheus(
    folder: Path,
    config: dict[str, Any],
    rules: dict[str, Any] | None = None,
    behind: tuple[str, Path, Path] | None = None,
) -> Iterator[str]:
    """Its address, once it is ready; it takes remote write.

    With `behind`, a path, a certificate and its key, it answers by HTTPS below that path: as an API server
    passes requests on to a Service.
    """
    settings = folder / "prometheus.yml"
    settings.write_text(json.dumps(config))  # JSON is YAML
    if rules is not None:
        (folder / "rules.yml").write_text(json.dumps(rules))
    flags = [
        f"--config.file={settings}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.enable-remote-write-receiver",
    ]
    prefix = ""
    if behind is not None:
        prefix, certificate, key = behind
        web = {"tls_server_config": {"cert_file": str(certificate), "key_file": str(key)}}
        (folder / "web.yml").write_text(json.dumps(web))
        flags += [f"--web.config.file={folder / 'web.yml'}", f"--web.route-prefix={prefix}"]
    with _running(folder, "prometheus", flags, prefix) as url:
        yield url


@contextmanager
def alertmanager(folder: Path, config: dict[str, Any] | None = None) -> Iterator[str]:
    """Its address, once it is ready; without a configuration it tells nobody."""
    settings = folder / "alertmanager.yml"
    silent = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
    settings.write_text(json.dumps(config or silent))
    flags = [
        f"--config.file={settings}",
        f"--storage.path={folder / 'alerts'}",
        "--cluster.listen-address=",
    ]
    with _running(folder, "prometheus-alertmanager", flags) as url:
        yield url


@contextmanager
def _running(folder: Path, program: str, flags: list[str], prefix: str = "") -> Iterator[str]:
    from berth_images.programs import programs  # noqa: PLC0415 - fetches them the first time

    found = programs()
    command: list[Any] = [found / program]
    if program == "prometheus-alertmanager":
        # Debian's reads its default templates from /usr/share; here that is the package's own, for it alone.
        bind = 'mount --bind "$0" /usr/share && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", bind, found.parent / "share", *command]
    port = free_port()
    said = folder / f"{program}.log"
    with said.open("wb") as log:
        process = subprocess.Popen(
            [*command, *flags, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
        )
    url = f"{'https' if prefix else 'http'}://127.0.0.1:{port}"

    def ready() -> bool:
        assert process.poll() is None, said.read_text()
        try:
            return httpx.get(f"{url}{prefix}/-/ready", verify=not prefix).status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(ready, f"{program} is ready")
        yield url
    finally:
        process.kill()
        process.wait(30)
