"""Promise 1: `kill -9` of a deployment at 200 random moments over an update of about 50 objects.

Runs the test of the same name with 200 kills instead of 8, on the tests' local cluster:

    python bench/deployer_kills.py [kills]

The seed is printed with a failure, and the number of kills that hit a running deployment is checked.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KILLS = 200


def main() -> int:
    """Run it; the exit code is pytest's."""
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    began = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "timeout=0"),
            "tests/toolkit/deployer/test_kill.py",
        ],
        cwd=ROOT,
        env={**os.environ, "BERTH_KILLS": str(kills)},
        check=False,
    )
    verdict = "no orphan, no duplicate" if done.returncode == 0 else "FAILED"
    sys.stdout.write(f"{kills} kills in {time.monotonic() - began:.0f} s: {verdict}\n")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
