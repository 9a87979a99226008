"""A cluster of these tests' own, and an image with a small program to run in it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from berth.localcluster import Cluster
from berth.localcluster.images import ScratchImage
from berth.localcluster.toolchain import ensure_go

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> ScratchImage:
    """The program in ./probe as an image."""
    program = tmp_path_factory.mktemp("probe") / "probe"
    subprocess.run(
        [ensure_go().binary, "build", "-ldflags", "-s -w", "-o", program, "."],
        cwd=Path(__file__).parent / "probe",
        env={**os.environ, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"},
        check=True,
    )
    return ScratchImage("probe", program)


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory, probe: ScratchImage) -> Iterator[Cluster]:
    """A running cluster with the probe image in it."""
    cluster = Cluster("localcluster-tests")
    cluster.delete()
    try:
        cluster.start()
        cluster.import_image(probe.write(tmp_path_factory.mktemp("images")))
        yield cluster
    finally:
        cluster.delete()
