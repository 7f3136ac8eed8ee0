"""Networks between frozen embeddings and sentences of classes, trained on some classes and used for any."""
