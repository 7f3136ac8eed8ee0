"""Export the networks of a bundle and compare each file with its original.

FOLDER/parser.SUFFIX                              the parser or the localizer
FOLDER/audio.SUFFIX, visual_2d.…, …               the extractors, called by their streams
FOLDER/export.json                                names, shapes, labels, features, thresholds, hashes; written last
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.profiles import FeatureSpec, feature_spec
from ...extractors.sampling import Stream
from ...weights.manifest import Bundle
from ...weights.messages import shown
from ...weights.parts import Part
from ...weights.remote.gather import gather_files
from ...weights.source import ANYWHERE, WeightSource
from ..errors import FeatureMismatchError, OutputError, SetupError
from ..files import exclusive_lock, hash_file, make_folder, replacing, write_atomic
from ..inference.bundle import load_parser
from ..inference.extractors import plain_extractors
from ..inference.networks import Network, NetworkConfig, is_localizer
from ..inference.programs import OUTPUTS_PER_SECOND, PARSER, POOLED, Program, extractor_programs, parser_program
from ..inference.thresholds import DecisionRule, Thresholds
from ..text import escape
from ..timeline import AVEL
from .clip import CLIP_SEED, clip_inputs
from .formats import ExportFormat, Run

EXPORT_FILE = "export.json"
FORMAT_VERSION = 1
_MOST_SECONDS = 30  # of the clip; longer windows are padded
_MOST_INPUTS = 16  # of the clip that an extractor is compared on
_BATCH = 4  # inputs that an extractor computes at once
_SHORTER = 3  # seconds that the second window of the comparison lacks
_TEMPORARY = ".avvp-export-"


@dataclass(frozen=True)
class ExportNetworks:
    """Plain networks of a bundle, on the CPU."""

    bundle: Bundle
    parser: Network  # or localizer
    spec: FeatureSpec  # of the features that it reads
    extractors: Mapping[str, Extractor]  # empty if only the parser is exported
    hashes: Mapping[str, str]  # file name -> sha256
    parts: tuple[Part, ...]  # of other packages
    thresholds: Thresholds  # of the bundle


@dataclass(frozen=True)
class Comparison:
    """Result of comparing a written network with its original."""

    name: str  # of the network
    difference: float  # largest, as a part of the largest value of an output, or of 1 where that is smaller
    files: Mapping[str, str]  # file name -> sha256
    bytes: int  # of the files together


def load_for_export(bundle: Bundle, *, source: WeightSource = ANYWHERE, parser_only: bool = False) -> ExportNetworks:
    """Load the networks of a bundle as they were trained, without folding.

    Args:
        bundle: a bundle.
        source: where weight files may come from, and whose parts they may name.
        parser_only: leave out the extractors.

    Returns:
        The networks.

    Raises:
        SetupError: weights do not fit their network.
        FeatureMismatchError: the parser was trained on other features than the bundle's extractors compute.
        WeightsError: files are missing or damaged.
    """
    missing = [name for name, file in bundle.extractors.items() if not file and bundle.seed is None]
    if missing and not parser_only:
        raise SetupError(
            f"bundle {shown(bundle.name)} has no file of the extractor {escape(missing[0])}: set --parser-only"
        )
    loaded = load_parser(bundle, source=source, device="cpu")
    extractors = {} if parser_only else plain_extractors(bundle, source=source)
    if extractors and (differences := loaded.spec.differences(feature_spec(bundle.profile, extractors))):
        raise FeatureMismatchError(
            f"bundle {shown(bundle.name)}: the parser was trained on other features than these extractors compute"
            f" (parser / extractors): {'; '.join(differences)}"
        )
    _, hashes = gather_files(bundle.without_extractors() if parser_only else bundle, source)
    parts = [*(extractor.part for extractor in extractors.values()), *loaded.parser.parts]
    return ExportNetworks(
        bundle, loaded.parser, loaded.spec, extractors, hashes, tuple(part for part in parts if part is not None),
        loaded.thresholds,
    )  # fmt: skip


def export_networks(
    networks: ExportNetworks,
    folder: Path,
    export_format: ExportFormat,
    *,
    thresholds: Thresholds,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Comparison]:
    """Write the networks and `EXPORT_FILE`. A file gets its name only after it has been compared with its original.

    Args:
        networks: of `load_for_export`.
        folder: created if it does not exist.
        export_format: of the files.
        thresholds: of the parser's classes, for `EXPORT_FILE`.
        overwrite: replace the files of an earlier export.
        progress: called with what is done next.

    Returns:
        The comparison of each network.

    Raises:
        OutputError: the folder holds an export, or a file cannot be written.
        SetupError: a network cannot be exported, its file differs from the original by more than the format's
            tolerance, or packages are missing.
    """
    export_format.check_packages()
    make_folder(folder)
    with exclusive_lock(folder):
        _clear(folder, overwrite=overwrite)
        try:
            with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=folder) as temporary:
                comparisons, programs = _write_all(networks, Path(temporary), export_format, progress)
                for name in (name for comparison in comparisons for name in comparison.files):
                    with replacing(folder / name) as target:
                        shutil.copyfile(Path(temporary) / name, target)
        except OSError as error:
            raise OutputError(f"{escape(folder)}: cannot be written: {error.strerror or error}") from error
        document = _describe(networks, export_format, comparisons, programs, thresholds)
        write_atomic(folder / EXPORT_FILE, (json.dumps(document, indent=2) + "\n").encode())
    return comparisons


def _clear(folder: Path, *, overwrite: bool) -> None:
    """Remove what killed exports have left, and the description of an earlier export. Raises OutputError."""
    if (folder / EXPORT_FILE).exists() and not overwrite:
        raise OutputError(f"{escape(folder)}: already holds an export; set --overwrite, or choose another folder")
    (folder / EXPORT_FILE).unlink(missing_ok=True)  # it must not describe a part of another export
    for left in folder.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(left, ignore_errors=True)


def _write_all(
    networks: ExportNetworks, folder: Path, export_format: ExportFormat, progress: Callable[[str], None]
) -> tuple[list[Comparison], list[Program]]:
    seconds = min(networks.parser.config.segments, _MOST_SECONDS)
    comparisons: list[Comparison] = []
    programs: list[Program] = []
    features = _random_features(networks, seconds)
    if networks.extractors:
        progress("generating a clip")
        inputs = clip_inputs(seconds, networks.extractors, networks.bundle.profile)
        for stream, program in extractor_programs(networks.extractors).items():
            progress(f"exporting {stream}")
            features[stream] = np.concatenate(_run_in_batches(program.run, inputs[stream]))
            chosen = np.linspace(0, len(inputs[stream]) - 1, min(_MOST_INPUTS, len(inputs[stream]))).astype(int)
            run = export_format.write(program, folder / f"{stream}{export_format.suffixes[0]}")
            pairs = [([features[stream][chosen]], [np.concatenate(_run_in_batches(run, inputs[stream][chosen]))])]
            comparisons.append(_compare(program, pairs, folder, export_format))
            programs.append(program)
    progress(f"exporting {PARSER}")
    program = parser_program(networks.parser, networks.spec.frames_per_segment)
    run = export_format.write(program, folder / f"{PARSER}{export_format.suffixes[0]}")
    comparisons.append(
        _compare(program, _parse_pairs(networks.parser, program.outputs, run, features), folder, export_format)
    )
    return comparisons, [*programs, program]


def _random_features(networks: ExportNetworks, seconds: int) -> dict[Stream, NDArray[Any]]:
    """Return features for the comparison of a parser without extractors."""
    rng = np.random.default_rng(CLIP_SEED)
    spec = networks.spec
    return {
        stream: rng.random((rate * seconds, width), np.float32)
        for stream, rate, width in zip(spec.streams, spec.rates, spec.dims, strict=True)
    }


def _run_in_batches(run: Run, inputs: NDArray[Any]) -> list[NDArray[np.float32]]:
    return [run([inputs[start : start + _BATCH]])[0] for start in range(0, len(inputs), _BATCH)]


def _parse_pairs(
    parser: Network, outputs: Sequence[str], run: Run, features: Mapping[Stream, NDArray[Any]]
) -> list[tuple[Sequence[NDArray[Any]], Sequence[NDArray[Any]]]]:
    """Return outputs of the original and of the exported parser, for windows of three lengths in one batch.

    The original computes each window alone, as long as it is; the exported parser computes them padded.
    """
    total = len(features["audio"])
    lengths = [total, max(1, total - _SHORTER), 1]
    window = parser.config.segments
    batch = []
    for stream in features:
        rate = len(features[stream]) // total
        padded = np.zeros((len(lengths), rate * window, features[stream].shape[1]), np.float32)
        for index, length in enumerate(lengths):
            padded[index, : rate * length] = features[stream][: rate * length]
        batch.append(padded)
    found = run([*batch, np.array(lengths, np.int64)])
    pairs = []
    for index, length in enumerate(lengths):
        rates = [len(rows) // total for rows in features.values()]
        rows = [torch.from_numpy(table[index : index + 1, : rate * length])
                for table, rate in zip(batch, rates, strict=True)]  # fmt: skip
        with torch.inference_mode():
            output = parser(*rows)
        # Exported parsers give probabilities; the scores of MGN, and sums that are rounded, can exceed 1.
        expected = [getattr(output, name)[0].float().clamp(0, 1).numpy() for name in outputs]
        exported = [
            table[index, :length] if name in OUTPUTS_PER_SECOND else table[index]
            for name, table in zip(outputs, found, strict=True)
        ]
        pairs.append((expected, exported))
    return pairs


def _compare(
    program: Program,
    pairs: Sequence[tuple[Sequence[NDArray[Any]], Sequence[NDArray[Any]]]],
    folder: Path,
    export_format: ExportFormat,
) -> Comparison:
    """Compare outputs of a written network with the original's. Raises SetupError if they differ too much."""
    difference = 0.0
    for expected, found in pairs:
        for first, second in zip(expected, found, strict=True):
            if first.shape != second.shape:
                raise SetupError(f"the exported {program.name} returns {second.shape}, the original {first.shape}")
            largest = max(1.0, float(np.abs(first).max()))
            difference = max(difference, float(np.nan_to_num(np.abs(first - second).max(), nan=np.inf)) / largest)
    if not difference <= export_format.tolerance:
        raise SetupError(
            f"the exported {program.name} differs from the original by {difference:.2g} on the clip, more than"
            f" {export_format.tolerance:g}; nothing was written"
        )
    files = [folder / f"{program.name}{suffix}" for suffix in export_format.suffixes]
    return Comparison(
        program.name,
        difference,
        {file.name: hash_file(file) for file in files},
        sum(file.stat().st_size for file in files),
    )


