from .config import ParserConfig
from .files.checkpoint import Checkpoint, dump_checkpoint, load_checkpoint
from .files.published import load_published
from .labels import LABEL_SETS, LLP_LABELS
from .parser import AVParser, ParserOutput, build_parser

__all__ = [
    "LABEL_SETS",
    "LLP_LABELS",
    "AVParser",
    "Checkpoint",
    "ParserConfig",
    "ParserOutput",
    "build_parser",
    "dump_checkpoint",
    "load_checkpoint",
    "load_published",
]
