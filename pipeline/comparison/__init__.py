"""Compare systems on the same clips: scores, differences, and bootstrap intervals of both."""
