"""Prices on Google Cloud: the Cloud Billing Catalog, which prices cores, memory and accelerators apart.

    ask(keys, skus(api_key), date.today())

Needs an API key of a project with the Cloud Billing API enabled; it changes nothing. Which description means
which part was read from github.com/skypilot-org/skypilot, sky/catalog/data_fetchers/fetch_gcp.py at
21fd55418804a41d20fe7563db9c808763159722, on 2026-11-28.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from berth_catalogue.machines import machines

from berth_planner.errors import PlannerError
from berth_planner.prices import Price, PriceKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

API_KEY = "GOOGLE_API_KEY"
"""Environment variable with the key."""
_COMPUTE_ENGINE = "https://cloudbilling.googleapis.com/v1/services/6F81-5844-456A/skus"
_PAGE = 5000
_SECONDS = 30
_USAGE = {"on-demand": "OnDemand", "spot": "Preemptible"}
_ACCELERATORS = {
    "nvidia-l4": "L4 GPU",
    "nvidia-a100-40gb": "A100 GPU",
    "nvidia-a100-80gb": "A100 80GB GPU",
    "nvidia-h100-80gb": "H100 80GB GPU",
    "nvidia-h200-141gb": "H200 141GB GPU",
}
_TPUS = {"google-tpu-v5e": "TpuV5e", "google-tpu-v6e": "TpuV6e"}
_PLAIN = re.compile(r"(?P<series>e2|n2)-(?P<shape>standard|highmem|highcpu)-(?P<vcpus>\d+)")
_GIB_PER_VCPU = {"standard": 4, "highmem": 8, "highcpu": 1}
_CORE, _RAM = "Core", "Ram"


@dataclass(frozen=True, slots=True)
class _Part:
    """So much of what a description names."""

    words: tuple[str, ...]
    amount: float


def skus(api_key: str) -> Iterator[dict[str, Any]]:
    """All prices of Compute Engine, page by page.

    Raises:
        PlannerError: Google cannot be asked, or refuses.
    """
    token = ""
    while True:
        asked = {"pageSize": str(_PAGE), "currencyCode": "USD"}
        if token:
            asked["pageToken"] = token
        # In a header, so that it is in no log of addresses.
        headers = {"X-Goog-Api-Key": api_key}
        request = Request(f"{_COMPUTE_ENGINE}?{urlencode(asked)}", headers=headers)  # noqa: S310 - https, above
        try:
            with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - as above
                page = json.load(answer)
        except (URLError, TimeoutError, ValueError) as error:
            raise PlannerError(
                f"Google cannot be asked for prices: {error}; is {API_KEY} a key of a project with the Cloud "
                "Billing API enabled?"
            ) from None
        yield from page.get("skus", ())
        token = page.get("nextPageToken", "")
        if not token:
            return


def ask(keys: Iterable[PriceKey], listed: Iterable[dict[str, Any]], today: date) -> dict[PriceKey, Price]:
    """Machines' prices from those of their parts; one with a part of no price, or of several, is left out."""
    wanted = [key for key in keys if key.ground == "gcp" and key.capacity in _USAGE]
    known = list(listed) if wanted else []
    found: dict[PriceKey, Price] = {}
    for key in wanted:
        parts = _parts(key.machine)
        rates = [_rate(known, part, key) for part in parts]
        if parts and all(rate is not None for rate in rates):
            usd = sum((rate or 0) * part.amount for rate, part in zip(rates, parts, strict=True))
            found[key] = Price(usd, "Google Cloud Billing Catalog", today)
    return found


def _parts(name: str) -> tuple[_Part, ...]:
    one = machines("gcp").get(name)
    if one is None:
        plain = _PLAIN.fullmatch(name)
        if plain is None:
            return ()
        vcpus = int(plain["vcpus"])
        return _shell(plain["series"], vcpus, vcpus * _GIB_PER_VCPU[plain["shape"]])
    if one.accelerator in _TPUS:
        # Its price is that of the chips; the machine around them is part of it.
        return (_Part((_TPUS[one.accelerator],), one.accelerators),)
    if one.accelerator not in _ACCELERATORS:
        return ()
    device = _Part((_ACCELERATORS[one.accelerator],), one.accelerators)
    return (*_shell(name.partition("-")[0], one.vcpus, one.memory_gib), device)


def _shell(series: str, vcpus: int, memory_gib: float) -> tuple[_Part, ...]:
    title = f"{series.upper()} Instance"
    return _Part((title, _CORE), vcpus), _Part((title, _RAM), memory_gib)


def _rate(listed: list[dict[str, Any]], part: _Part, key: PriceKey) -> float | None:
    rates = {
        _unit_price(sku)
        for sku in listed
        if key.region in sku["serviceRegions"]
        and all(word in sku["description"] for word in part.words)
        and _is_bought_as(sku, key.capacity)
    }
    return rates.pop() if len(rates) == 1 else None


def _is_bought_as(sku: dict[str, Any], capacity: str) -> bool:
    text = sku["description"]
    if "Tpu" in text:
        # Of TPUs, the description alone says so.
        return ("Preemptible" in text) == (capacity == "spot") and "Commitment" not in text
    return bool(sku["category"]["usageType"] == _USAGE[capacity])


def _unit_price(sku: dict[str, Any]) -> float:
    price = sku["pricingInfo"][-1]["pricingExpression"]["tieredRates"][-1]["unitPrice"]
    return int(price.get("units") or 0) + int(price.get("nanos") or 0) / 1_000_000_000
