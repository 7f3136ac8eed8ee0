"""Stages of a recipe: runs that train one after the other, and what is computed between them."""
