"""Prices on AWS: the price list for machines on demand and on SageMaker, the spot market for spot ones.

    ask(keys, Clients.of_profile(), date.today())

Needs pricing:GetProducts and ec2:DescribeSpotPriceHistory, which change nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from berth_planner.errors import PlannerError
from berth_planner.prices import Price, PriceKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import date

PRICE_LIST_REGION = "us-east-1"
"""The price list of all regions is asked here."""
_SERVICES = {"ml.": "AmazonSageMaker"}
_EC2 = "AmazonEC2"


@dataclass(frozen=True)
class Clients:
    """boto3's clients.

    Attributes:
        pricing: of the price list.
        ec2: of a region.
        quotas: of a region.
    """

    pricing: Any
    ec2: Callable[[str], Any]
    quotas: Callable[[str], Any]

    @classmethod
    def of_profile(cls) -> Clients:
        """With the credentials that boto3 finds; each question waits 10 s at the most, and is asked twice.

        Raises:
            PlannerError: boto3 is not installed.
        """
        try:
            import boto3  # noqa: PLC0415 - only who asks needs it
            from botocore.config import Config  # noqa: PLC0415 - as above
        except ImportError:
            raise PlannerError("asking AWS needs boto3: pip install 'berth-planner[aws]'") from None
        limits = Config(connect_timeout=5, read_timeout=10, retries={"total_max_attempts": 2})
        session = boto3.Session()
        return cls(
            pricing=session.client("pricing", region_name=PRICE_LIST_REGION, config=limits),
            ec2=lambda region: session.client("ec2", region_name=region, config=limits),
            quotas=lambda region: session.client("service-quotas", region_name=region, config=limits),
        )


def ask(keys: Iterable[PriceKey], clients: Clients, today: date) -> dict[PriceKey, Price]:
    """Ask AWS for prices. What it has none for, and what is reserved by contract, is left out.

    Raises:
        PlannerError: AWS cannot be asked: no credentials, no permission, no network.
    """
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - only who asks needs it

    found: dict[PriceKey, Price] = {}
    for key in keys:
        if key.ground != "aws" or key.capacity == "reserved":
            continue
        try:
            usd = _spot(clients, key) if key.capacity == "spot" else _on_demand(clients, key)
        except (BotoCoreError, ClientError) as error:
            raise PlannerError(
                f"AWS cannot be asked for {key}: {' '.join(str(error).split())}; are there credentials "
                "(aws configure) with pricing:GetProducts and ec2:DescribeSpotPriceHistory?"
            ) from None
        if usd is not None:
            where = "EC2's spot market" if key.capacity == "spot" else "AWS Price List API"
            found[key] = Price(usd, where, today)
    return found


def _on_demand(clients: Clients, key: PriceKey) -> float | None:
    service = next((name for start, name in _SERVICES.items() if key.machine.startswith(start)), _EC2)
    terms = {"regionCode": key.region}
    if service == _EC2:
        terms |= {
            "instanceType": key.machine,
            "operatingSystem": "Linux",
            "tenancy": "Shared",
            "preInstalledSw": "NA",
            "capacitystatus": "Used",
        }
    else:
        terms |= {"instanceName": key.machine}
    filters = [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in terms.items()]
    pages = clients.pricing.get_paginator("get_products").paginate(ServiceCode=service, Filters=filters)
    products = [json.loads(text) for page in pages for text in page["PriceList"]]
    if service != _EC2:
        # The same machine has other prices for notebooks, training and batches.
        products = [one for one in products if "Host:" in one["product"]["attributes"].get("usagetype", "")]
    rates = {rate for product in products for rate in _rates(product)}
    # Several would mean that the filters no longer say which machine is meant: no guess is made.
    return rates.pop() if len(rates) == 1 else None


def _rates(product: dict[str, Any]) -> Iterator[float]:
    for term in product.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            rate = float(dimension["pricePerUnit"].get("USD", 0))
            if rate > 0:
                yield rate


def _spot(clients: Clients, key: PriceKey) -> float | None:
    """The dearest of the region's zones now: nodes may come in any of them."""
    latest: dict[str, tuple[Any, float]] = {}
    pages = (
        clients.ec2(key.region)
        .get_paginator("describe_spot_price_history")
        .paginate(
            InstanceTypes=[key.machine],
            ProductDescriptions=["Linux/UNIX"],
            PaginationConfig={"MaxItems": 1000},
        )
    )
    for page in pages:
        for one in page["SpotPriceHistory"]:
            zone, at = one["AvailabilityZone"], one["Timestamp"]
            if zone not in latest or latest[zone][0] < at:
                latest[zone] = (at, float(one["SpotPrice"]))
    return max((usd for _, usd in latest.values()), default=None)
