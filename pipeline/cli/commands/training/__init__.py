"""Commands that train networks and compare what was trained."""
