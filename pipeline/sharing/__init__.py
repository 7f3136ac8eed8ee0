"""Share a run: a bundle with a model card, uploaded to a hub."""
