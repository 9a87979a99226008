"""Prices of machines: the user's own dated file, and what a cloud was asked before.

    found = read_prices(Path("stacks/prices.yaml"))
    found[PriceKey("aws", "eu-central-1", "g6.2xlarge", "on-demand")].usd_per_hour

No price is shipped: what nobody gave or asked is unknown.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from berth_catalogue.capacity import TYPES
from berth_catalogue.errors import CatalogueError
from berth_catalogue.reading import Entry

from berth_planner.errors import PlannerError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

MAX_AGE_DAYS = 92
"""An older price counts as unknown: a quarter is how often budgets are looked at."""
GROUNDS = ("aws", "gcp", "own")


class PriceKey(NamedTuple):
    """What is priced.

    Attributes:
        ground: aws, gcp or own.
        region: the cloud's region; on own hardware the site's name.
        machine: the cloud's type (ml.… on SageMaker); on own hardware the pool's name, or `replica`.
        capacity: on-demand, spot or reserved.
    """

    ground: str
    region: str
    machine: str
    capacity: str

    def __str__(self) -> str:
        """As a person reads it."""
        return f"{self.machine} in {self.region}, {self.capacity}"


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per hour, where that is from, and of which day."""

    usd_per_hour: float
    source: str
    day: date

    def is_stale(self, today: date) -> bool:
        """Whether it is too old to be believed."""
        return (today - self.day).days > MAX_AGE_DAYS


def read_prices(file: Path) -> dict[PriceKey, Price]:
    """The prices of a file; none where there is no file.

    Raises:
        PlannerError: something in it is wrong; the message names it and what is allowed.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PlannerError(f"{file}: cannot be read: {' '.join(str(error).split())}") from None
    listed = content.get("prices") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(listed, list) or content.keys() != {"prices"}:
        raise PlannerError(f"{file}: must be a mapping with the one key prices, a list; see docs/planner.md")
    found: dict[PriceKey, Price] = {}
    for number, item in enumerate(listed):
        key, price = _entry(file, f"prices[{number}]", item)
        if key in found:
            raise PlannerError(f"{file}: prices[{number}]: {key} is priced twice; leave one")
        found[key] = price
    return found


def read_asked(file: Path) -> dict[PriceKey, Price]:
    """What clouds were asked before; none where nothing was, or where the file is not what we wrote."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        return dict(_entry(file, "", item) for item in content)
    except (OSError, ValueError, TypeError):
        return {}


def write_asked(file: Path, prices: Mapping[PriceKey, Price]) -> None:
    """Keep what clouds said, with its day; the file is replaced as a whole."""
    listed = [
        {
            **key._asdict(),
            "usd_per_hour": price.usd_per_hour,
            "source": price.source,
            "date": price.day.isoformat(),
        }
        for key, price in sorted(prices.items())
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    beside.replace(file)


def _entry(file: Path, where: str, item: object) -> tuple[PriceKey, Price]:
    try:
        entry = Entry(str(file), where, item)
        key = PriceKey(
            entry.text("ground", GROUNDS),
            entry.text("region"),
            entry.text("machine"),
            entry.text("capacity", TYPES),
        )
        price = Price(entry.number("usd_per_hour"), entry.text("source"), entry.day("date"))
        entry.end()
    except CatalogueError as error:
        raise PlannerError(str(error)) from None
    # Somewhere it is tomorrow already.
    if price.day > datetime.now(UTC).date() + timedelta(days=1):
        raise PlannerError(f"{file}: {where}.date: {price.day} is still to come")
    return key, price
