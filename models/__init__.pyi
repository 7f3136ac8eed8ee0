from .config import ParserConfig
from .files.checkpoint import Checkpoint, TeacherCheckpoint, dump_checkpoint, load_checkpoint, load_teacher
from .files.published import load_published
from .files.published_teacher import load_published_teacher
from .labels import AVE_LABELS, LABEL_SETS, LLP_LABELS
from .localizers.config import LocalizerConfig
from .localizers.localizer import EventLocalizer, build_localizer
from .localizers.losses import LocalizationObjective, LocalizationTargets, localization_terms
from .localizers.output import LocalizerOutput
from .parser import AVParser, ParserOutput, build_parser
from .teacher import TeacherConfig, TeacherObjective, TeacherOutput, TemporalTeacher, teacher_loss

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
    "TeacherCheckpoint",
    "TeacherConfig",
    "TeacherObjective",
    "TeacherOutput",
    "TemporalTeacher",
    "build_localizer",
    "build_parser",
    "dump_checkpoint",
    "load_checkpoint",
    "load_published",
    "load_published_teacher",
    "load_teacher",
    "localization_terms",
    "teacher_loss",
]
