"""Says before a deployment whether a model fits and what its machines cost.

Pure functions over the catalogue: a network is used in `berth_planner.lookups` alone, and there only when it
is called. docs/planner.md has the formulas.
"""
