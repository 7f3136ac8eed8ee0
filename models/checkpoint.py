"""Checkpoints of this program: one safetensors file that holds a parser and everything needed to rebuild it.

The tensors include the label embeddings. The file's metadata holds, as JSON, the parser's configuration, the
specification of the features it was trained on, and a record of the training. Loading executes no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save

from .config import ParserConfig
from .parser import AVParser, build_parser

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
        The bytes of a safetensors file.
    """
    description = {
        "format": FORMAT_VERSION,
        "config": parser.config.to_dict(),
        "feature_spec": dict(feature_spec),
        "record": dict(record),
    }
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in parser.state_dict().items()}
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
    try:
        with safe_open(path, framework="pt") as file:
            metadata = (file.metadata() or {}).get(_METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a readable safetensors file: {error}") from error
    if metadata is None:
        raise ValueError(f"{path}: not a parser checkpoint of this program (no description in its metadata)")
    try:
        description = json.loads(metadata)
        if description["format"] != FORMAT_VERSION:
            raise ValueError(f"format {description['format']}, this program reads {FORMAT_VERSION}")
        config = ParserConfig.from_dict(description["config"])
        return Description(config, description["feature_spec"], description["record"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: invalid description in its metadata: {error}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Load a parser and its metadata from a checkpoint.

    Args:
        path: a file written from `dump_checkpoint`.

    Returns:
        The parser in eval mode on the CPU, the feature specification and the training record.

    Raises:
        ValueError: the file is damaged, not a checkpoint of this program, or of a newer format. The message names it.
    """
    description = read_description(path)
    try:
        tensors = load_file(path)
        parser = build_parser(description.config, tensors.get("decoder.label_embeddings"))
        parser.load_state_dict(tensors)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: its tensors do not match its description: {error}") from error
    return Checkpoint(parser.eval(), description.feature_spec, description.record)
