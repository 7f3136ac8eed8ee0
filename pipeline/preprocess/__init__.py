"""Decoded media as network inputs, made in the decode worker process."""