def _describe(
    networks: ExportNetworks,
    export_format: ExportFormat,
    comparisons: Sequence[Comparison],
    programs: Sequence[Program],
    thresholds: Thresholds,
) -> dict[str, Any]:
    """Return what a program needs to know to run the files."""
    bundle, config = networks.bundle, networks.parser.config
    by_stream: dict[str, str] = dict(zip(networks.spec.streams, networks.spec.extractors, strict=True))
    described = {
        comparison.name: {
            **({} if comparison.name == PARSER else {"extractor": by_stream[comparison.name]}),
            "files": dict(comparison.files),
            "inputs": [_describe_tensor(name, tensor) for name, tensor in program.examples.items()],
            "outputs": _describe_outputs(program),
            "difference": comparison.difference,
        }
        for comparison, program in zip(comparisons, programs, strict=True)
    }
    return {
        "format": FORMAT_VERSION,
        "program": "avvp",
        "version": version("avvp"),
        "exported_as": export_format.name,
        "packages": export_format.versions(),
        "bundle": bundle.name,
        "warning": bundle.warning,
        "untrained": bundle.seed is not None,
        "weights": dict(networks.hashes),
        "parts": [part.to_dict() for part in networks.parts],
        **({"task": AVEL} if is_localizer(config) else {}),
        "labels": list(config.labels),
        "window": config.segments,
        "features": networks.spec.to_dict(),
        "thresholds": thresholds.to_dict(),
        "decision": config.decision,
        **({} if is_localizer(config) else {"rule": _describe_rule(config, programs[-1])}),
        "networks": described,
        "check": {
            "clip": f"generated, seed {CLIP_SEED}" if networks.extractors else f"random features, seed {CLIP_SEED}",
            "tolerance": export_format.tolerance,
        },
    }


def _describe_rule(config: NetworkConfig, parser: Program) -> dict[str, Any]:
    """Return the rule by which thresholds decide, with the filter by its name, not as "default"."""
    rule = DecisionRule.of(config)
    video_filter = "pooled" if POOLED in parser.outputs else "union"
    return (rule if rule.video_filter != "default" else replace(rule, video_filter=video_filter)).to_dict()


def _describe_tensor(name: str, tensor: torch.Tensor) -> dict[str, Any]:
    kind = str(tensor.dtype).removeprefix("torch.")
    return {"name": name, "shape": ["batch", *tensor.shape[1:]], "type": kind}


def _describe_outputs(program: Program) -> list[dict[str, Any]]:
    with torch.inference_mode():
        outputs = program.module(*program.examples.values())
    return [_describe_tensor(name, tensor) for name, tensor in zip(program.outputs, outputs, strict=True)]
