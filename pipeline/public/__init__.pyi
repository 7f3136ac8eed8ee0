from .extractors.base import Extractor
from .extractors.profiles import FeatureSpec
from .extractors.registry import build_extractor
from .models.config import ParserConfig
from .models.files.published import load_published
from .models.parser import AVParser, ParserOutput, build_parser
from .pipeline.api.arrays import MediaArrays
from .pipeline.api.calls import extract, load, parse
from .pipeline.api.parser import Parser
from .pipeline.api.progress import Progress
from .pipeline.api.search import search
from .pipeline.api.workers import ParserClosedError
from .pipeline.decode.open_media import OpenMedia, Second, open_media
from .pipeline.decode.options import DecodeOptions
from .pipeline.embeddings.search.search import FoundMoment, SearchOutcome
from .pipeline.errors import AVVPError, DecodeTimeoutError, FormatError, MediaError, OutputError, SetupError
from .pipeline.features.extract import FeatureSet, extract_features
from .pipeline.inference.parse_video import parse_video
from .pipeline.inference.thresholds import Thresholds
from .pipeline.metrics import Scores, score
from .pipeline.outputs.plots.attention_maps import AttentionMaps
from .pipeline.presented import Picture
from .pipeline.timeline import Event, SegmentProbabilities, Timeline
from .weights.errors import WeightsError

__version__: str

__all__ = [
    "AVParser",
    "AVVPError",
    "AttentionMaps",
    "DecodeOptions",
    "DecodeTimeoutError",
    "Event",
    "Extractor",
    "FeatureSet",
    "FeatureSpec",
    "FormatError",
    "FoundMoment",
    "MediaArrays",
    "MediaError",
    "OpenMedia",
    "OutputError",
    "Parser",
    "ParserClosedError",
    "ParserConfig",
    "ParserOutput",
    "Picture",
    "Progress",
    "Scores",
    "SearchOutcome",
    "Second",
    "SegmentProbabilities",
    "SetupError",
    "Thresholds",
    "Timeline",
    "WeightsError",
    "__version__",
    "build_extractor",
    "build_parser",
    "extract",
    "extract_features",
    "load",
    "load_published",
    "open_media",
    "parse",
    "parse_video",
    "score",
    "search",
]
