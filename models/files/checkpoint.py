"""Checkpoints of this program: one safetensors file that holds a parser and everything needed to rebuild it.

The tensors include the label embeddings. The file's metadata holds, as JSON, the parser's configuration, the
specification of the features it was trained on, a record of the training, and which parts are of other packages.
Loading executes no code, unless the configuration names a part of another package that the user trusts or has
installed, see `weights/parts.py`.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ...weights.errors import WeightsError
from ...weights.messages import first_line, shown
from ...weights.parameters import check_parameters, check_shapes
from ...weights.tensor_files import check_safetensors
from ..config import ParserConfig
from ..parser import AVParser, parser_shapes, restore_parser

_METADATA_KEY = "avvp"
FORMAT_VERSION = 1


class Checkpoint(NamedTuple):
    """A parser read from a checkpoint, with the metadata stored beside it."""

    parser: AVParser  # in eval mode, on the CPU
    feature_spec: dict[str, Any]  # `FeatureSpec.to_dict` of the features it was trained on
    record: dict[str, Any]  # of the training: plain JSON


class Description(NamedTuple):
    """The metadata of a checkpoint, without its tensors."""

    config: ParserConfig
    feature_spec: dict[str, Any]  # `FeatureSpec.to_dict` of the features it was trained on
    record: dict[str, Any]  # of the training: plain JSON


def dump_checkpoint(parser: AVParser, feature_spec: Mapping[str, Any], record: Mapping[str, Any]) -> bytes:
    """Serialize a parser as the content of a checkpoint file.

    Args:
        parser: on any device.
        feature_spec: JSON-ready mapping, `FeatureSpec.to_dict` of the features that the parser was trained on.
        record: JSON-ready mapping that describes the training.

    Returns:
        The bytes of a safetensors file; its tensors are float32.
    """
    description = {
        "format": FORMAT_VERSION,
        "config": parser.config.to_dict(),
        "feature_spec": dict(feature_spec),
        "record": dict(record),
    }
    if parser.parts:
        description["parts"] = [part.to_dict() for part in parser.parts]
    tensors = {key: tensor.detach().cpu().float().contiguous() for key, tensor in parser.state_dict().items()}
    return save(tensors, metadata={_METADATA_KEY: json.dumps(description)})


def read_description(path: Path) -> Description:
    """Read the metadata of a checkpoint without loading its tensors.

    Args:
        path: a file written from `dump_checkpoint`.

    Returns:
        The parser's configuration, the feature specification and the training record.

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
    """Check the metadata of a file. Raises ValueError without the file's name."""
    text = (metadata or {}).get(_METADATA_KEY)
    if text is None:
        raise ValueError("not a parser checkpoint of this program (no description in its metadata)")
    try:
        description = json.loads(text)
        if description["format"] != FORMAT_VERSION:
            raise ValueError(f"format {shown(description['format'])}, this program reads {FORMAT_VERSION}")
        config = ParserConfig.from_dict(description["config"])
        parts = (description["feature_spec"], description["record"])
        if not all(isinstance(part, dict) for part in parts):
            raise ValueError("feature_spec and record must be mappings")
        return Description(config, *parts)
    except KeyError as error:
        raise ValueError(f"invalid description in its metadata: no {error}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"invalid description in its metadata: {error}") from error


def load_checkpoint(path: Path, trust: Iterable[str] = ()) -> Checkpoint:
    """Load a parser and its metadata from a checkpoint.

    The shapes in the file's header are compared with those that its description leads to before anything is read or
    built.

    Args:
        path: a file written from `dump_checkpoint`.
        trust: packages whose encoders and decoders the file may name by "module:Name".

    Returns:
        The parser in eval mode on the CPU, the feature specification and the training record.

    Raises:
        ValueError: the file is damaged, not a checkpoint of this program, or of a newer format; or its tensors are not
            those of its description, not float32, or not finite; or it names a part of another package that is not
            trusted or cannot be loaded. The message names the file.
    """
    with _open(path) as file:
        try:
            description = _description(file.metadata())
            shapes = parser_shapes(description.config, trust)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        try:
            names = list(file.keys())
            check_shapes({name: file.get_slice(name).get_shape() for name in names}, shapes)
            tensors = {name: file.get_tensor(name).clone() for name in names}
            check_parameters(tensors, shapes)
        except ValueError as error:
            raise ValueError(f"{path}: its tensors do not match its description: {error}") from error
        try:
            parser = restore_parser(description.config, tensors, trust)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
    return Checkpoint(parser, description.feature_spec, description.record)
