"""Text halves of CLIP and CLAP: sentences to embeddings in the space of the pictures or the sounds."""
