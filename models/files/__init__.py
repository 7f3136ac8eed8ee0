"""Checkpoints of this program, and weight files published by others."""
