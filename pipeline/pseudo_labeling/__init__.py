"""Segment-level pseudo labels from CLIP on frames and CLAP on audio (VALOR's procedure)."""
