"""The contracts that clients speak: how each reads a request and writes an answer."""
