"""Images in a real cluster: imported, and run under Pod Security "restricted"."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from berth_catalogue.images import load_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from berth.localcluster import Cluster
    from berth_images import BuiltImage

pytestmark = pytest.mark.cluster


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Give a namespace of this test's own, where only restricted pods may run."""
    name = f"images-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield name
    cluster.kubectl("delete", "namespace", name, "--wait=true", "--timeout=60s")


def pod(
    name: str, image: BuiltImage, *, command: list[str] | None = None, env: Mapping[str, str] | None = None
) -> str:
    container: dict[str, object] = {
        "name": "main",
        "image": image.reference,
        "imagePullPolicy": "Never",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "env": [{"name": key, "value": value} for key, value in (env or {}).items()],
        "volumeMounts": [{"name": "models", "mountPath": "/models"}],
    }
    if command is not None:
        container["command"] = command
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "restartPolicy": "Never",
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 1,
                # No runAsUser: the image's own user is what makes it non-root.
                "securityContext": {
                    "runAsNonRoot": True,
                    "fsGroup": 65532,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [container],
                "volumes": [{"name": "models", "emptyDir": {}}],
            },
        }
    )


def test_images_are_imported_and_run_restricted(
    cluster: Cluster,
    built: Mapping[str, BuiltImage],
    namespace: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    weights = load_images().images["weights-smollm2"].weights
    assert weights is not None
    code = "import os, sys; import uvicorn, uvloop, berth_serving; print(os.getuid(), sys.version_info[:2])"
    pods = {
        "gateway": pod("gateway", built["model-server"], command=["python3", "-c", code]),
        "fetcher": pod(
            "fetcher",
            built["weights-smollm2"],
            env={
                "BERTH_WEIGHTS_SOURCE": "packaged:smollm2-135m-instruct-q4_1",
                "BERTH_WEIGHTS_SHA256": weights.sha256,
                "BERTH_WEIGHTS_DIR": "/models",
            },
        ),
        "engine": pod(
            "engine",
            built["engine-llama-cpp"],
            command=["python3", "-c", "import xllamacpp; print('loaded')"],
        ),
    }
    for role in ("model-server", "weights-smollm2", "engine-llama-cpp"):
        cluster.import_image(built[role].tar)
        assert cluster.has_image(built[role].reference)
    folder = tmp_path_factory.mktemp("pods")
    for name, manifest in pods.items():
        (folder / f"{name}.json").write_text(manifest)
        cluster.kubectl("apply", "--namespace", namespace, "--filename", str(folder / f"{name}.json"))
    for name in pods:
        cluster.kubectl(
            "wait",
            "--namespace",
            namespace,
            f"pod/{name}",
            "--for=jsonpath={.status.phase}=Succeeded",
            "--timeout=90s",
        )
    said = {name: cluster.kubectl("logs", "--namespace", namespace, name).strip() for name in pods}
    assert said["gateway"] == "65532 (3, 13)"
    assert said["engine"].endswith("loaded")
