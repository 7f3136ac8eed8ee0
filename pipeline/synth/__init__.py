"""Generated clips with exact truth: sounds and sights of the 25 LLP classes, mixed by a plan, rendered to mp4."""
