"""checkov, in an environment of its own: its dependencies clash with everybody's."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from berth.localcluster import SILENT, Progress, tool_venv

from .errors import JudgeFailedError
from .verdict import Finding, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .exceptions import Exceptions
    from .manifests import Manifest

JUDGE = "checkov"


def judge_by_checkov(
    manifests: Iterable[Manifest], exceptions: Exceptions, lock: Path, progress: Progress = SILENT
) -> Verdict:
    """Every object passes checkov's rules for Kubernetes, or is an exception.

    ``lock`` pins checkov; it is installed into the cache on first use (200 MB). It is told to ask nobody.

    Raises:
        DownloadError: of `berth.localcluster`: it could not be installed.
        JudgeFailedError: it did not run, or did not read what it was given.
    """
    manifests = list(manifests)
    venv = tool_venv("checkov", lock, expected_seconds=30, progress=progress)
    with tempfile.TemporaryDirectory(prefix="berth-checkov-") as scratch:
        files = {}
        for index, manifest in enumerate(manifests):
            # By cluster: some rules look for another object, which must not be another cluster's.
            folder = Path(scratch, manifest.place)
            folder.mkdir(exist_ok=True)
            # As JSON, which is YAML: no text of ours is read as something else.
            file = folder / f"{index:05d}.yaml"
            file.write_text(json.dumps(manifest.body))
            files[file.name] = manifest
        places = sorted({one.place for one in manifests})
        # One process each: told several folders, checkov 3.3 reports what is in the first again and again.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            reports = list(pool.map(lambda place: _run(venv, Path(scratch, place)), places))
    found = set()
    checks = 0
    for report in reports:
        summary = report.get("summary", report)
        if summary["parsing_errors"] or not summary["resource_count"]:
            raise JudgeFailedError(f"checkov could not read what it was given: {summary}")
        checks += summary["passed"] + summary["failed"]
        for failed in report["results"]["failed_checks"]:
            manifest = files[Path(failed["file_path"]).name]
            message = failed["check_name"]
            if keys := (failed["check_result"].get("evaluated_keys") or []):
                message += f" ({keys[0]})"
            found.add(Finding(manifest.stack, manifest.object, failed["check_id"], message))
    left, excepted, stale = exceptions.split(JUDGE, found, {one.stack for one in manifests})
    version = reports[0]["summary"]["checkov_version"] if reports else "none asked"
    return Verdict(JUDGE, version, len(manifests), f"objects, {checks} checks", left, excepted, stale)


def _run(venv: Path, folder: Path) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(venv / "bin" / "python", "-I", venv / "bin" / "checkov", "--directory", folder),
            *("--framework", "kubernetes", "--output", "json", "--skip-download", "--soft-fail", "--quiet"),
        ],
        cwd=folder,
        # Nothing of the caller's: no token of checkov's platform, no settings file of a home.
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder), "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    try:
        said: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        raise JudgeFailedError(
            f"checkov ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-800:]}"
        ) from None
    return said
