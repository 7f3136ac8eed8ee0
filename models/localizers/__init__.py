"""Localizers: networks that find the seconds of the one audio-visual event of a clip."""
