"""Training of parsers, localizers and extractors: recipes and run folders."""
