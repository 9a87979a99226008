"""Test policies as Pulumi runs them: on resources given as data, with unknown values, and mutated.

For packs of any author. `check` hands resources to the policy runtime itself, in this process; see
docs/policy-testing.md.
"""

from berth_policy.testing.loading import LoadError, load_pack, load_preview, load_stack_export
from berth_policy.testing.mutation import Mutant, mutate
from berth_policy.testing.resources import UNKNOWN, Given, given, output_value, secret
from berth_policy.testing.runtime import Result, Results, assert_trips, check

__all__ = [
    "UNKNOWN",
    "Given",
    "LoadError",
    "Mutant",
    "Result",
    "Results",
    "assert_trips",
    "check",
    "given",
    "load_pack",
    "load_preview",
    "load_stack_export",
    "mutate",
    "output_value",
    "secret",
]
