"""Checks of prompts and answers: what is not to come in or go out is blocked, redacted or flagged.

A check finds places in a text (`checks.py`). A rule says of which stage, and what follows (`rules.py`). Rules
apply to a prompt at once (`chain.py`), and to an answer token by token (`streams.py`).
"""
