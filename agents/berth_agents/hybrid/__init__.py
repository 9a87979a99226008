"""Divides a model's load between sites: own hardware first, the rest under a cost cap.

Two processes. `reporter`, one at each site, counts what its cluster knows of the model. `controller`, one
beside the router, asks all of them once a second, decides (`decision`, pure) and writes weights for the
router (`weights`). docs/hybrid.md describes them.
"""
