"""Decode media files: frames at 8 per second, mono audio at 16 kHz."""
