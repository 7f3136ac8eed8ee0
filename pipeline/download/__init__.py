"""Media that are not files yet: standard input, addresses, and the clips that annotations name."""
