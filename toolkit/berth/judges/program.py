"""Our small Go program around the judges that are Go libraries, and others' Go programs beside it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from berth.localcluster import SILENT, Progress, build_tool

from .errors import JudgeFailedError

MODULE = Path(__file__).parent / "go"
POD_SECURITY = "k8s.io/pod-security-admission"
FIXTURES = "test/testdata/restricted"
_ACTIONLINT = "github.com/rhysd/actionlint/cmd/actionlint"


def judge_program(progress: Progress = SILENT) -> Path:
    """Return the folder with `judge`, `actionlint` and the evaluator's fixtures, built where it is missing.

    From nothing that takes 2 minutes on two quiet cores; a minute where the local cluster was built before.

    Raises:
        BuildError, DownloadError, NoSpaceError: of `berth.localcluster`; they name the log.
    """
    return build_tool(
        "judges",
        MODULE,
        ("./judge", _ACTIONLINT),
        expected_seconds=120,
        fixtures=((POD_SECURITY, FIXTURES),),
        progress=progress,
    )


def ask(program: Path, command: str, question: Any) -> dict[str, Any]:
    """Ask `judge` in ``program``; the answer has `version` and `answers`, one per thing asked.

    Raises:
        JudgeFailedError: it could not read the question.
    """
    done = subprocess.run(
        [program / "judge", command],
        input=json.dumps(question),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise JudgeFailedError(done.stderr.strip() or f"judge {command} ended with {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
