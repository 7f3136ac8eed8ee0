"""Checkpoints of this program: one safetensors file that holds a network and everything needed to rebuild it.

The network is a parser, a localizer, a temporal teacher or a temporal adapter. The tensors include the label
embeddings, of teachers and adapters the text features. The file's metadata holds, as JSON, the network's configuration,
the specification of the features it was trained on, a record of the training, and which parts are of other packages.
Loading executes no code, unless the configuration names a part of another package that the user trusts or has
installed, see `weights/parts.py`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ...weights.errors import WeightsError
from ...weights.messages import first_line, shown
from ...weights.parameters import check_parameters, check_shapes
from ...weights.tensor_files import check_safetensors
from ..config import ParserConfig
from ..localizers.config import LocalizerConfig
from ..localizers.localizer import EventLocalizer, localizer_shapes, restore_localizer
from ..open.adapter import AdapterConfig, TemporalAdapter, adapter_shapes, restore_adapter
from ..parser import AVParser, parser_shapes, restore_parser
from ..teacher import TeacherConfig, TemporalTeacher, restore_teacher, teacher_shapes

_METADATA_KEY = "avvp"
FORMAT_VERSION = 1
_LOCALIZER = "localizer"  # kind of network in a description; parsers have none, as in files of earlier versions
_TEACHER = "teacher"
_ADAPTER = "adapter"
_Config = TypeVar("_Config", TeacherConfig, AdapterConfig)


class Checkpoint(NamedTuple):
    """A network read from a checkpoint, with the metadata stored beside it."""

    parser: AVParser | EventLocalizer  # in eval mode, on the CPU
    feature_spec: dict[str, Any]  # `FeatureSpec.to_dict` of the features it was trained on
    record: dict[str, Any]  # of the training: plain JSON


class TeacherCheckpoint(NamedTuple):
    """A temporal teacher read from a checkpoint, with the metadata stored beside it."""

    teacher: TemporalTeacher  # in eval mode, on the CPU
    feature_spec: dict[str, Any]  # `FeatureSpec.to_dict` of the features it was trained on
    record: dict[str, Any]  # of the training: plain JSON


class AdapterCheckpoint(NamedTuple):
    """A temporal adapter read from a checkpoint, with the metadata stored beside it."""

    adapter: TemporalAdapter  # in eval mode, on the CPU
    feature_spec: dict[str, Any]  # `FeatureSpec.to_dict` of the features it was trained on
    record: dict[str, Any]  # of the training: plain JSON


class Description(NamedTuple):
    """The metadata of a checkpoint, without its tensors."""

    config: ParserConfig | LocalizerConfig | AdapterConfig
    feature_spec: dict[str, Any]  # `FeatureSpec.to_dict` of the features it was trained on
    record: dict[str, Any]  # of the training: plain JSON


def dump_checkpoint(
    parser: AVParser | EventLocalizer | TemporalTeacher | TemporalAdapter,
    feature_spec: Mapping[str, Any],
    record: Mapping[str, Any],
) -> bytes:
    """Serialize a network as the content of a checkpoint file.

    Args:
        parser: or a localizer, a temporal teacher or a temporal adapter; on any device.
        feature_spec: JSON-ready mapping, `FeatureSpec.to_dict` of the features that the parser was trained on.
        record: JSON-ready mapping that describes the training.

    Returns:
        The bytes of a safetensors file; its tensors are float32. The guides of a parser are left out.
    """
    if isinstance(parser, AVParser):
        config, state = parser.without_guides()
    else:
        config, state = parser.config, parser.state_dict()
    description = {
        "format": FORMAT_VERSION,
        "config": config.to_dict(),
        "feature_spec": dict(feature_spec),
        "record": dict(record),
    }
    if (kind := next((kind for kind, network in _NETWORKS.items() if isinstance(parser, network)), None)) is not None:
        description["kind"] = kind
    if parser.parts:
        description["parts"] = [part.to_dict() for part in parser.parts]
    tensors = {key: tensor.detach().cpu().float().contiguous() for key, tensor in state.items()}
    return save(tensors, metadata={_METADATA_KEY: json.dumps(description)})


def read_description(path: Path) -> Description:
    """Read the metadata of a checkpoint without loading its tensors.

    Args:
        path: a file written from `dump_checkpoint`.

    Returns:
        The network's configuration, the feature specification and the training record.

    Raises:
        ValueError: the file is damaged, not a checkpoint of this program, or of a newer format. The message names it.
    """
    with _open(path) as file:
        try:
            return _description(file.metadata())
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


@contextlib.contextmanager
def _open(path: Path) -> Iterator[Any]:
    """Open a safetensors file. Raises ValueError, also where the body cannot read it."""
    try:
        check_safetensors(path)
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, WeightsError) as error:
        raise ValueError(f"{path}: not a readable safetensors file: {first_line(error)}") from error


def _description(metadata: Mapping[str, str] | None) -> Description:
    """Check the metadata of a file with a network of a bundle. Raises ValueError without the file's name."""
    kind, config, *others = _read_metadata(metadata)
    if isinstance(config, TeacherConfig):
        raise ValueError(f"it holds a {kind}, for avvp pseudo-label --teacher; expected a parser or a localizer")
    return Description(config, *others)


