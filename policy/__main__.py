"""What `pulumi preview --policy-pack policy` runs."""  # noqa: INP001 - run, never imported

from pathlib import Path

from berth_policy.pack import serve

serve(Path(__file__).resolve().parent)
