"""Videos in, timelines out. Names are loaded when they are first used: torch takes seconds to import."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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

_HOMES = {
    "AVVPError": "errors",
    "Event": "timeline",
    "FeatureSet": "features",
    "MediaError": "errors",
    "SetupError": "errors",
    "Timeline": "timeline",
    "extract_features": "features",
    "parse_video": "parse",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
