from .checkpoint import Checkpoint, dump_checkpoint, load_checkpoint
from .config import ParserConfig
from .labels import LABEL_SETS, LLP_LABELS
from .parser import AVParser, ParserOutput, build_parser
from .published import load_published

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
