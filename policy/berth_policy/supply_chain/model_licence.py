"""Every model may be used."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from berth_catalogue.models import models

from berth_policy.kubernetes import KUBERNETES
from berth_policy.rule import Finding, Rule
from berth_policy.subject import Stack, survey
from berth_policy.supply_chain._engines import Server, containers


@dataclass(frozen=True)
class LicenceSettings:
    """Settings of the policy `models-licence`.

    Attributes:
        allowed: licences that your company accepts, as SPDX writes them, LicenseRef-… for those of makers.
        licences: licence by model, for models that are not in the catalogue.
    """

    allowed: tuple[str, ...] = (
        *("Apache-2.0", "MIT", "LicenseRef-Qwen", "LicenseRef-Llama-3.1", "LicenseRef-Llama-3.3"),
    )
    licences: Mapping[str, str] = field(default_factory=dict)


def check(stack: Stack) -> Iterator[Finding]:
    """Look at every model that a container names."""
    settings = stack.settings(LicenceSettings)
    known = {one.name: one.licence for one in models().values()} | dict(settings.licences)
    yield from survey(containers(stack), lambda one: _look(one, known, settings.allowed))


def _look(one: Server, known: Mapping[str, str], allowed: tuple[str, ...]) -> Iterator[Finding]:
    name = one.repository
    if not name:
        return
    licence = known.get(name, "")
    if licence not in allowed:
        found = f"{one.container.path} serves {name}, whose licence is {licence or 'not known here'}"
        wanted = f"one of {', '.join(allowed)}"
        yield Finding(found, wanted, one.pod.object.resource)


RULE = Rule(
    name="models-licence",
    group="supply_chain",
    title="Models have a licence that is accepted.",
    why="Some licences forbid use for profit, or above a number of users.",
    fix="Use another model, or have the licence accepted: settings `allowed` and `licences` of this policy.",
    types=KUBERNETES,
    settings=LicenceSettings,
    check_stack=check,
)
