"""The one error of this package."""

from __future__ import annotations


class WeightsError(Exception):
    """Weights are missing, damaged or unknown. The message says which, and what to do."""
