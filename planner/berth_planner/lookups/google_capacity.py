"""Google's quotas of a region, and the zones that have an accelerator: Compute Engine's API.

    ask(fleets, reader(token()), date.today())

Needs compute.regions.get, compute.projects.get and compute.acceleratorTypes.list (roles/compute.viewer),
which change nothing. Quotas are those that regions.get and projects.get list; newer accelerators and TPUs
have theirs in another API, and stay unknown.
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from berth_catalogue.accelerators import accelerator

from berth_planner.answers import Answer, Question
from berth_planner.capacity import offer_question, quota_question
from berth_planner.errors import PlannerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from datetime import date

    from berth_planner.cost import Fleet

TOKEN = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105 - the variable's name
"""Environment variable with an access token; else gcloud is asked for one."""
_COMPUTE = "https://compute.googleapis.com/compute/v1/projects"
_SECONDS = 30
_METRICS = {
    "nvidia-l4": "NVIDIA_L4_GPUS",
    "nvidia-a100-40gb": "NVIDIA_A100_GPUS",
    "nvidia-a100-80gb": "NVIDIA_A100_80GB_GPUS",
    "nvidia-h100-80gb": "NVIDIA_H100_GPUS",
}
_EVERYWHERE = "GPUS_ALL_REGIONS"
_NEEDS = "roles/compute.viewer on the project"


def token() -> str:
    """An access token: of the environment, of gcloud's default credentials, or of gcloud's account.

    Raises:
        PlannerError: there is none.
    """
    given = os.environ.get(TOKEN)
    if given:
        return given
    said = "gcloud is not installed"
    for words in (("auth", "application-default", "print-access-token"), ("auth", "print-access-token")):
        try:
            done = subprocess.run(
                ["gcloud", *words], capture_output=True, text=True, check=True, timeout=_SECONDS
            )
        except FileNotFoundError:
            break
        except (subprocess.SubprocessError, OSError):
            said = "gcloud has no login: gcloud auth application-default login"
            continue
        if done.stdout.strip():
            return done.stdout.strip()
    raise PlannerError(f"Google is not asked for quotas: ${TOKEN} is not set, and {said} (docs/planner.md)")


def reader(access_token: str) -> Callable[[str], dict[str, Any]]:
    """What reads a path below projects/ with a token, which is in no address and no message."""

    def read(path: str) -> dict[str, Any]:
        request = Request(f"{_COMPUTE}/{path}", headers={"Authorization": f"Bearer {access_token}"})  # noqa: S310 - https, above
        try:
            with urlopen(request, timeout=_SECONDS) as answer:  # noqa: S310 - as above
                found = json.load(answer)
        except (HTTPError, URLError, TimeoutError, ValueError) as error:
            raise PlannerError(
                f"Google cannot be asked for {path.partition('?')[0]}: {error}; has the account {_NEEDS}?"
            ) from None
        if not isinstance(found, dict):
            raise PlannerError(f"Google's answer about {path.partition('?')[0]} is not what is expected")
        return found

    return read


def ask(
    fleets: Iterable[Fleet], read: Callable[[str], dict[str, Any]], today: date
) -> dict[Question, Answer]:
    """Ask Google about a stack's machines. What it has no answer to is left out.

    Args:
        fleets: the stack's machines; those without a project are not asked about.
        read: gives the JSON of a path below `projects/`.
        today: the day of the answers.

    Raises:
        PlannerError: Google cannot be asked, or refuses.
    """
    found: dict[Question, Answer] = {}
    quotas: dict[str, dict[str, tuple[float, float]]] = {}
    zones: dict[str, dict[str, list[str]]] = {}
    for fleet in fleets:
        if fleet.key.ground != "gcp" or not fleet.account or not fleet.accelerator:
            continue
        project = quote(fleet.account, safe=":.")
        if (question := quota_question(fleet)) and (metric := _METRICS.get(fleet.accelerator)):
            paths = {"": project, question.place: f"{project}/regions/{quote(question.place)}"}
            for path in paths.values():
                if path not in quotas:
                    quotas[path] = _quotas(read(path))
            if answer := _quota(metric, fleet.key.capacity, [quotas[path] for path in paths.values()], today):
                found[question] = answer
        name = accelerator(fleet.accelerator).gke_accelerator
        if name and (question := offer_question(fleet)):
            if project not in zones:
                zones[project] = _zones(read, project)
            there = [one for one in zones[project].get(name, ()) if one.startswith(f"{question.place}-")]
            found[question] = Answer(0, None, "", tuple(sorted(there)), "Compute Engine's zones", today)
    return found


def _quotas(answer: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    listed = answer.get("quotas") or ()
    return {str(one["metric"]): (float(one["limit"]), float(one.get("usage") or 0)) for one in listed}


def _quota(
    metric: str, capacity: str, listed: list[dict[str, tuple[float, float]]], today: date
) -> Answer | None:
    """The tighter one of the region's quota and that of all regions; None where the region's is not told."""
    everywhere, region = listed
    name = f"PREEMPTIBLE_{metric}" if capacity == "spot" else metric
    if name not in region:
        return None
    tightest = (name, *region[name])
    if _EVERYWHERE in everywhere:
        limit, used = everywhere[_EVERYWHERE]
        if limit - used < tightest[1] - tightest[2]:
            tightest = (_EVERYWHERE, limit, used)
    return Answer(tightest[1], tightest[2], "accelerators", (tightest[0],), "Compute Engine's quotas", today)


def _zones(read: Callable[[str], dict[str, Any]], project: str) -> dict[str, list[str]]:
    """Zones by the name of an accelerator."""
    found: dict[str, list[str]] = {}
    for page in _pages(read, f"{project}/aggregated/acceleratorTypes"):
        for place, scoped in (page.get("items") or {}).items():
            for one in scoped.get("acceleratorTypes") or ():
                found.setdefault(str(one["name"]), []).append(place.removeprefix("zones/"))
    return found


def _pages(read: Callable[[str], dict[str, Any]], path: str) -> Iterator[dict[str, Any]]:
    after = ""
    while True:
        page = read(path + (f"?pageToken={quote(after, safe='')}" if after else ""))
        yield page
        after = page.get("nextPageToken") or ""
        if not after:
            return
