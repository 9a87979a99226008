"""The processes of `bench/serving.py`."""
