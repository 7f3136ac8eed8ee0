"""Limits of comparisons; importing them needs no numpy."""

MAX_RESAMPLES = 100_000
MAX_SYSTEMS = 20
