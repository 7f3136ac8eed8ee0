"""Search for events in the timelines of many files."""
