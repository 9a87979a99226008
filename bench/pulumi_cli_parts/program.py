"""Runs a Pulumi program in Python under an engine, as the launcher in Pulumi's own distribution does.

    python program.py MONITOR ENGINE PROJECT STACK ORGANIZATION DRY_RUN PARALLEL PROGRAM

Configuration comes in PULUMI_CONFIG and PULUMI_CONFIG_SECRET_KEYS. Exit code 32: an exception, which the
engine was told of.
"""

from __future__ import annotations

import asyncio
import runpy
import sys
import traceback
from pathlib import Path

import pulumi
import pulumi.runtime
from pulumi.runtime.stack import run_in_stack

REPORTED = 32


async def _main(program: str) -> None:
    def run() -> None:
        runpy.run_path(program, run_name="__main__")

    await run_in_stack(run)


def main() -> int:
    """Run it; the exit code."""
    monitor, engine, project, stack, organization, dry_run, parallel, program = sys.argv[1:]
    for key, value in pulumi.runtime.get_config_env().items():
        pulumi.runtime.set_config(key, value)
    settings = pulumi.runtime.Settings(
        monitor=monitor,
        engine=engine,
        project=project,
        stack=stack,
        organization=organization,
        dry_run=dry_run == "true",
        parallel=int(parallel),
    )
    pulumi.runtime.configure(settings)
    folder = Path(program)
    folder = folder if folder.is_dir() else folder.parent
    sys.path.insert(0, str(folder))
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(_main(program))
    except pulumi.RunError as error:
        pulumi.log.error(str(error))
        return REPORTED
    except Exception:  # noqa: BLE001 - whatever a program raises is told to the engine
        pulumi.log.error("Program failed with an unhandled exception:\n" + traceback.format_exc())
        return REPORTED
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
