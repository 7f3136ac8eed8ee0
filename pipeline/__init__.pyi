from .errors import AVVPError, MediaError, SetupError
from .features.extract import FeatureSet, extract_features
from .inference.parse_video import parse_video
from .timeline import Event, Timeline

__all__ = [
    "AVVPError",
    "Event",
    "FeatureSet",
    "MediaError",
    "SetupError",
    "Timeline",
    "extract_features",
    "parse_video",
]
