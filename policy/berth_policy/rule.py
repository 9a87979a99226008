"""What a policy is, before any runtime knows of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from berth_policy.subject import Resource, Stack

Level = Literal["mandatory", "advisory", "disabled"]
Levels = Mapping[str, Level]
"""Level by environment: local, development, production."""
ENVIRONMENTS = ("local", "development", "production")

ALWAYS: Levels = {"local": "mandatory", "development": "mandatory", "production": "mandatory"}
IN_CLOUDS: Levels = {"local": "disabled", "development": "mandatory", "production": "mandatory"}
IN_PRODUCTION: Levels = {"local": "disabled", "development": "disabled", "production": "mandatory"}
ADVICE: Levels = {"local": "advisory", "development": "advisory", "production": "advisory"}
"""What counts as a hint everywhere."""

ADVISED = "-advice"
"""Ends the name of a rule's second policy: the one that only advises, where the first one stops."""


@dataclass(frozen=True)
class Finding:
    """One thing that a rule does not accept.

    Attributes:
        found: what was found, such as "spec.hostNetwork is true"; never the value of a secret or of `env`.
        wanted: what would be accepted.
        resource: the resource it is about; the checked one, or the whole stack, where None.
    """

    found: str
    wanted: str
    resource: Resource | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One policy.

    Exactly one of `check` and `check_stack` is given. A check of one resource sees its inputs, before
    anything is made. Where its level differs between environments, it runs when all resources are known,
    since only then the environment is; it sees the same inputs.

    A check reads only what it needs: reading an unknown value ends it, and it counts as not evaluated. What
    it yielded before still counts, so `subject.survey` goes through several parts without losing any.

    Attributes:
        name: its id, in kebab case; begins with its topic.
        group: the package that it is in, such as "network".
        title: the rule in one sentence.
        why: what goes wrong where it is broken.
        fix: what to change.
        levels: how strict it is, by environment.
        types: beginnings of the type tokens that it looks at, such as "kubernetes:apps/"; all where empty. It
            does not run where no resource has one of them.
        answers: ids of public benchmarks that it answers, such as "CKV_K8S_16".
        settings: dataclass of what a pack's user may configure, with a default for each field.
        more: anchor in docs/policies.md; the name where "".
    """

    name: str
    group: str
    title: str
    why: str
    fix: str
    levels: Levels = field(default_factory=lambda: ALWAYS)
    types: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    settings: type | None = None
    more: str = ""
    check: Callable[[Resource], Iterable[Finding]] | None = None
    check_stack: Callable[[Stack], Iterable[Finding]] | None = None

    def __post_init__(self) -> None:
        if (self.check is None) == (self.check_stack is None):
            raise TypeError(f"rule {self.name}: give exactly one of check and check_stack")
        if set(self.levels) != set(ENVIRONMENTS):
            raise TypeError(f"rule {self.name}: levels are of {', '.join(ENVIRONMENTS)}")

    @property
    def anchor(self) -> str:
        """Where to read more."""
        return f"docs/policies.md#{self.more or self.name}"

    @property
    def by_cluster(self) -> bool:
        """Whether it looks at each cluster by itself: a name means another object in another one."""
        return bool(self.types) and all(kind.startswith("kubernetes:") for kind in self.types)

    def looks_at(self, kind: str) -> bool:
        """Whether it looks at resources of a type."""
        return not self.types or kind.startswith(self.types)
