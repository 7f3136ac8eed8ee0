"""How densely the networks look and listen."""

FRAMES_PER_SEGMENT = 8  # sampled pictures a second; also the length of an R(2+1)D clip
SAMPLE_RATE = 16_000  # samples of sound a second
