"""Networks whose features are of pictures that are not all computed: what their specification says."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from ...extractors.profiles import FeatureSpec, get_profile
from ..decode.options import DecodeOptions
from .bundle import LoadedBundle
from .extractors import LoadedExtractors

Loaded = TypeVar("Loaded", LoadedBundle, LoadedExtractors)


def record_similar_pictures(loaded: Loaded, decoding: DecodeOptions) -> Loaded:
    """Return loaded networks with the specification of the features that they compute with these options.

    Args:
        loaded: networks.
        decoding: of the files, with the difference up to which pictures count as the same.
    """
    if isinstance(loaded, LoadedBundle):
        return replace(loaded, extractors=record_similar_pictures(loaded.extractors, decoding))
    return replace(loaded, spec=spec_of_options(loaded.spec, decoding))


def spec_of_options(spec: FeatureSpec, decoding: DecodeOptions) -> FeatureSpec:
    """Return the specification of features that are computed with these options."""
    return replace(spec, similar_pictures=decoding.levels_of(get_profile(spec.profile)))
