"""Videos in, timelines out."""
