"""Outputs of timelines: event files, plots, HTML pages, the terminal; post-processing of events."""
