"""Prices and what they come to. Every price here is a fixture."""

from __future__ import annotations

import json
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import jsonschema
import pytest
import yaml
from berth_planner.cost import Fleet, cost, per_million_tokens
from berth_planner.errors import PlannerError
from berth_planner.lookups import amazon
from berth_planner.prices import MAX_AGE_DAYS, Price, PriceKey, read_asked, read_prices, write_asked
from botocore.exceptions import NoCredentialsError
from botocore.stub import ANY, Stubber

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 28)
L4 = PriceKey("aws", "eu-central-1", "g6.2xlarge", "on-demand")
SYSTEM = PriceKey("aws", "eu-central-1", "m6i.large", "on-demand")
FLEETS = (
    Fleet(subject="aws/chat", key=L4, fewest=1, planned=None, most=3),
    Fleet(subject="aws/system", key=SYSTEM, fewest=2, planned=2, most=4),
)
PRICES = {L4: Price(1.25, "a fixture", TODAY), SYSTEM: Price(0.5, "a fixture", TODAY)}
ENTRY = (
    "{ground: aws, region: eu-central-1, machine: g6.2xlarge, capacity: on-demand, usd_per_hour: 1.25, "
    'source: an invoice, date: "2026-11-01"}'
)


def test_sums_by_hand() -> None:
    found = {one.name: one.value for one in cost(FLEETS, PRICES, TODAY).figures}
    assert found == {
        "at the fewest": pytest.approx(1 * 1.25 + 2 * 0.5),
        "at the fewest, a month": pytest.approx(2.25 * 730),
        "at the most": pytest.approx(3 * 1.25 + 4 * 0.5),
        "at the most, a month": pytest.approx(5.75 * 730),
    }


def test_planned_is_summed_where_no_number_follows_the_load() -> None:
    fixed = [Fleet(subject="aws/chat", key=L4, fewest=2, planned=2, most=2)]
    found = {one.name: one.value for one in cost(fixed, PRICES, TODAY).figures}
    assert found["at the planned"] == pytest.approx(2.5)


def test_a_gap_leaves_no_sum() -> None:
    found = cost(FLEETS, {L4: PRICES[L4]}, TODAY)
    assert [check.status for check in found.checks] == ["passed", "unknown"]
    assert found.figures == ()
    assert "machine m6i.large, capacity on-demand" in found.checks[1].remedy


def test_an_old_price_is_unknown() -> None:
    old = TODAY - timedelta(days=MAX_AGE_DAYS + 1)
    found = cost(FLEETS, {**PRICES, L4: Price(1.25, "a fixture", old)}, TODAY)
    assert [check.status for check in found.checks] == ["unknown", "passed"]
    assert str(old) in found.checks[0].found


def test_a_million_tokens() -> None:
    """3.60 USD an hour at 1000 tokens a second: a million takes 1000 s."""
    assert per_million_tokens(3.6, 1000) == pytest.approx(1.0)


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    assert read_prices(file) == {}
    file.write_text(f"prices:\n  - {ENTRY}\n")
    assert read_prices(file) == {L4: Price(1.25, "an invoice", date(2026, 11, 1))}


