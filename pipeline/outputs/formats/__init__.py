"""Readers and writers of event files, one file a format."""
