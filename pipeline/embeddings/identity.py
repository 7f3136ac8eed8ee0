"""What identifies embeddings: the content of the file, the part of it, the networks and how they compute."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from ...extractors.sampling import Stream
from ..decode.options import DecodeOptions
from ..decode.resampling import DEFAULT_RESAMPLER
from .content_hashes import CONTENT_DIGITS

if TYPE_CHECKING:
    from ..inference.extractors import LoadedExtractors

_PARAMETERS_VERSION = 1  # increases when the same parameters produce other features
_FORMAT = 1  # increases when files of embeddings hold something else


def stream_parameters(extractors: LoadedExtractors, decoding: DecodeOptions) -> dict[Stream, dict[str, Any]]:
    """Return everything that determines the features of a stream, for each, as JSON-ready mappings.

    Args:
        extractors: that compute them, or their outline.
        decoding: of the files.
    """
    spec = extractors.spec
    common: dict[str, Any] = {
        "version": _PARAMETERS_VERSION,
        "profile": [spec.profile, spec.profile_version],
        "decoder": decoding.decoder,
    }
    common |= extractors.precision.parameters
    if extractors.precision.compiled:
        common["compiled"] = True
    if spec.calibration:
        common["calibration"] = spec.calibration
    resampler = decoding.resampler
    # Omitted where it is the default, so that journals from before the option existed stay valid.
    of_stream: dict[str, dict[str, Any]] = {"audio": {} if resampler == DEFAULT_RESAMPLER else {"resampler": resampler}}
    if spec.similar_pictures:
        of_stream |= {stream: {"similar_pictures": spec.similar_pictures} for stream in spec.streams[1:]}
    names = dict[str, str](zip(spec.streams, spec.extractors, strict=True))
    return {
        stream: {**common, **of_stream.get(stream, {}), "extractor": names[stream], "weights": weights}
        for stream, weights in extractors.weight_ids.items()
    }


def embedding_key(content: str, extractors: LoadedExtractors, decoding: DecodeOptions) -> str:
    """Return the name of the embeddings of a file.

    Args:
        content: sha256 of the file.
        extractors: as for `stream_parameters`.
        decoding: of the file, with the part.

    Returns:
        Hexadecimal digits: of the file's hash, a hyphen, and of a hash of all the rest.
    """
    values = {
        "format": _FORMAT,
        "part": [decoding.part.start, decoding.part.end],
        "backend": extractors.precision.backend,  # fp32 of two backends is near enough to mix, but not bit-equal
        "streams": {**stream_parameters(extractors, decoding)},
    }
    rest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    return f"{content[:CONTENT_DIGITS]}-{rest[:CONTENT_DIGITS]}"
