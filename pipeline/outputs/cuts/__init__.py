"""Cuts of events out of media files."""
