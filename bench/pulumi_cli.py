"""Pulumi's own engine and Kubernetes provider, for real: `python bench/pulumi_cli.py`, as root.

Builds both from their Go modules (ten minutes on two cores, once: they stay in the cache), makes a cluster of
its own, and does what a user of the Pulumi CLI does, with a state in a folder. What must hold is checked, and
printed with how long it took:

- the plan of `onprem` is the deployer's, resource by resource, input by input;
- `pulumi package` reads the components' schema;
- the policy pack finds there what it finds without the CLI;
- `up local --engine pulumi` ends with an answer of the model; again, nothing changes; `pulumi refresh` finds
  nothing that differs; a changed setting shows as exactly that;
- the deployer refuses what the CLI has, and the other way round;
- `down` leaves nothing;
- the CLI alone, as CI would: a plan is saved, exactly that plan is applied, with policies; the model answers;
  `pulumi destroy` leaves nothing.

Only the language host is ours (pulumi_cli_parts/language_host.py): Pulumi's is in a module that no registry
served here. With --build it only builds.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import secrets
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from berth.cli.console import ClusterProgress, Console  # noqa: E402 - found by the line above
from berth.localcluster import Cluster, Progress, build_tool  # noqa: E402

from tests.checkouts import copy_of, environment  # noqa: E402

CLUSTER = "berth-bench-pulumi"
PARTS = ROOT / "bench" / "pulumi_cli_parts"
CLI, PROVIDER = "github.com/pulumi/pulumi", "github.com/pulumi/pulumi-kubernetes/provider/v4"
PROVIDER_VERSION = "4.0.0-berth"
SETTING = "berth:models.smollm2.autoscaling.target"
_PATIENCE = 1200
OK = 200


def _version_of(module: str, part: str) -> str:
    lines = (PARTS / part / "go.mod").read_text().splitlines()
    return next(
        line.split()[-1] for line in lines if line.strip().removeprefix("require ").startswith(module)
    )


def built(progress: Progress) -> list[Path]:
    """Folders with `pulumi` and `pulumi-resource-kubernetes`."""
    version = _version_of(f"{CLI}/pkg/v3", "cli")
    cli = build_tool(
        "pulumi",
        PARTS / "cli",
        [f"{CLI}/pkg/v3/cmd/pulumi"],
        expected_seconds=200,
        linker_flags=f"-s -w -X {CLI}/sdk/v3/go/common/version.Version={version}",
        progress=progress,
    )
    provider = build_tool(
        "pulumi-kubernetes",
        PARTS / "provider",
        ["."],
        expected_seconds=400,
        linker_flags=f"-s -w -X {PROVIDER}/pkg/version.Version={PROVIDER_VERSION}",
        fixtures=[(PROVIDER, "cmd/pulumi-resource-kubernetes")],
        progress=progress,
    )
    return [cli, provider]


class Bench:
    """A copy of this checkout, with the CLI, and what held so far."""

    def __init__(self, folder: Path, programs: list[Path]) -> None:
        self.folder = folder
        self.checkout = copy_of(ROOT, folder)
        # The project's own virtualenv, as Pulumi.yaml names it: the one that runs this.
        (self.checkout / ".venv").symlink_to(sys.prefix)
        host = folder / "bin" / "pulumi-language-python"
        host.parent.mkdir()
        words = f"'{sys.executable}' '{PARTS / 'language_host.py'}'"
        host.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
        host.chmod(host.stat().st_mode | stat.S_IXUSR)
        for name in ("state", "home"):
            (folder / name).mkdir()
        self.environment = {
            **environment(self.checkout, CLUSTER),
            "PATH": os.pathsep.join([str(host.parent), *map(str, programs), os.environ["PATH"]]),
            "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
            "PULUMI_HOME": str(folder / "home"),
            "PULUMI_CONFIG_PASSPHRASE": "of this bench",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
        }
        self.held: list[dict[str, Any]] = []

    def run(self, *words: str, code: int = 0) -> str:
        """Run a command in the checkout; what it printed on standard output."""
        done = subprocess.run(
            words,
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        if done.returncode != code:
            said = done.stdout[-4000:] + done.stderr[-4000:]
            sys.exit(f"{' '.join(words)} ended with {done.returncode}, not {code}:\n{said}")
        return done.stdout if not code else done.stdout + done.stderr

    def berth(self, *words: str, code: int = 0) -> str:
        """Run one of ours."""
        return self.run(sys.executable, "-m", "berth.cli", *words, code=code)

    def holds(self, what: str, began: float, wrong: Any) -> None:
        """Write down that something holds; end where it does not."""
        if wrong:
            sys.exit(f"does not hold: {what}: {wrong}")
        self.held.append({"holds": what, "seconds": round(time.monotonic() - began, 1)})
        print(f"  {self.held[-1]['seconds']:6.1f} s  {what}", flush=True)

    def stack(self) -> dict[str, Any]:
        """The file of the stack `local`."""
        found: dict[str, Any] = yaml.safe_load(self.file.read_text())
        return found

    @property
    def file(self) -> Path:
        """Where it is."""
        return self.checkout / "stacks" / "Pulumi.local.yaml"


def _short(urn: str) -> str:
    *_, kinds, name = urn.split("::")
    return f"{kinds.rpartition('$')[2]}::{name}"


def _said(value: Any) -> Any:
    """Inputs without what says nothing: the provider drops empty lists, and the engine adds its own keys."""
    if isinstance(value, dict):
        said = {key: _said(one) for key, one in value.items() if key not in {"__internal", "version"}}
        return {key: one for key, one in said.items() if one not in ([], {})}
    return [_said(one) for one in value] if isinstance(value, list) else value


def preview(bench: Bench) -> None:
    """The plan of a stack of Kubernetes objects alone: by the CLI, and by the deployer."""
    bench.run("pulumi", "stack", "init", "onprem", "--no-select")
    planned = []
    for words in (["--engine", "pulumi"], ["--offline"]):
        began = time.monotonic()
        steps = json.loads(bench.berth("preview", "onprem", "--json", *words))["steps"]
        states = [one["newState"] for one in steps]
        planned.append({_short(one["urn"]): _said(one.get("inputs") or {}) for one in states})
    ours, theirs = planned
    wrong = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    bench.holds(f"preview onprem: the same {len(ours)} resources by the CLI and without it", began, wrong)


def package(bench: Bench) -> None:
    """The components as a package for other languages."""
    began = time.monotonic()
    schema = json.loads(bench.run("pulumi", "package", "get-schema", "./components"))
    named = {"berth:index:ModelServer", "berth:index:Router", "berth:index:ExistingCluster"}
    what = f"pulumi package get-schema ./components: {len(schema['resources'])} components"
    bench.holds(what, began, sorted(named - schema["resources"].keys()))


def policies(bench: Bench) -> None:
    """The same findings by the CLI and without it."""
    found = []
    for engine in ("pulumi", "berth"):
        began = time.monotonic()
        words = ("preview", "onprem", "--engine", engine, "--policy-pack", "policy", "--json")
        report = json.loads(bench.berth(*words, *(["--offline"] if engine == "berth" else [])))
        found.append(
            {(one["policy"], _short(one["urn"] or "::"), one["message"]) for one in report["policyResults"]}
        )
    what = f"the policy pack: {len(found[0])} findings by the CLI, the same without it"
    bench.holds(what, began, sorted(found[0] ^ found[1]))


def life(bench: Bench) -> None:
    """Deployed, unchanged, not drifted, changed, refused elsewhere, gone."""
    began = time.monotonic()
    done = json.loads(bench.berth("up", "local", "--engine", "pulumi", "--create", "--yes", "--json"))
    silent = [one for one in done["completions"] if not one["text"].strip()]
    made = done["changeSummary"].get("create")
    bench.holds(f"up: {made} resources made, and the model answers", began, silent or not made)
    began = time.monotonic()
    again = json.loads(bench.berth("up", "local", "--engine", "pulumi", "--yes", "--json"))
    bench.holds("up again: nothing changes", began, set(again["changeSummary"]) - {"same"})
    began = time.monotonic()
    bench.run("pulumi", "refresh", "--stack", "local", "--yes", "--expect-no-changes", "--non-interactive")
    bench.holds("pulumi refresh: nothing differs", began, "")
    began = time.monotonic()
    content = bench.stack()
    content["config"]["berth:models"]["smollm2"]["autoscaling"]["target"] = 6
    bench.file.write_text(yaml.safe_dump(content, sort_keys=False))
    changed = json.loads(bench.berth("up", "local", "--engine", "pulumi", "--yes", "--json"))
    steps = [one for one in changed["steps"] if one["op"] not in {"same", "read"}]
    wrong = [one["op"] for one in steps] != ["update"] or "HorizontalPodAutoscaler" not in json.dumps(steps)
    bench.holds(f"{SETTING}: one update, of the HorizontalPodAutoscaler", began, wrong and steps)
    began = time.monotonic()
    said = bench.berth("up", "local", "--yes", code=1)
    bench.holds("the deployer refuses what the CLI has", began, "" if "pulumi" in said else said)
    began = time.monotonic()
    bench.berth("down", "local", "--engine", "pulumi", "--yes")
    bench.holds("down: nothing is left", began, left())


def left() -> list[str]:
    """What the cluster has of a stack; `berth:…` is its own."""
    kinds = "namespaces,clusterroles,clusterrolebindings,persistentvolumes,apiservices"
    found = Cluster(CLUSTER).kubectl("get", kinds, "-o", "name").split()
    return [one for one in found if "/berth" in one and "/berth:" not in one]


def plain(bench: Bench) -> None:
    """The CLI alone, by the commands of .github/workflows/deploy-stack.yml: a plan, and exactly that plan."""
    cluster = Cluster(CLUSTER)
    [node] = json.loads(cluster.kubectl("get", "nodes", "-o", "json"))["items"]
    names = [name for image in node["status"]["images"] for name in image["names"]]
    refs = [name for name in names if name.startswith("berth.local/") and "@" not in name]
    content = bench.stack()
    config = content["config"]
    address = node["status"]["addresses"][0]["address"]
    kubeconfig = {"kubeconfig": str(cluster.kubeconfig)}
    config["berth:sites"] = {"local": {"cluster": kubeconfig, "nodeAddress": address}}
    config["berth:images"] = {"refs": {ref.split("/")[1].split(":")[0]: ref for ref in refs}}
    # The salt belongs to the other stack's secrets.
    content.pop("encryptionsalt", None)
    bench.file.with_name("Pulumi.plain.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    stack, quiet = ["--stack", "plain"], ["--non-interactive", "--color", "never"]
    bench.run("pulumi", "stack", "init", "plain", "--no-select")
    key = secrets.token_hex(24)
    bench.run("pulumi", "config", "set", *stack, "--secret", "--path", "berth:apiKeys.bench", key)
    began = time.monotonic()
    packs = ["--policy-pack", "policy"]
    bench.run("pulumi", "preview", *stack, *packs, "--save-plan", "plan.json", *quiet)
    said = bench.run("pulumi", "up", *stack, *packs, "--plan", "plan.json", "--yes", "--skip-preview", *quiet)
    endpoint = json.loads(bench.run("pulumi", "stack", "output", *stack, "--json"))["endpoints"][
        "local/smollm2"
    ]
    body = {"messages": [{"role": "user", "content": "What is a harbour?"}], "max_tokens": 8}
    with httpx.Client(trust_env=False, timeout=120) as client:
        headers = {"Authorization": f"Bearer {key}"}
        answer = client.post(f"{endpoint}/v1/chat/completions", json=body, headers=headers)
    wrong = answer.text if answer.status_code != OK else key in said
    bench.holds("pulumi up of a saved plan, with policies: the model answers its key", began, wrong)
    files = [file.read_text() for file in (bench.folder / "state").rglob("*") if file.is_file()]
    encoded = base64.b64encode(key.encode()).decode()
    bench.holds("the key is nowhere in the state", began, any(key in one or encoded in one for one in files))
    began = time.monotonic()
    bench.run("pulumi", "destroy", *stack, "--yes", "--skip-preview", *quiet)
    bench.holds("pulumi destroy: nothing is left", began, left())


def main() -> None:
    """Build, check, take down."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--build", action="store_true", help="build, and nothing else")
    given = parser.parse_args()
    progress = ClusterProgress(Console(), "pulumi")
    programs = built(progress)
    if given.build:
        return
    print(f"Pulumi CLI {_version_of(f'{CLI}/pkg/v3', 'cli')}, provider {_version_of(PROVIDER, 'provider')}")
    with tempfile.TemporaryDirectory(prefix="berth-bench-") as folder:
        bench = Bench(Path(folder), programs)
        try:
            preview(bench)
            package(bench)
            policies(bench)
            life(bench)
            plain(bench)
        finally:
            Cluster(CLUSTER).delete()
    print(f"{platform.platform()}, {os.cpu_count()} processors; load average {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
