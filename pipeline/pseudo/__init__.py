"""Segment-level pseudo labels by CLIP on frames and CLAP on sound: the procedure of VALOR."""