def test_the_schema_that_editors_use_takes_what_is_read_and_no_more() -> None:
    schema = json.loads((ROOT / "stacks" / "prices.schema.json").read_text())
    validator = jsonschema.Draft202012Validator(schema)
    item = yaml.safe_load(ENTRY)
    assert validator.is_valid({"prices": [item]})
    for key in item:
        assert not validator.is_valid(
            {"prices": [{name: value for name, value in item.items() if name != key}]}
        )
    assert not validator.is_valid({"prices": [{**item, "x": 1}]})
    assert schema["properties"]["prices"]["items"]["properties"].keys() == item.keys()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prices: [", "cannot be read"),
        ("[]", "must be a mapping with the one key prices, a list"),
        ("prices: {}", "must be a mapping with the one key prices, a list"),
        (f"prices: []\nmore: {ENTRY}", "must be a mapping with the one key prices, a list"),
        (
            f"prices: [{ENTRY.replace('1.25', '0')}]",
            "prices[0].usd_per_hour: must be a number above 0, got 0",
        ),
        (f"prices: [{ENTRY.replace('ground: aws', 'ground: azure')}]", "must be one of aws, gcp, own"),
        (f"prices: [{ENTRY.replace('source: an invoice, ', '')}]", "prices[0].source is missing"),
        (f"prices: [{ENTRY.replace('2026-11-01', '2999-01-01')}]", "2999-01-01 is still to come"),
        (f"prices: [{ENTRY.replace('}', ', x: 1}')}]", "unknown keys: prices[0].x"),
        (f"prices: [{ENTRY}, {ENTRY}]", "prices[1]: g6.2xlarge in eu-central-1, on-demand is priced twice"),
        ("prices: [1]", "prices[0]: must be a mapping, got 1"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text(text)
    with pytest.raises(PlannerError) as caught:
        read_prices(file)
    assert said in str(caught.value)
    assert "prices.yaml" in str(caught.value)


def test_what_was_asked_is_kept_with_its_day(tmp_path: Path) -> None:
    file = tmp_path / "prices" / "asked.json"
    write_asked(file, PRICES)
    assert read_asked(file) == PRICES
    file.write_text("{broken")
    assert read_asked(file) == {}


def product(usd: str, usagetype: str = "EUC1-BoxUsage:g6.2xlarge") -> str:
    """As the Price List API has it, shortened to what is read."""
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": usd}}
    return json.dumps(
        {
            "product": {"sku": "A", "attributes": {"usagetype": usagetype}},
            "terms": {
                "OnDemand": {"A.JRTCKXETXF": {"priceDimensions": {"A.JRTCKXETXF.6YS6EN2CT7": dimension}}}
            },
        }
    )


def clients(pricing: Any = None, ec2: Any = None) -> amazon.Clients:
    return amazon.Clients(pricing=pricing, ec2=lambda _region: ec2, quotas=lambda _region: None)


def client(service: str) -> Any:
    return boto3.client(
        service, region_name="us-east-1", aws_access_key_id="a-fixture", aws_secret_access_key="a-fixture"
    )


def test_the_price_list_is_asked_for_one_machine() -> None:
    pricing = client("pricing")
    with Stubber(pricing) as stub:
        stub.add_response(
            "get_products",
            {"FormatVersion": "aws_v1", "PriceList": [product("1.1234000000"), product("0.0000000000")]},
            {"ServiceCode": "AmazonEC2", "Filters": ANY},
        )
        assert amazon.ask([L4], clients(pricing), TODAY) == {L4: Price(1.1234, "AWS Price List API", TODAY)}


def test_two_prices_of_one_machine_are_no_price() -> None:
    pricing = client("pricing")
    with Stubber(pricing) as stub:
        stub.add_response("get_products", {"PriceList": [product("1.1"), product("1.2")]})
        assert amazon.ask([L4], clients(pricing), TODAY) == {}


def test_an_endpoint_costs_what_hosting_costs() -> None:
    key = PriceKey("aws", "eu-central-1", "ml.g6e.xlarge", "on-demand")
    pricing = client("pricing")
    with Stubber(pricing) as stub:
        stub.add_response(
            "get_products",
            {
                "PriceList": [
                    product("3.0", "EUC1-Train:ml.g6e.xlarge"),
                    product("2.5", "EUC1-Host:ml.g6e.xlarge"),
                ]
            },
            {"ServiceCode": "AmazonSageMaker", "Filters": ANY},
        )
        assert amazon.ask([key], clients(pricing), TODAY)[key].usd_per_hour == pytest.approx(2.5)


def test_a_spot_price_is_the_dearest_of_the_latest() -> None:
    key = L4._replace(capacity="spot")
    ec2 = client("ec2")
    history = [
        {"AvailabilityZone": zone, "SpotPrice": usd, "Timestamp": datetime(2026, 11, day, tzinfo=UTC)}
        for zone, usd, day in (
            ("eu-central-1a", "0.9", 1),
            ("eu-central-1a", "0.4", 2),
            ("eu-central-1b", "0.5", 2),
        )
    ]
    with Stubber(ec2) as stub:
        stub.add_response("describe_spot_price_history", {"SpotPriceHistory": history})
        assert amazon.ask([key], clients(ec2=ec2), TODAY)[key].usd_per_hour == pytest.approx(0.5)


def test_what_is_no_question_for_aws_is_not_asked() -> None:
    keys = [L4._replace(capacity="reserved"), L4._replace(ground="gcp"), L4._replace(ground="own")]
    assert amazon.ask(keys, clients(), TODAY) == {}


def test_a_refusal_names_what_is_missing() -> None:
    pricing = client("pricing")
    with Stubber(pricing) as stub:
        stub.add_client_error("get_products", "AccessDeniedException", "not authorized")
        with pytest.raises(PlannerError, match="pricing:GetProducts"):
            amazon.ask([L4], clients(pricing), TODAY)

    class Nobody:
        def get_paginator(self, _: str) -> Any:
            raise NoCredentialsError

    with pytest.raises(PlannerError, match="are there credentials"):
        amazon.ask([L4], clients(Nobody()), TODAY)


def test_the_example_of_the_docs_is_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "planner.md").read_text()
    (block,) = [one for one in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "prices:" in one]
    file = tmp_path / "prices.yaml"
    file.write_text(block.replace("\n  ", "\n"))
    assert read_prices(file)[PriceKey("own", "onprem", "replica", "on-demand")].usd_per_hour == pytest.approx(
        0.8
    )
