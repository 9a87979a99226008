"""Removes from the cache what nobody is likely to ask for again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from berth_images.store import remove_older

if TYPE_CHECKING:
    from berth_images.store import Store

KEPT_PER_ROLE = 3
# Its tar repeats an image's layers and is written again in a second; two, so that a command that is
# about to load the one before does not lose it to another that built a newer one.
KEPT_TARS_PER_ROLE = 2
KEPT_DAYS = 7


def prune(store: Store, inputs: frozenset[str]) -> None:
    """Keep the newest images of each role with all that they consist of, and downloads used this week.

    Call it under the store's lock.

    Args:
        store: the cache.
        inputs: names of files that the present base was made from; they stay.
    """
    newest_first = sorted(
        store.folder("images").glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True
    )
    count: dict[str, int] = {}
    keep: set[str] = set(inputs)
    for path in newest_first:
        record = store.read_record("images", path.stem, touch=False)
        role = str((record or {}).get("role"))
        count[role] = count.get(role, 0) + 1
        if record is None or count[role] > KEPT_PER_ROLE:
            path.unlink(missing_ok=True)
            continue
        keep.add(path.name)
        if count[role] <= KEPT_TARS_PER_ROLE:
            keep.add(str(record["tar"]))
        keep |= {
            f"{digest}{suffix}" for digest in record["layers"] for suffix in (".tar", ".tar.gz", ".json")
        }
        keep |= {f"{key}.json" for key in record["keys"].values()}
    for folder in ("tars", "blobs", "compressed", "layers", "roots"):
        remove_older(store.root / folder, frozenset(keep), days=0)
    for folder in ("wheels", "bases", "debs"):
        remove_older(store.root / folder, frozenset(keep), days=KEPT_DAYS)
