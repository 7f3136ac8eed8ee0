"""Data sets: annotations, pseudo labels, label embeddings, and clips in batches."""
