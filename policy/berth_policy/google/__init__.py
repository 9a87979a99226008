"""The baseline of Google Cloud."""
