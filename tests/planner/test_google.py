"""Google's catalogue: recorded shapes, whose amounts are fixtures."""

from __future__ import annotations

import io
import json
from datetime import date
from typing import TYPE_CHECKING, Any
from urllib.error import URLError

import pytest
from berth_planner.errors import PlannerError
from berth_planner.lookups import google
from berth_planner.prices import PriceKey

if TYPE_CHECKING:
    from urllib.request import Request

TODAY = date(2026, 11, 28)
L4 = PriceKey("gcp", "europe-west4", "g2-standard-8", "on-demand")


def sku(
    description: str, usd: float, usage: str = "OnDemand", region: str = "europe-west4"
) -> dict[str, Any]:
    """As services.skus.list has it, shortened to what is read."""
    units, nanos = int(usd), round((usd - int(usd)) * 1e9)
    rate = {
        "startUsageAmount": 0,
        "unitPrice": {"currencyCode": "USD", "units": str(units), "nanos": nanos},
    }
    return {
        "skuId": "0000-0000-0000",
        "description": description,
        "category": {"resourceFamily": "Compute", "resourceGroup": "CPU", "usageType": usage},
        "serviceRegions": [region],
        "pricingInfo": [{"pricingExpression": {"usageUnit": "h", "tieredRates": [rate]}}],
    }


LISTED = [
    sku("G2 Instance Core running in Netherlands", 0.03),
    sku("G2 Instance Ram running in Netherlands", 0.004),
    sku("Nvidia L4 GPU running in Netherlands", 0.6),
    sku("Spot Preemptible G2 Instance Core running in Netherlands", 0.01, "Preemptible"),
    sku("Commitment v1: G2 Core in Netherlands for 1 Year", 0.02, "Commit1Yr"),
    sku("Nvidia L4 GPU running in Iowa", 0.5, region="us-central1"),
    sku("E2 Instance Core running in Netherlands", 0.02),
    sku("E2 Instance Ram running in Netherlands", 0.003),
    sku("TpuV6e running in Netherlands", 2.5),
    sku("Preemptible TpuV6e running in Netherlands", 1.5),
    sku("Nvidia Tesla A100 GPU running in Netherlands", 2.9),
    sku("Nvidia Tesla A100 80GB GPU running in Netherlands", 3.9),
]


def usd(key: PriceKey, listed: list[dict[str, Any]] = LISTED) -> float | None:
    found = google.ask([key], listed, TODAY).get(key)
    return None if found is None else found.usd_per_hour


def test_a_machine_costs_its_parts() -> None:
    """8 cores, 32 GiB and an L4."""
    assert usd(L4) == pytest.approx(8 * 0.03 + 32 * 0.004 + 0.6)
    assert usd(L4._replace(machine="e2-standard-4")) == pytest.approx(4 * 0.02 + 16 * 0.003)


def test_tpus_are_priced_by_the_chip() -> None:
    key = L4._replace(machine="ct6e-standard-4t")
    assert usd(key) == pytest.approx(4 * 2.5)
    assert usd(key._replace(capacity="spot")) == pytest.approx(4 * 1.5)


@pytest.mark.parametrize(
    "key",
    [
        L4._replace(capacity="spot"),  # of its parts, the cores alone have a price
        L4._replace(region="us-central1"),
        L4._replace(capacity="reserved"),
        L4._replace(ground="aws"),
        L4._replace(machine="z9-standard-4"),
    ],
)
def test_a_part_without_a_price_leaves_the_machine_out(key: PriceKey) -> None:
    assert usd(key) is None


def test_two_prices_of_one_part_are_no_price() -> None:
    assert usd(L4, [*LISTED, sku("Nvidia L4 GPU running in Netherlands, DWS", 0.4)]) is None


def test_pages_are_followed_and_the_key_is_in_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Request] = []
    pages = [{"skus": LISTED[:2], "nextPageToken": "more"}, {"skus": LISTED[2:], "nextPageToken": ""}]

    def answer(request: Request, timeout: float) -> io.BytesIO:
        assert timeout > 0
        asked.append(request)
        return io.BytesIO(json.dumps(pages[len(asked) - 1]).encode())

    monkeypatch.setattr(google, "urlopen", answer)
    assert list(google.skus("canary-key")) == LISTED
    assert ["pageToken=more" in one.full_url for one in asked] == [False, True]
    assert not any("canary-key" in one.full_url for one in asked)
    assert asked[0].get_header("X-goog-api-key") == "canary-key"


def test_a_refusal_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(request: Request, timeout: float) -> io.BytesIO:
        raise URLError(f"{request.host} refused within {timeout} s")

    monkeypatch.setattr(google, "urlopen", refuse)
    with pytest.raises(PlannerError, match="GOOGLE_API_KEY"):
        list(google.skus("canary-key"))
