"""What happens to a batch between the loader and the losses."""
