"""Feature extractors and the profiles that feed them. Names are loaded when first used: torch takes seconds."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .base import Extractor
    from .profiles import PROFILES, FeatureSpec, Profile, feature_spec, get_profile
    from .registry import EXTRACTORS, build_extractor

__all__ = [
    "EXTRACTORS",
    "PROFILES",
    "Extractor",
    "FeatureSpec",
    "Profile",
    "build_extractor",
    "feature_spec",
    "get_profile",
]

_HOMES = {
    "EXTRACTORS": "registry",
    "PROFILES": "profiles",
    "Extractor": "base",
    "FeatureSpec": "profiles",
    "Profile": "profiles",
    "build_extractor": "registry",
    "feature_spec": "profiles",
    "get_profile": "profiles",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
