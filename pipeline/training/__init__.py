"""Training of parsers and extractors: recipes, run folders, experiments of the paper."""
