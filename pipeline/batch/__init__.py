"""Batch runs over many videos: plan, engine, journal, storages, and the same on a Ray cluster."""
