"""How many mutants that weaken safety trip a rule.

    ./berth preview aws-prod --json > aws-prod.json
    python -m berth_policy.testing.score aws-prod.json …

Mutants that weaken nothing are left out by data, `policy/mutation-exclusions.yaml`: each says which ones, and
why. A path there is words joined by dots, with # for a place in a list; * stands for anything. The first
entry that covers a mutant decides; `weakens: true` keeps mutants that a later, wider one would leave out.
"""

import argparse
import fnmatch
import functools
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from berth_policy import pack
from berth_policy.rule import Rule
from berth_policy.testing.loading import LoadError, load_preview
from berth_policy.testing.mutation import JSON, Mutant, mutate
from berth_policy.testing.resources import Given
from berth_policy.testing.trial import Trial

WANTED = 0.95
_KEYS = {"type", "paths", "operations", "environments", "after", "but", "rest"}
_OPERATIONS = {"removed", "flipped", "widened", "emptied", "changed"}


class ExclusionsError(ValueError):
    """The file of exclusions is wrong; the message says where, and what is wanted."""


@dataclass(frozen=True)
class Exclusion:
    """Mutants that weaken nothing.

    Attributes:
        reason: why.
        type: type tokens, as a pattern.
        paths: where they were changed, as patterns.
        operations: what was done.
        environments: only in these; everywhere where empty.
        after: a regular expression: only those whose value is so now.
        but: a regular expression: values, before or after, that are not excluded all the same.
        rest: only where what was taken out leaves something in its list; an empty one may mean everything.
        weakens: they do weaken something, and are not left out.
    """

    reason: str
    type: str
    paths: tuple[str, ...]
    operations: frozenset[str]
    environments: frozenset[str] = frozenset()
    after: str = ""
    but: str = ""
    rest: bool = False
    weakens: bool = False

    def covers(self, mutant: Mutant, path: str, environment: str) -> bool:
        """Whether a mutant is one of them."""
        return (
            mutant.operation in self.operations
            and (not self.environments or environment in self.environments)
            and _like(mutant.resource.type, self.type)
            and any(_like(path, one) for one in self.paths)
            and (not self.after or _has(self.after, mutant.after))
            and not (self.but and (_has(self.but, mutant.before) or _has(self.but, mutant.after)))
            and (not self.rest or _leaves_some(mutant))
        )


@dataclass
class Score:
    """What became of all mutants.

    Attributes:
        mutants: how many there are.
        excluded: how many were left out, by reason.
        killed: how many of the others trip a rule, by rule.
        survivors: the others, each in one line with its stack.
        unused: patterns of exclusions that cover no mutant.
    """

    mutants: int = 0
    excluded: Counter[str] = field(default_factory=Counter)
    killed: Counter[str] = field(default_factory=Counter)
    survivors: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def tried(self) -> int:
        """The denominator: mutants that weaken safety."""
        return self.killed.total() + len(self.survivors)

    @property
    def share(self) -> float:
        """The part of them that trips a rule; 1 where there is none."""
        return self.killed.total() / self.tried if self.tried else 1.0

    def to_json(self) -> dict[str, Any]:
        """Everything, for a program."""
        return {
            "mutants": self.mutants,
            "excluded": dict(sorted(self.excluded.items())),
            "tried": self.tried,
            "killed": dict(sorted(self.killed.items())),
            "survivors": self.survivors,
            "score": round(self.share, 4),
            "wanted": WANTED,
        }

    def lines(self) -> Iterator[str]:
        """Everything, for a person."""
        yield f"{self.mutants} mutants; {self.excluded.total()} weaken nothing:"
        for reason, count in self.excluded.most_common():
            yield f"{count:7}  {reason}"
        yield f"{self.killed.total()} of the other {self.tried} trip a rule: {self.share:.1%}"
        if self.survivors:
            yield f"{len(self.survivors)} trip none:"
            yield from (f"         {one}" for one in self.survivors)


