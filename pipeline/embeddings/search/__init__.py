"""Search for what a text says in the kept embeddings of many videos."""
