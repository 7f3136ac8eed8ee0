"""Generated clips with exact ground truth: the 25 LLP classes, mixed by a seeded plan, rendered to mp4."""
