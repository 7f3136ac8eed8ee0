"""Plots of a timeline with frames, audio and attention."""
