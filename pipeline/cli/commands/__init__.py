"""One file per command; commands only handle arguments."""
