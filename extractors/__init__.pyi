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
