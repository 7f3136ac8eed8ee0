"""Our own checkpoints: one safetensors file that holds a parser and everything needed to rebuild it.

Beside the tensors (label embeddings among them) the file's metadata holds, as JSON, the parser's configuration, the
specification of the features it was trained on, and a record of the training. Nothing in it is executed.
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
    """What `load_checkpoint` returns; `feature_spec` and `record` are plain JSON mappings."""

    parser: AVParser
    feature_spec: dict[str, Any]
    record: dict[str, Any]


def dump_checkpoint(parser: AVParser, feature_spec: Mapping[str, Any], record: Mapping[str, Any]) -> bytes:
    """The content of a checkpoint file. feature_spec, record: JSON-ready mappings."""
    description = {
        "format": FORMAT_VERSION,
        "config": parser.config.to_dict(),
        "feature_spec": dict(feature_spec),
        "record": dict(record),
    }
    tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in parser.state_dict().items()}
    return save(tensors, metadata={_METADATA_KEY: json.dumps(description)})


class Description(NamedTuple):
    """What a checkpoint says of itself, without its tensors."""

    config: ParserConfig
    feature_spec: dict[str, Any]
    record: dict[str, Any]


def read_description(path: Path) -> Description:
    """The configuration and history in a checkpoint's header.

    Raises ValueError, naming the file, where it is damaged, foreign or of a newer format.
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
        raise ValueError(f"{path}: its description cannot be understood: {error}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """The parser, in eval mode on the CPU, and what is known of its training.

    Raises ValueError, naming the file, where it is damaged, foreign or of a newer format.
    """
    description = read_description(path)
    try:
        tensors = load_file(path)
        parser = build_parser(description.config, tensors.get("decoder.label_embeddings"))
        parser.load_state_dict(tensors)
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: its tensors and its description do not fit: {error}") from error
    return Checkpoint(parser.eval(), description.feature_spec, description.record)
