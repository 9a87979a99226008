"""Whether a model fits: by hand, at the ends of the error bar, and where nothing is known."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from berth_catalogue.models import model
from berth_catalogue.planning import Range, planning
from berth_planner.asked import Asked, quantised
from berth_planner.fit import fit
from berth_planner.page import page
from berth_planner.plan import Plan
from berth_planner.prices import Price, PriceKey
from berth_planner.suggest import fits

if TYPE_CHECKING:
    from berth_planner.plan import Section

CHAT = Asked(
    subject="aws/chat",
    name="qwen2.5-7b-instruct",
    architecture=model("qwen2.5-7b-instruct").architecture,
    quantised_as="BF16",
    quantisation=quantised("BF16"),
    file_bytes=0,
    engine="vllm",
    version="v0.30.0",
    device="gpu",
    ground="aws",
    region="eu-central-1",
    capacity="on-demand",
    prefix="",
    accelerator="nvidia-l4",
    accelerators=1,
    simulated=False,
    tensor_parallel=1,
    pipeline_parallel=1,
    fraction=0.9,
    cache_type="",
    slots=8,
    max_total=8192,
    memory_limit=24 * 2**30,
)


UNPRICED: dict[PriceKey, Price] = {}


def statuses(section: Section) -> dict[str, str]:
    return {check.name: check.status for check in section.checks}


def test_figures_are_those_of_a_calculation_by_hand() -> None:
    """Qwen2.5-7B on an L4, in docs/planner.md's order."""
    found = {one.name: one.value for one in fit(CHAT, UNPRICED).figures}
    gib = 2**30
    budget = 22.35 * 0.99 * 0.9
    weights = 7_615_616_512 * 2 / gib
    sampling, layer = 8 * 152_064 * 14 / gib, 2048 * 6 * 18_944 / gib
    activations = max(sampling, layer) + 2048 * 6 * 3584 / gib
    request = 8192 * 28 * 2 * 4 * 128 * 2 / gib
    assert found["budget"] == pytest.approx(budget)
    assert found["weights"] == pytest.approx(weights)
    assert found["activations"] == pytest.approx(activations)
    assert found["cache of one request"] == pytest.approx(request)
    assert found["cache needed"] == pytest.approx(8 * request)
    assert found["cache pool"] == pytest.approx(budget - weights - activations - 0.27)
    assert found["full requests"] == pytest.approx(found["cache pool"] / request)
    assert found["total"] == pytest.approx(weights + activations + 0.27 + 8 * request)


def test_what_fits_passes_and_what_cannot_fails() -> None:
    assert statuses(fit(CHAT, UNPRICED))["memory"] == "passed"
    failed = fit(replace(CHAT, slots=16), UNPRICED)
    assert statuses(failed)["memory"] == "failed"
    [check] = [one for one in failed.checks if one.name == "memory"]
    assert "16 requests of 8,192 tokens" in check.why
    assert "fewer concurrency.slots" in check.remedy


def test_within_the_error_bar_is_unknown() -> None:
    """Ten requests fit on an L4 by the expected figures, and not at the worse end."""
    found = fit(replace(CHAT, slots=10), UNPRICED)
    assert statuses(found)["memory"] == "unknown"
    assert Plan(stack="a", environment="production", sections=(found,)).exit_code == 3


@pytest.mark.parametrize(
    ("needed", "there", "status"),
    [
        (Range(1, 2, 3), Range(3, 4, 5), "passed"),
        (Range(1, 2, 3.1), Range(3, 4, 5), "unknown"),
        (Range(4, 5, 6), Range(3, 4, 5), "unknown"),
        (Range(5.1, 6, 7), Range(3, 4, 5), "failed"),
    ],
)
def test_only_certainties_pass_or_fail(needed: Range, there: Range, status: str) -> None:
    assert fits(needed, there) == status


def test_a_cache_in_fp8_is_half_and_weights_in_four_bits_a_little_over_a_quarter() -> None:
    whole = {one.name: one.value for one in fit(CHAT, UNPRICED).figures}
    half = {one.name: one.value for one in fit(replace(CHAT, cache_type="fp8_e4m3"), UNPRICED).figures}
    awq = {one.name: one.value for one in fit(replace(CHAT, quantisation=quantised("awq")), UNPRICED).figures}
    assert half["cache needed"] == pytest.approx(whole["cache needed"] / 2)
    assert 0.25 < awq["weights"] / whole["weights"] < 0.4


def test_heads_are_shared_out_and_copied_where_devices_are_more() -> None:
    """Four heads of keys and values: two devices hold two each, eight hold one each."""
    one, two, eight = (
        {
            figure.name: figure.value
            for figure in fit(replace(CHAT, accelerators=n, tensor_parallel=n), UNPRICED).figures
        }["cache of one request"]
        for n in (1, 2, 8)
    )
    assert (two, eight) == (pytest.approx(one / 2), pytest.approx(one / 4))


