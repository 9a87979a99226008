"""`berth plan --ask`: what the planner wants to know of clouds and clusters, asked and kept with its day."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from berth_planner.answers import Answer, Question
    from berth_planner.cost import Fleet
    from berth_planner.prices import Price, PriceKey
    from berth_stacks.load import Loaded

Key = TypeVar("Key")
Value = TypeVar("Value")


def ask_all(read: Sequence[Loaded], directory: Path) -> None:
    """Ask about everything that some stacks rent, and keep the answers.

    Who cannot be asked leaves what it would have said unknown, and that is told on standard error.

    Args:
        read: the stacks.
        directory: where `prices.yaml` is: what it prices is not asked.
    """
    from berth_planner.answers import ANSWERS, PRICES, folder, read_answers, write_answers
    from berth_planner.prices import read_asked, read_prices, write_asked
    from berth_stacks.fleets import fleets
    from berth_stacks.planned import PRICES_FILE

    rented = [fleet for one in read for fleet in fleets(one.settings)]
    own = read_prices(directory / PRICES_FILE)
    kept = folder(directory)
    keys = [key for key in dict.fromkeys(fleet.key for fleet in rented) if key not in own]
    write_asked(kept / PRICES, read_asked(kept / PRICES) | _prices(keys))
    answers = read_answers(kept / ANSWERS) | _capacity(rented)
    for one in read:
        answers |= _free(one)
    write_answers(kept / ANSWERS, answers)


def today() -> date:
    """The day of an answer."""
    return datetime.now(UTC).date()


def _prices(keys: Sequence[PriceKey]) -> dict[PriceKey, Price]:
    from berth_planner.lookups import amazon, google

    found: dict[PriceKey, Price] = {}
    if any(key.ground == "aws" for key in keys):
        found |= _told(lambda: amazon.ask(keys, amazon.Clients.of_profile(), today()))
    if any(key.ground == "gcp" for key in keys):
        api_key = os.environ.get(google.API_KEY)
        if api_key:
            found |= _told(lambda: google.ask(keys, google.skus(api_key), today()))
        else:
            _say(f"Google is not asked for prices: ${google.API_KEY} is not set (docs/planner.md)")
    return found


def _capacity(rented: Sequence[Fleet]) -> dict[Question, Answer]:
    from berth_planner.lookups import amazon, amazon_capacity, google_capacity

    found: dict[Question, Answer] = {}
    if any(fleet.key.ground == "aws" for fleet in rented):
        found |= _told(lambda: amazon_capacity.ask(rented, amazon.Clients.of_profile(), today()))
    google = [fleet for fleet in rented if fleet.key.ground == "gcp"]
    if any(not fleet.account for fleet in google):
        _say("Google is not asked for quotas where no project is named (sites.<site>.gke.project)")
    if any(fleet.account for fleet in google):
        found |= _told(
            lambda: google_capacity.ask(google, google_capacity.reader(google_capacity.token()), today())
        )
    return found


def _told(ask: Callable[[], dict[Key, Value]]) -> dict[Key, Value]:
    from berth_planner.errors import PlannerError

    try:
        return ask()
    except PlannerError as error:
        _say(str(error))
        return {}


def _say(text: str) -> None:
    click.echo(f"berth: {text}", err=True)


def _free(loaded: Loaded) -> dict[Question, Answer]:
    """Accelerators that are free in the pools of clusters which are there, by their kubeconfig."""
    import asyncio

    from berth_planner.answers import Answer, Question

    from berth.cli.asking import looks_of
    from berth.operations.inventory import free_accelerators, inspect

    found: dict[Question, Answer] = {}
    for look in looks_of(loaded.settings, loaded.name):
        if not look.asked.pools:
            continue
        if not look.kubeconfig:
            _say(f"the cluster of {loaded.name}'s site {look.asked.site} is not asked: {look.reason}")
            continue
        seen = asyncio.run(inspect(look.kubeconfig, look.context))
        for pool in look.asked.pools:
            counted = free_accelerators(seen, look.asked, pool)
            if counted is None:
                why = seen.why_not("nodes" if seen.nodes is None else "pods")
                _say(f"nobody can say what is free in {look.asked.site}/{pool.name}: {why}")
                continue
            total, free = counted
            question = Question("free", "own", look.asked.site, pool.name)
            source = f"the cluster at {seen.server}"
            found[question] = Answer(total, total - free, pool.resource, (), source, today())
    return found
