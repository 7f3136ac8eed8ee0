"""Generated clips of the 25 LLP classes with exact ground truth: planned from a seed, rendered to mp4."""
