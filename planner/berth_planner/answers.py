"""What clouds and clusters said when they were asked: quotas, zones, free accelerators, each with its day.

    answers = read_answers(folder(Path("stacks")) / ANSWERS)
    answers[Question("quota", "aws", "eu-central-1", "g6.2xlarge", "spot")].amount

Nothing here asks: `berth_planner.lookups` does, and only when it is called. What nobody asked is unknown.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWERS = "answers.json"
PRICES = "asked.json"
SHARED = "answers"
MAX_AGE_DAYS = {"quota": 92, "vcpus": 92, "offer": 92, "free": 1}
"""Older answers count as unknown. Free accelerators are those of a day."""


class Question(NamedTuple):
    """What was asked.

    Attributes:
        kind: quota (of all that shares it), vcpus (of one machine), offer (zones), free (accelerators).
        ground: aws, gcp or own.
        place: the cloud's region; on own hardware the site's name.
        machine: the cloud's type (ml.… on SageMaker); on own hardware the pool.
        capacity: on-demand or spot, of a quota; else "".
        account: Google's project; else "".
    """

    kind: str
    ground: str
    place: str
    machine: str
    capacity: str = ""
    account: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was said.

    Attributes:
        amount: the quota's limit, vCPUs of the machine, or all accelerators of a pool; 0 of an offer.
        used: how much of it others use already; None where nobody said.
        unit: vCPUs, accelerators or instances; "" of an offer.
        names: the quota's name in its cloud, or the zones.
        source: who said it.
        day: when.
    """

    amount: float
    used: float | None
    unit: str
    names: tuple[str, ...]
    source: str
    day: date

    def is_stale(self, kind: str, today: date) -> bool:
        """Whether it is too old to be believed."""
        return (today - self.day).days > MAX_AGE_DAYS[kind]


def folder(stacks: Path) -> Path:
    """Where answers are kept.

    `$BERTH_ANSWERS`, else the folder `answers` beside the stacks' files where somebody made it, for all who
    share the repository; else `prices` in Berth's folder of the user's cache.

    Args:
        stacks: where the stacks' files are.
    """
    named = os.environ.get("BERTH_ANSWERS")
    if named:
        return Path(named).absolute()
    if (stacks / SHARED).is_dir():
        return stacks / SHARED
    cache = os.environ.get("BERTH_CACHE")
    base = os.environ.get("XDG_CACHE_HOME")
    home = Path(base).absolute() if base else Path.home() / ".cache"
    return (Path(cache).absolute() if cache else home / "berth") / "prices"


def read_answers(file: Path) -> dict[Question, Answer]:
    """What was answered before; none where nothing was, or where the file is not what we wrote."""
    try:
        content: Any = json.loads(file.read_text(encoding="utf-8"))
        return dict(_entry(item) for item in content)
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def write_answers(file: Path, answers: Mapping[Question, Answer]) -> None:
    """Keep what was said, with its day; the file is replaced as a whole."""
    listed = [
        {
            **question._asdict(),
            "amount": answer.amount,
            "used": answer.used,
            "unit": answer.unit,
            "names": list(answer.names),
            "source": answer.source,
            "date": answer.day.isoformat(),
        }
        for question, answer in sorted(answers.items(), key=lambda one: one[0])
    ]
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".new")
    beside.write_text(json.dumps(listed, indent=1), encoding="utf-8")
    beside.replace(file)


def _entry(item: dict[str, Any]) -> tuple[Question, Answer]:
    question = Question(*(str(item[name]) for name in Question._fields))
    if question.kind not in MAX_AGE_DAYS:
        raise ValueError(question.kind)
    used = item["used"]
    answer = Answer(
        amount=float(item["amount"]),
        used=None if used is None else float(used),
        unit=str(item["unit"]),
        names=tuple(map(str, item["names"])),
        source=str(item["source"]),
        day=date.fromisoformat(item["date"]),
    )
    return question, answer
