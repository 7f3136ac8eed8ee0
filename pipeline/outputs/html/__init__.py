"""HTML page that plays a video beside its timeline, and the index of many pages."""
