"""Result of building inputs of a media file, apart from the inputs."""

from __future__ import annotations

from dataclasses import dataclass

from ...extractors.sampling import Stream
from ..decode.container.media_facts import MediaFacts


@dataclass(frozen=True)
class MediaSummary:
    """Result of decoding a file, apart from the inputs.

    Attributes:
        rows: stream -> for each row of its features, the number of the input that the row is computed from, counted
            from 0 in the order in which the inputs came; T rows, 8T for visual_2d. Of a stream of
            `sampling.POOLED_STREAMS` the number of the group of inputs.
        facts: of the file.
        warnings: everything that limits the result.
    """

    rows: dict[Stream, list[int]]
    facts: MediaFacts
    warnings: tuple[str, ...]
