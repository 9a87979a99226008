"""Whom an HTTPS endpoint is believed to be."""

import ssl
from pathlib import Path

from berth.operations.errors import LoadSettingsError


def trusted(ca: Path | None) -> ssl.SSLContext:
    """Return a context that believes the authorities of a file, or those that this machine knows.

    Raises:
        LoadSettingsError: the file cannot be read, or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=None if ca is None else str(ca))
    except (OSError, ssl.SSLError) as error:
        raise LoadSettingsError(
            f"The authority's file {ca} cannot be used: {error}. It must hold certificates in PEM "
            "(-----BEGIN CERTIFICATE-----)"
        ) from error
    # Python 3.13 asks for more than other clients do: many companies' authorities lack key identifiers.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context