def read_exclusions(file: Path) -> list[Exclusion]:
    """The exclusions of a file.

    Raises:
        ExclusionsError: it is wrong.
    """
    found: list[Exclusion] = []
    for number, group in enumerate(yaml.safe_load(file.read_text(encoding="utf-8")) or []):
        reason = str(group.get("reason") or "")
        if not reason or not group.get("mutants"):
            raise ExclusionsError(f"{file.name}: entry {number + 1} lacks a reason or mutants")
        weakens = group.get("weakens") is True
        found += (_exclusion(file, reason, one, weakens=weakens) for one in group["mutants"])
    return found


def _exclusion(file: Path, reason: str, given: Mapping[str, Any], *, weakens: bool) -> Exclusion:
    where = f"{file.name}: {given}"
    if odd := set(given) - _KEYS:
        raise ExclusionsError(f"{where}: unknown {', '.join(odd)}; allowed: {', '.join(sorted(_KEYS))}")
    paths, operations = given.get("paths") or [], given.get("operations") or []
    if not given.get("type") or not paths or not operations or set(operations) - _OPERATIONS:
        allowed = ", ".join(sorted(_OPERATIONS))
        raise ExclusionsError(f"{where}: wanted: type, paths, and operations of {allowed}")
    return Exclusion(
        reason,
        given["type"],
        tuple(paths),
        frozenset(operations),
        frozenset(given.get("environments") or ()),
        given.get("after") or "",
        given.get("but") or "",
        given.get("rest") is True,
        weakens,
    )


def score(
    stacks: Mapping[str, Sequence[Given]],
    exclusions: Sequence[Exclusion],
    rules: Sequence[Rule] | None = None,
) -> Score:
    """Mutate every resource of every stack, and see which rules say something.

    Args:
        stacks: what each stack plans; the same mutant of the same environment is tried once.
        exclusions: mutants that weaken nothing.
        rules: those that are judged; all of this pack where None.
    """
    made = Score()
    used: set[Exclusion] = set()
    for name, resources in stacks.items():
        trial = Trial(rules if rules is not None else pack.rules(), resources)
        for resource in resources:
            for mutant in mutate(resource):
                made.mutants += 1
                path = ".".join("#" if isinstance(one, int) else str(one) for one in mutant.path)
                found = next((one for one in exclusions if one.covers(mutant, path, trial.environment)), None)
                if found:
                    used.add(found)
                if found and not found.weakens:
                    made.excluded[found.reason] += 1
                elif rule := trial.trips(mutant.resource):
                    made.killed[rule] += 1
                else:
                    made.survivors.append(f"{name}: {mutant.description}")
    made.unused = [f"{one.type} {one.paths}" for one in exclusions if one not in used]
    return made


@functools.cache
def _pattern(pattern: str) -> re.Pattern[str]:
    # Brackets are parts of keys here, no sets of characters.
    return re.compile(fnmatch.translate(pattern.replace("[", "[[]")))


def _like(text: str, pattern: str) -> bool:
    return bool(_pattern(pattern).match(text))


def _leaves_some(mutant: Mutant) -> bool:
    holder: Any = mutant.resource.inputs
    for part in mutant.path[:-1]:
        holder = json.loads(holder) if part == JSON else holder[part]
    return bool(holder)


def _has(pattern: str, value: object) -> bool:
    return value is not None and bool(re.search(pattern, str(value)))


def main(words: Sequence[str]) -> int:
    """Print the score of previews; 0 where it is enough, 1 where not, 2 for wrong input."""
    reader = argparse.ArgumentParser(prog="python -m berth_policy.testing.score")
    reader.add_argument("previews", nargs="+", type=Path, help="files of `berth preview <stack> --json`")
    reader.add_argument("--exclusions", type=Path, default=Path("policy/mutation-exclusions.yaml"))
    reader.add_argument("--json", action="store_true")
    given = reader.parse_args(words)
    try:
        stacks = {one.stem: load_preview(one) for one in given.previews}
        made = score(stacks, read_exclusions(given.exclusions))
    except (OSError, LoadError, ExclusionsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    text = json.dumps(made.to_json(), indent=2) if given.json else "\n".join(made.lines())
    sys.stdout.write(f"{text}\n")
    return 0 if made.share >= WANTED else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
