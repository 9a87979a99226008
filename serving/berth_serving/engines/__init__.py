"""Engines: what a gateway asks of one, and one module per engine.

This file stays empty of imports: the probe next door has to start within milliseconds.
"""
