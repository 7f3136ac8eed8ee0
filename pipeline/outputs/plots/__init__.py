"""Plots of timelines, media and attention maps."""
