"""Monitoring: what is watched, what counts as well, who is told.

One component, one file, all its objects. What needs no Pulumi (facts, objectives, rules, routes, dashboards)
is plain functions from dataclasses to plain dicts.
"""
