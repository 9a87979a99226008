"""Accelerators: the ten of the field, by the names that clusters give them."""

import pytest
from berth_catalogue.accelerators import accelerator, accelerators
from berth_catalogue.errors import CatalogueError
from berth_catalogue.machines import machines

KEYS = {
    "nvidia-a10g",
    "nvidia-l4",
    "nvidia-l40s",
    "nvidia-a100-40gb",
    "nvidia-a100-80gb",
    "nvidia-h100-80gb",
    "nvidia-h200-141gb",
    "aws-inferentia2",
    "google-tpu-v5e",
    "google-tpu-v6e",
}


def test_the_keys_are_those_that_settings_use() -> None:
    assert set(accelerators()) == KEYS
    assert all(key == one.key for key, one in accelerators().items())


@pytest.mark.parametrize("key", sorted(KEYS))
def test_each_has_a_source_and_its_makers_names(key: str) -> None:
    one = accelerator(key)
    assert one.sources
    assert all(source.what and source.origin for source in one.sources)
    assert (
        one.resource
        == {
            "nvidia": "nvidia.com/gpu",
            "aws": "aws.amazon.com/neuron",
            "google": "google.com/tpu",
        }[one.vendor]
    )
    # Pools tolerate the resource's own key.
    assert one.taint[0] == one.resource
    assert one.taint[2] == "NoSchedule"
    assert bool(one.product_labels) == (one.vendor == "nvidia")
    assert bool(one.gke_tpu) == (one.vendor == "google")


@pytest.mark.parametrize("key", sorted(KEYS))
def test_what_google_sells_has_a_label_on_gke(key: str) -> None:
    one = accelerator(key)
    sold = any(machine.accelerator == key for machine in machines("gcp").values())
    assert sold == bool(one.gke_accelerator or one.gke_tpu)


def test_no_spelling_belongs_to_two() -> None:
    labels = [label for one in accelerators().values() for label in one.product_labels]
    assert len(labels) == len(set(labels))


def test_labels_are_values_that_kubernetes_takes() -> None:
    for one in accelerators().values():
        for label in (*one.product_labels, one.gke_accelerator, one.gke_tpu):
            assert label is None or (len(label) <= 63 and label.replace("-", "").isalnum())


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("nvidia-l4", "nvidia-l4"),
        ("nvidia-a100-40gb", "nvidia-tesla-a100"),
        ("nvidia-a100-80gb", "nvidia-a100-80gb"),
        ("nvidia-h100-80gb", "nvidia-h100-80gb"),
        ("nvidia-h200-141gb", "nvidia-h200-141gb"),
        ("google-tpu-v5e", "tpu-v5-lite-podslice"),
        ("google-tpu-v6e", "tpu-v6e-slice"),
    ],
)
def test_gke_knows_it_by(key: str, label: str) -> None:
    one = accelerator(key)
    assert (one.gke_tpu or one.gke_accelerator) == label


def test_an_unknown_one_is_refused_with_the_closest() -> None:
    with pytest.raises(
        CatalogueError, match=r"accelerator 'nvidia-l40' is not in .*did you mean 'nvidia-l40s'"
    ):
        accelerator("nvidia-l40")
    with pytest.raises(CatalogueError, match="known: aws-inferentia2, google-tpu-v5e"):
        accelerator("gaudi")
