"""Says before a deployment whether a model fits.

Pure functions over the catalogue: nothing is asked of a network. docs/planner.md has the formulas.
"""
