"""Evaluate parsers, timelines and pseudo labels; tune thresholds; print tables."""
