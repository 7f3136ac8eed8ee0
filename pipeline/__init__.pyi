from .errors import AVVPError, MediaError, SetupError
from .features import FeatureSet, extract_features
from .parse import parse_video
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
