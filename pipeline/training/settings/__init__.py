"""What the tables of a recipe set, without its networks and losses."""
