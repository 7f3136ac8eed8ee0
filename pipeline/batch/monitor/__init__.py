"""Progress of batch runs, read from their folder without taking their lock."""
