"""Divides a model's load between sites: own hardware first, the rest under a cost cap.

So far the decision alone, a pure function; docs/router.md says how weights reach a router.
"""
