from .extractors.base import Extractor
from .extractors.profiles import FeatureSpec
from .extractors.registry import build_extractor
from .models.config import ParserConfig
from .models.parser import AVParser, ParserOutput, build_parser
from .models.published import load_published
from .pipeline.decode.open_media import OpenMedia, Second, open_media
from .pipeline.errors import AVVPError, MediaError, OutputError, SetupError
from .pipeline.features.extract import FeatureSet, extract_features
from .pipeline.inference.parse_video import parse_video
from .pipeline.metrics import Scores, score
from .pipeline.timeline import Event, Timeline
from .weights.errors import WeightsError

__version__: str

__all__ = [
    "AVParser",
    "AVVPError",
    "Event",
    "Extractor",
    "FeatureSet",
    "FeatureSpec",
    "MediaError",
    "OpenMedia",
    "OutputError",
    "ParserConfig",
    "ParserOutput",
    "Scores",
    "Second",
    "SetupError",
    "Timeline",
    "WeightsError",
    "__version__",
    "build_extractor",
    "build_parser",
    "extract_features",
    "load_published",
    "open_media",
    "parse_video",
    "score",
]
