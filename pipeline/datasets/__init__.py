"""Annotations, features and pseudo labels as clips of a split, and batches of them."""
