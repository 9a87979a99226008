"""Data with source and date: accelerators, machines, engines, models, image names."""
