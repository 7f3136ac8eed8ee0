"""What a search for texts found: tables, a page, and the media of its moments."""
