"""The baseline of AWS."""
