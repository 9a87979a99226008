"""Images into clusters of kind, k3d and minikube. The three tools here are stand-ins and say so."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from berth.cli.console import Console
from berth.cli.errors import UserError
from berth.cli.loading import load_into, takes_archives
from berth.operations.errors import ImageLoadError, ImageToolMissing
from berth.operations.loading import LocalCluster, load_archives, local_cluster

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]
# Takes the real tools' command lines, records them, and keeps what it was given in a file: its "nodes".
STAND_IN = """#!INTERPRETER
import json, os, sys
tool, folder = os.path.basename(sys.argv[0]), os.path.dirname(os.path.abspath(sys.argv[0]))
mode = os.environ.get("STAND_IN_MODE", "ok")
print("stand-in for", tool, "of Berth's tests; no cluster behind it")
with open(os.path.join(folder, "asked.jsonl"), "a") as asked:
    asked.write(json.dumps([tool, *sys.argv[1:]]) + "\\n")
images = os.path.join(folder, "images")
if sys.argv[1:3] == ["image", "ls"]:
    print(open(images).read() if os.path.exists(images) else "")
    sys.exit(0)
if mode == "fails":
    print("ERROR: no nodes found for cluster \\"dev\\"", file=sys.stderr)
    sys.exit(1)
if mode == "k3d-logs":
    print("ERRO[0001] failed to import images in node 'k3d-dev-agent-0': exit code 1")
    print("INFO[0002] Successfully imported image(s)")
    sys.exit(0)
if mode == "silent":
    sys.exit(0)
with open(images, "a") as there:
    for word in sys.argv:
        if word.endswith(".tar"):
            there.write("docker.io/" * (mode == "docker") + open(word).read() + "\\n")
