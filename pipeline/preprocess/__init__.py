"""Build network inputs from decoded media, in decode worker processes."""
