"""int8 for runs over many files: quantized bundles, and plain ones that are calibrated on the first files of the run.

journal/calibration.json   {"calibration": ..., "weights": {...}}: which quantized networks the results of a folder are
                           of, and what these were quantized from
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from ..batch.storage import JOURNAL_FOLDER, Storage
from ..errors import SetupError
from ..precisions import OPENVINO, TORCH
from ..text import escape
from ..text_files import parse_json
from .options.command import is_given

if TYPE_CHECKING:
    from ...extractors.profiles import FeatureSpec
    from ...weights.manifest import Bundle
    from ...weights.source import WeightSource
    from ..batch.task import ComputeSettings
    from ..decode.options import DecodeOptions
    from .console import Console
    from .options.batch_options import BatchOptions, PrecisionOptions
    from .options.inputs import NamedInputs

FILE = f"{JOURNAL_FOLDER}/calibration.json"
_MAX_BYTES = 1 << 14
_MAX_SPEC_BYTES = 1 << 16
_INT8 = "int8"
_MAKE = "avvp weights quantize makes a bundle of quantized networks, for --weights"


def check_quantized(bundle: Bundle, options: PrecisionOptions) -> None:
    """Check that a command which calibrates nothing finds quantized networks, before their files are downloaded.

    Args:
        bundle: of the command.
        options: of the current command.

    Raises:
        SetupError: int8 is wanted of networks that are not quantized; the message says what to do.
    """
    if options.precision != _INT8:
        return
    if bundle.is_open:
        from ..quantization.write import check_quantizable

        check_quantizable(bundle)
    from ...weights.quantized import is_quantized

    if not any(map(is_quantized, bundle.extractors.values())):
        raise SetupError(
            f"int8 needs quantized networks, and those of {escape(bundle.name)} are not: {_MAKE}; avvp extract and avvp"
            " parse --output-dir quantize them on their own"
        )


def settle_precision(bundle: Bundle, settings: ComputeSettings) -> ComputeSettings:
    """Return settings with the precision of a bundle of quantized networks, if it is one.

    Args:
        bundle: of the run.
        settings: as the options say.

    Returns:
        The settings.

    Raises:
        SetupError: the user names a precision, or a backend, that the bundle's networks do not compute in.
    """
    from ..inference.bundle_precision import check_named, precision_of

    wanted = settings.precision
    check_named(
        bundle,
        precision=wanted.name if is_given("precision") else None,
        backend=wanted.backend if is_given("backend") else None,
    )
    return replace(settings, precision=precision_of(bundle, wanted))


def calibrate_run(
    bundle: Bundle,
    named: NamedInputs,
    storage: Storage,
    options: BatchOptions,
    console: Console,
    *,
    source: WeightSource,
    decoding: Callable[[], DecodeOptions],
) -> Bundle:
    """Return the bundle of a run: for --precision int8, its networks quantized on the first files of the run.

    What a folder was calibrated on is kept, so that a resumed run has the same networks.

    Args:
        bundle: as the user names it, with its files on this machine.
        named: the inputs.
        storage: of the results, locked by the caller.
        options: of the current command.
        console: for progress and notes.
        source: where weight files may come from.
        decoding: returns how the files are decoded.

    Returns:
        The bundle, or a bundle of quantized networks under its name.

    Raises:
        SetupError: the run has several machines or shards, or the networks of its results are gone, or cannot be made,
            or the storage holds features of others.
        OutputError: the storage or the cache folder cannot be written.
        WeightsError: weight files are missing or damaged.
    """
    if options.precision != _INT8:
        return bundle
    from ..inference.bundle_precision import has_quantized_networks

    if has_quantized_networks(bundle):
        return bundle
    if options.backend == TORCH:
        raise SetupError(f"--precision int8 is computed by the backend {OPENVINO}, not by {TORCH}")
    if options.shard is not None or options.engine == "ray":
        several = "--shard" if options.shard is not None else "--engine ray"
        raise SetupError(f"--precision int8 with {several} needs networks that are quantized before: {_MAKE}")
    from ..quantization.kept import RUN_CLIPS, calibrate_on, find_kept
    from ..quantization.write import check_quantizable, identify_weights

    weights = identify_weights(bundle, source)
    kept = _read(storage)
    if kept is not None and kept[1] == weights:
        if (found := find_kept(bundle, kept[0], source)) is not None:
            console.info(f"computing in int8, calibrated as the results in {escape(storage.where)} were")
            return found
        if not options.overwrite:
            raise SetupError(
                f"{escape(storage.where)}: its results are of int8 networks that are no longer in the cache of this"
                f" machine (calibration {kept[0]}): choose another folder, or set --overwrite to calibrate again. To"
                f" keep networks, or to use them elsewhere: {_MAKE}"
            )
    held = _features_in(storage)
    if held is not None and held.precision != _INT8:
        raise SetupError(f"{escape(storage.where)}: holds features in {held.precision}; choose another folder")
    if options.plans_only:
        raise SetupError(f"a dry run computes nothing, and int8 networks are not calibrated yet for it: {_MAKE}")
    check_quantizable(bundle)
    storage.check_writable()
    count = min(RUN_CLIPS, len(named.files))
    console.info(f"calibrating int8 networks on the first {count} of {len(named.files)} files (minutes, once)")
    with console:
        made_bundle, calibration, made = calibrate_on(
            bundle,
            list(named.files.values()),
            source=source,
            decoding=decoding(),
            progress=lambda what, done, total: console.move_bar(what, done, total, f"{done}/{total}"),
        )
    if made.failed:
        console.info(f"{len(made.failed)} files cannot be decoded and were left out of the calibration")
    if held is not None and held.calibration != calibration:  # before anything there says that they are of this run
        raise SetupError(
            f"{escape(storage.where)}: holds features of int8 networks with another calibration; choose another folder"
        )
    storage.write(FILE, json.dumps({"calibration": calibration, "weights": weights}).encode() + b"\n")
    return made_bundle


def _features_in(storage: Storage) -> FeatureSpec | None:
    """Return of which features a storage is, None if of none. What is not valid is left to the run to refuse."""
    from ...extractors.profiles import FeatureSpec
    from ..features.npy_folders import SPEC_FILE

    content = storage.read(SPEC_FILE, limit=_MAX_SPEC_BYTES)
    try:
        return None if content is None else FeatureSpec.from_dict(parse_json(content))
    except (ValueError, TypeError):
        return None


def _read(storage: Storage) -> tuple[str, Mapping[str, str]] | None:
    """Return what identifies the networks of a storage's results, and what they were quantized from. None: unknown."""
    content = storage.read(FILE, limit=_MAX_BYTES)
    if content is None:
        return None
    try:
        values = parse_json(content)
        calibration, weights = values["calibration"], values["weights"]
        if isinstance(calibration, str) and calibration.isalnum() and isinstance(weights, dict):
            return calibration, weights
    except (ValueError, TypeError, KeyError):
        pass
    raise SetupError(f"{escape(f'{storage.where}/{FILE}')}: not what a run in int8 writes; choose another folder")
