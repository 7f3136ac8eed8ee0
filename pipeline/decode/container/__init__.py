"""Containers of media: safe opening, streams, one clock, packets and frames, and what was lost."""
