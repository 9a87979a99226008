"""What a finding says to a person."""

from berth_policy.rule import Finding, Rule


def message(rule: Rule, finding: Finding, subject: str) -> str:
    """Which object, what was found, what is wanted, why, how to fix it, where to read more."""
    return (
        f"{subject}: {finding.found}; wanted: {finding.wanted}.\n"
        f"Why: {rule.why}\nFix: {rule.fix}\nMore: {rule.anchor}"
    )