def _read_metadata(
    metadata: Mapping[str, str] | None,
) -> tuple[str | None, ParserConfig | LocalizerConfig | TeacherConfig | AdapterConfig, dict[str, Any], dict[str, Any]]:
    """Return kind, configuration, features and record of a network. Raises ValueError without the file's name."""
    text = (metadata or {}).get(_METADATA_KEY)
    if text is None:
        raise ValueError("not a parser checkpoint of this program (no description in its metadata)")
    try:
        description = json.loads(text)
        if description["format"] != FORMAT_VERSION:
            raise ValueError(f"format {shown(description['format'])}, this program reads {FORMAT_VERSION}")
        kind = description.get("kind")
        if kind not in (None, *_CONFIGS):
            raise ValueError(f"it describes a {shown(kind)}, this program reads parsers, {'s and '.join(_CONFIGS)}s")
        config = (ParserConfig if kind is None else _CONFIGS[kind]).from_dict(description["config"])
        spec, record = description["feature_spec"], description["record"]
        if not all(isinstance(part, dict) for part in (spec, record)):
            raise ValueError("feature_spec and record must be mappings")
        return kind, config, spec, record
    except KeyError as error:
        raise ValueError(f"invalid description in its metadata: no {error}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"invalid description in its metadata: {error}") from error


_CONFIGS: dict[str, type[LocalizerConfig | TeacherConfig | AdapterConfig]] = {
    _LOCALIZER: LocalizerConfig, _TEACHER: TeacherConfig, _ADAPTER: AdapterConfig,
}  # fmt: skip
_NETWORKS = {_LOCALIZER: EventLocalizer, _TEACHER: TemporalTeacher, _ADAPTER: TemporalAdapter}


def load_checkpoint(path: Path, trust: Iterable[str] = ()) -> Checkpoint:
    """Load a parser or a localizer and its metadata from a checkpoint.

    The shapes in the file's header are compared with those that its description leads to before anything is read or
    built.

    Args:
        path: a file written from `dump_checkpoint`.
        trust: packages whose encoders and decoders the file may name by "module:Name".

    Returns:
        The network in eval mode on the CPU, the feature specification and the training record.

    Raises:
        ValueError: the file is damaged, not a checkpoint of this program, or of a newer format; or its tensors are not
            those of its description, not float32, or not finite; or it names a part of another package that is not
            trusted or cannot be loaded. The message names the file.
    """
    with _open(path) as file:
        try:
            description = _description(file.metadata())
            config = description.config
            if isinstance(config, AdapterConfig):
                raise ValueError(f"it holds an {_ADAPTER} of an open bundle, expected a parser or a localizer")
            shapes = _shapes(config, trust)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        tensors = _read_tensors(file, path, shapes)
        try:
            parser = _restore(config, tensors, trust)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return Checkpoint(parser, description.feature_spec, description.record)


def load_teacher(path: Path) -> TeacherCheckpoint:
    """Load a temporal teacher and its metadata from a checkpoint, with the checks of `load_checkpoint`.

    Args:
        path: a file written from `dump_checkpoint`.

    Returns:
        The teacher in eval mode on the CPU, the feature specification and the training record.

    Raises:
        ValueError: the file is damaged, not a checkpoint of a teacher, or of a newer format; or its tensors are not
            those of its description, not float32, or not finite. The message names the file.
    """
    config, tensors, spec, record = _read_kind(
        path, TeacherConfig, teacher_shapes, "a temporal teacher (avvp train-teacher)"
    )
    return TeacherCheckpoint(restore_teacher(config, tensors), spec, record)


def load_adapter(path: Path) -> AdapterCheckpoint:
    """Load a temporal adapter and its metadata from a checkpoint, with the checks of `load_checkpoint`.

    Args:
        path: a file written from `dump_checkpoint`.

    Returns:
        The adapter in eval mode on the CPU, the feature specification and the training record.

    Raises:
        ValueError: the file is damaged, not a checkpoint of an adapter, or of a newer format; or its tensors are not
            those of its description, not float32, or not finite. The message names the file.
    """
    config, tensors, spec, record = _read_kind(
        path, AdapterConfig, adapter_shapes, f"an {_ADAPTER} (avvp train --recipe ov-avel)"
    )
    return AdapterCheckpoint(restore_adapter(config, tensors), spec, record)


def _read_kind(
    path: Path, kind: type[_Config], shapes: Callable[[_Config], Mapping[str, tuple[int, ...]]], expected: str
) -> tuple[_Config, dict[str, Tensor], dict[str, Any], dict[str, Any]]:
    """Read a checkpoint whose network has a configuration of one kind. Raises ValueError as `load_teacher`.

    Args:
        path: of the file.
        kind: of the configuration.
        shapes: configuration -> key and shape of each tensor.
        expected: what the file should hold, for the message.

    Returns:
        Configuration, tensors, feature specification, training record.
    """
    with _open(path) as file:
        try:
            found, config, spec, record = _read_metadata(file.metadata())
            if not isinstance(config, kind):
                raise ValueError(f"it holds a {found or 'parser'}, expected {expected}")
            expected_shapes = shapes(config)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        return config, _read_tensors(file, path, expected_shapes), spec, record


def _read_tensors(file: Any, path: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Read the tensors of a network. Raises ValueError unless they have these names and shapes."""
    try:
        names = list(file.keys())
        check_shapes({name: file.get_slice(name).get_shape() for name in names}, shapes)
        tensors = {name: file.get_tensor(name).clone() for name in names}
        check_parameters(tensors, shapes)
    except ValueError as error:
        raise ValueError(f"{path}: its tensors do not match its description: {error}") from error
    return tensors


def _shapes(config: ParserConfig | LocalizerConfig, trust: Iterable[str]) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of a network."""
    return localizer_shapes(config) if isinstance(config, LocalizerConfig) else parser_shapes(config, trust)


def _restore(
    config: ParserConfig | LocalizerConfig, tensors: Mapping[str, Tensor], trust: Iterable[str]
) -> AVParser | EventLocalizer:
    """Build a network with the parameters of a file."""
    if isinstance(config, LocalizerConfig):
        return restore_localizer(config, tensors)
    return restore_parser(config, tensors, trust)
