"""What becomes of a timeline: files of other programs, pictures, pages, and the way back."""
