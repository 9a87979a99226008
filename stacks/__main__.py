"""What `pulumi up` runs: the settings of the stack, made into components."""  # noqa: INP001 - run, never imported

from pathlib import Path

from berth_stacks.program import main

main(Path(__file__).resolve().parent)
