"""Embeddings of the seconds of videos, kept on disk, so that other classes need no decoding."""
