"""Weight files: which exist, where they are, how to get them, whether they are genuine."""
