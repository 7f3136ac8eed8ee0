from .config import ParserConfig
from .files.checkpoint import Checkpoint, dump_checkpoint, load_checkpoint
from .files.published import load_published
from .labels import AVE_LABELS, LABEL_SETS, LLP_LABELS
from .localizers.config import LocalizerConfig
from .localizers.localizer import EventLocalizer, build_localizer
from .localizers.losses import LocalizationObjective, LocalizationTargets, localization_terms
from .localizers.output import LocalizerOutput
from .parser import AVParser, ParserOutput, build_parser

__all__ = [
    "AVE_LABELS",
    "LABEL_SETS",
    "LLP_LABELS",
    "AVParser",
    "Checkpoint",
    "EventLocalizer",
    "LocalizationObjective",
    "LocalizationTargets",
    "LocalizerConfig",
    "LocalizerOutput",
    "ParserConfig",
    "ParserOutput",
    "build_localizer",
    "build_parser",
    "dump_checkpoint",
    "load_checkpoint",
    "load_published",
    "localization_terms",
]
