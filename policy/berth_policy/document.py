"""docs/policies.md, made from the rules: python -m berth_policy.document > docs/policies.md."""

import dataclasses
import sys
from collections.abc import Iterable, Iterator

from berth_policy.pack import EXCEPTIONS, rules
from berth_policy.rule import ENVIRONMENTS, Rule

TITLES = {
    "pack": "The pack itself",
    "findings": "Open findings",
    "workloads": "Workloads",
    "network": "Network",
    "identity": "Identity",
    "aws": "AWS",
    "google": "Google Cloud",
    "accelerators": "Accelerators",
    "cost": "Cost",
    "supply_chain": "Supply chain",
    "routers": "Routers and sites",
}
_HEAD = """\
# Policies

`policy/` is a policy pack for Pulumi (CrossGuard, in Python): {count} rules for Kubernetes, AWS and Google
Cloud. It holds for any program, not only for one that uses our components.

```sh
./berth policy --all                               # every stack, without credentials
./berth preview aws-prod --policy-pack policy      # with the plan
pulumi preview --policy-pack policy                # the same pack under the Pulumi CLI
```

A rule is `mandatory` (it stops the run), `advisory` (it is shown) or off, by environment. A stack says
which one it is by a resource of type `berth:stacks:Environment`; a program without one counts as
production, or as what `{{"environment": {{"environment": "development"}}}}` in the file of
`--policy-pack-config` says. A rule that stops in one environment and advises in another is two policies for
Pulumi: `<rule>` and `<rule>-advice`.

A rule that would have to read a value that a preview does not know is *not evaluated*, and is shown as
such: never as passed.

**Settings.** Rules with settings take them by name from the same file, `{{"models-licence": {{"allowed":
["MIT"]}}}}`. A wrong key or type is an error.

**Exceptions** are in `policy/exceptions.yaml`: rule, stack, the exact URN of one object, reason, owner,
last day. One that has expired, or that nothing matches, fails as policy `{exceptions}`.

**Open findings** are what only another place can answer, such as the digest of an image.
`policy/open-findings.yaml` lists those of the shipped stacks exactly.

**Benchmarks** that rules answer: CIS AWS Foundations 7.0.0, Google Cloud Foundation 5.0.0 and Kubernetes
2.0.1 (as prowler 5.46.0 lists them), CIS EKS 1.8.0 and GKE 1.8.0 (as kube-bench lists them), and Checkov
3.3.30; all read on 2026-11-28.

To test policies of your own as this pack is tested: [policy-testing.md](policy-testing.md). This page is
made from the rules by `python -m berth_policy.document`.
"""


def page() -> Iterator[str]:
    """The page, line by line."""
    every = rules()
    yield _HEAD.format(count=len(every), exceptions=EXCEPTIONS)
    for group, title in TITLES.items():
        here = sorted((rule for rule in every if rule.group == group), key=lambda rule: rule.name)
        if here:
            yield f"## {title}\n"
            for rule in here:
                yield from _rule(rule)


def _rule(rule: Rule) -> Iterator[str]:
    yield f'### <a id="{rule.more or rule.name}"></a>`{rule.name}`\n'
    yield f"{rule.title} *{_levels(rule)}*\n"
    yield f"- Why: {rule.why}"
    yield f"- Fix: {rule.fix}"
    if rule.answers:
        yield f"- Answers: {', '.join(rule.answers)}"
    for field in dataclasses.fields(rule.settings) if rule.settings else ():
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        yield f"- Setting `{field.name}`, default `{_default(default)}`"
    yield ""


def _default(value: object) -> str:
    return str(list(value) if isinstance(value, tuple) else value)


def _levels(rule: Rule) -> str:
    levels = {rule.levels[one] for one in ENVIRONMENTS}
    if len(levels) == 1:
        return f"{levels.pop().capitalize()} everywhere."
    return ", ".join(f"{one}: {_word(rule.levels[one])}" for one in ENVIRONMENTS).capitalize() + "."


def _word(level: str) -> str:
    return "off" if level == "disabled" else level


def write(lines: Iterable[str]) -> str:
    """The page as text."""
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(write(page()))
