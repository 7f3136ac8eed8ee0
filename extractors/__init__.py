"""Feature extractors and the profiles that feed them."""
