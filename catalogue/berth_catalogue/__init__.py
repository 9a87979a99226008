"""Data with source and date: engines, models, image names."""