"""


@dataclass
class Tools:
    """A folder on PATH with the stand-ins."""

    folder: Path

    @property
    def asked(self) -> list[list[str]]:
        file = self.folder / "asked.jsonl"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tools:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("kind", "k3d", "minikube"):
        (folder / name).write_text(STAND_IN.replace("INTERPRETER", sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Tools(folder)


@pytest.fixture
def archives(tmp_path: Path) -> dict[str, Path]:
    """Archives by reference; the stand-ins read the name that is in them."""
    made = {}
    for role in ("model-server", "metrics-adapter"):
        reference = f"berth.local/{role}:0123456789ab"
        made[reference] = tmp_path / f"{role}.tar"
        made[reference].write_text(reference)
    return made


def minikube_config(provider: str = "minikube.sigs.k8s.io") -> str:
    extension = {"name": "context_info", "extension": {"provider": provider, "version": "v1.37.0"}}
    context = {"cluster": "lab", "user": "lab", "extensions": [extension]}
    return yaml.safe_dump(
        {"apiVersion": "v1", "kind": "Config", "contexts": [{"name": "lab", "context": context}]}
    )


@pytest.mark.parametrize(
    ("context", "found"),
    [
        ("kind-dev", LocalCluster("kind", "dev")),
        ("kind-kind", LocalCluster("kind", "kind")),
        ("k3d-dev", LocalCluster("k3d", "dev")),
        ("minikube", LocalCluster("minikube", "minikube")),
        ("kind-", None),
        ("prod", None),
        ("kindly", None),
    ],
)
def test_the_context_says_whose_cluster_it_is(context: str, found: LocalCluster | None) -> None:
    assert local_cluster(context) == found
    assert takes_archives(context) is (found is not None)


def test_minikube_says_which_contexts_are_its_own() -> None:
    assert local_cluster("lab", minikube_config()) == LocalCluster("minikube", "lab")
    assert local_cluster("lab", minikube_config("somebody.example.com")) is None


def test_kind_gets_one_archive_a_call(tools: Tools, archives: dict[str, Path]) -> None:
    load_archives(LocalCluster("kind", "dev"), archives)
    assert tools.asked == [
        ["kind", "load", "image-archive", str(tar), "--name", "dev"] for tar in archives.values()
    ]


def test_k3d_gets_all_at_once(tools: Tools, archives: dict[str, Path]) -> None:
    load_archives(LocalCluster("k3d", "dev"), archives)
    assert tools.asked == [["k3d", "image", "import", *map(str, archives.values()), "--cluster", "dev"]]


@pytest.mark.parametrize("mode", ["ok", "docker"])
def test_minikube_is_asked_afterwards(
    tools: Tools, archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    monkeypatch.setenv("STAND_IN_MODE", mode)
    load_archives(LocalCluster("minikube", "lab"), archives)
    loads = [["minikube", "image", "load", str(tar), "--profile", "lab"] for tar in archives.values()]
    assert tools.asked == [*loads, ["minikube", "image", "ls", "--profile", "lab"]]


@pytest.mark.usefixtures("tools")
@pytest.mark.parametrize(
    ("tool", "mode", "said"),
    [
        ("kind", "fails", r"kind did not load .* \(exit code 1\): .*no nodes found for cluster"),
        ("k3d", "fails", "k3d did not load"),
        ("k3d", "k3d-logs", r"\(exit code 0\): ERRO\[0001\] failed to import images in node"),
        ("minikube", "fails", "minikube did not load"),
        (
            "minikube",
            "silent",
            "minikube loaded nothing under berth.local/model-server:0123456789ab, berth.local/",
        ),
    ],
)
def test_a_failure_is_seen_and_named(
    archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tool: Any, mode: str, said: str
) -> None:
    monkeypatch.setenv("STAND_IN_MODE", mode)
    with pytest.raises(ImageLoadError, match=said) as failed:
        load_archives(LocalCluster(tool, "dev"), archives)
    assert failed.value.exit_code == 1


def test_a_missing_tool_is_named(
    archives: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ImageToolMissing, match=r"by k3d, and there is no k3d on PATH: install it, or name a registry"
    ):
        load_archives(LocalCluster("k3d", "dev"), archives)


@dataclass
class Built:
    """What `load_into` needs of a built image."""

    reference: str
    tar: Path


def test_references_by_role(tools: Tools, archives: dict[str, Path]) -> None:
    built: Any = {tar.stem: Built(reference, tar) for reference, tar in archives.items()}
    assert load_into("k3d-dev", built, Console(quiet=True)) == {
        tar.stem: name for name, tar in archives.items()
    }
    assert len(tools.asked) == 1
    with pytest.raises(UserError, match="--context prod: only clusters of kind, k3d and minikube"):
        load_into("prod", built, Console(quiet=True))


@pytest.mark.cluster
def test_what_every_node_has_is_not_loaded_again(
    cluster: Any, tools: Tools, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a real API server; only the context's name is kind's."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    chosen = next(one for one in config["contexts"] if one["name"] == config["current-context"])
    config["contexts"] = [{**chosen, "name": "kind-real"}]
    file = cluster.kubeconfig.with_name("kind.yaml")
    file.write_text(yaml.safe_dump(config))
    try:
        # A kubelet that has just started takes some seconds to name its images.
        named = "jsonpath={.status.images[0].names[0]}"
        cluster.kubectl("wait", "node", "--all", f"--for={named}", "--timeout=90s")
        nodes = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
        present = next(name for image in nodes[0]["status"]["images"] for name in image["names"])
        absent, tar = "berth.local/absent:0123456789ab", tmp_path / "absent.tar"
        tar.write_text(absent)
        built: Any = {"there": Built(present, tar), "absent": Built(absent, tar)}
        monkeypatch.setenv("STAND_IN_MODE", "ok")
        references = load_into("kind-real", built, Console(quiet=True), str(file))
    finally:
        file.unlink()
    assert references == {"there": present, "absent": absent}
    assert tools.asked == [["kind", "load", "image-archive", str(tar), "--name", "real"]]
