"""Load, and what is done to a stack that runs."""
