"""`python -m berth.cli`, which the launcher calls."""

from berth.cli.app import main

main()
