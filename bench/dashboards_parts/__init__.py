"""The processes of `bench/dashboards.py`, which the tests of the dashboards use too."""