def test_layers_are_shared_out_between_groups() -> None:
    """28 layers in two groups, the first of which has the embedding besides."""
    found = {
        figure.name: figure.value
        for figure in fit(replace(CHAT, accelerators=2, pipeline_parallel=2), UNPRICED).figures
    }
    embedding = 152_064 * 3584
    assert found["weights"] == pytest.approx(((7_615_616_512 - 2 * embedding) / 2 + embedding) * 2 / 2**30)
    assert found["cache of one request"] == pytest.approx(8192 * 14 * 1024 * 2 / 2**30)


def test_a_compressed_cache_is_on_every_device() -> None:
    lite = replace(
        CHAT, architecture=model("deepseek-v2-lite-chat").architecture, accelerator="nvidia-h100-80gb"
    )
    one, four = (
        {
            figure.name: figure.value
            for figure in fit(replace(lite, accelerators=n, tensor_parallel=n), UNPRICED).figures
        }["cache of one request"]
        for n in (1, 4)
    )
    assert one == four == pytest.approx(8192 * 27 * 576 * 2 / 2**30)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"engine": "tgi"}, "no source says what tgi takes on nvidia-l4"),
        ({"device": "neuron", "accelerator": "aws-inferentia2"}, "no source says what vllm takes"),
        (
            {"quantised_as": "modelopt", "quantisation": quantised("modelopt")},
            "no data say how many bits a weight takes",
        ),
    ],
)
def test_what_no_source_says_is_unknown(changes: dict[str, Any], said: str) -> None:
    found = fit(replace(CHAT, **changes), UNPRICED)
    assert set(statuses(found).values()) == {"unknown"}
    assert any(said in check.why for check in found.checks)
    assert all(check.remedy or check.name == "weights" for check in found.checks)


def test_without_a_profile_weights_alone_can_fail() -> None:
    large = replace(CHAT, architecture=model("qwen2.5-72b-instruct").architecture, engine="tgi")
    assert statuses(fit(large, UNPRICED))["memory"] == "failed"


def test_main_memory_of_llama_cpp() -> None:
    """As measured here: 255 MiB with 2 slots of 2048 tokens, 345 MiB with 4."""
    local = replace(
        CHAT,
        architecture=model("smollm2-135m-instruct-q4_1").architecture,
        quantised_as="Q4_1",
        quantisation=None,
        file_bytes=98_362_432,
        engine="llama.cpp",
        device="cpu",
        accelerator="",
        accelerators=0,
        slots=2,
        max_total=2048,
        memory_limit=640 * 2**20,
    )
    for slots, measured in ((2, 255.2), (4, 345.1)):
        found = fit(replace(local, slots=slots), UNPRICED)
        [total] = [one for one in found.figures if one.name == "total"]
        assert total.value * 1024 == pytest.approx(measured, rel=0.02)
        assert statuses(found) == {"memory": "passed"}
    assert statuses(fit(replace(local, slots=64), UNPRICED)) == {"memory": "failed"}


def test_the_cheapest_that_fits_is_by_price_where_one_is_known() -> None:
    by_memory = fit(CHAT, UNPRICED).suggestion
    assert "least accelerator memory: no price is known" in by_memory
    prices = {
        PriceKey("aws", "eu-central-1", name, "on-demand"): Price(usd, "a fixture", date(2026, 11, 1))
        for name, usd in (("g6e.xlarge", 2.0), ("g6.xlarge", 1.0))
    }
    by_price = fit(CHAT, prices).suggestion
    assert by_price.startswith("g6.xlarge, 1 x nvidia-l4 (1.00 USD/h; ")
    assert "of unknown price" in by_price
    assert not fit(replace(CHAT, ground="own"), UNPRICED).suggestion
    too_large = replace(CHAT, architecture=model("qwen2.5-72b-instruct").architecture, slots=1024)
    assert fit(too_large, UNPRICED).suggestion == "no machine of aws in the catalogue holds it"


def test_the_newest_profile_that_is_not_newer_counts() -> None:
    known = planning()
    assert [known.profile("vllm", one).since for one in ("0.11", "v0.19.0", "v0.30.0")] == [
        "0",
        "0.19",
        "0.19",
    ]  # type: ignore[union-attr] - they are there
    assert known.profile("tgi", "3.3") is None


def test_a_page_is_80_columns_and_counts() -> None:
    plan = Plan(
        stack="aws-dev",
        environment="development",
        sections=(fit(CHAT, UNPRICED), fit(replace(CHAT, subject="aws/more", slots=16), UNPRICED)),
    )
    text = page(plan)
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[-1] == "3 passed, 1 failed, 0 unknown. Formulas: docs/planner.md."
    assert plan.exit_code == 1
    assert page(Plan(stack="a", environment="local", sections=())).splitlines()[2].startswith("It serves no")
