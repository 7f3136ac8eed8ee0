"""The exception of this package."""

from __future__ import annotations


class WeightsError(Exception):
    """Missing, damaged or unknown weights. The message names them and says what to do."""
