"""Write a bundle of quantized networks.

FOLDER/bundle.toml                   the bundle, with the sha256 of its files; written last
FOLDER/EXTRACTOR.int8.safetensors    each quantized network, see `weights/quantized.py`
FOLDER/...                           files of the parser, as far as they lie in the folder of the original bundle
FOLDER/quantization.json, README.md  how it was made and how far it is from its original, for programs and for people
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...extractors.base import Extractor
from ...extractors.registry import meta_extractor
from ...weights.errors import WeightsError
from ...weights.manifest import BUNDLE_FILE, MAX_DESCRIPTION, Bundle, format_bundle, read_bundle
from ...weights.messages import shown
from ...weights.quantized import QUANTIZED_SUFFIX, QuantizedFile, dump_quantized, is_quantized
from ...weights.remote.gather import file_name, gather_files
from ...weights.safe_paths import inside
from ...weights.source import ANYWHERE, WeightSource
from ..backends.quantized import load_quantized
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..errors import OutputError, SetupError
from ..files import check_folder_of, exclusive_lock, hash_file, make_folder, make_folder_of, replacing, write_atomic
from ..inference.bundle import load_parser
from ..inference.extractors import plain_extractors
from ..sharing.model_card import CARD_FILE
from ..sharing.quantization_record import RECORD_FILE, QuantizationRecord, format_quantization
from ..text import escape
from .calibration import CalibrationInputs, Progress, collect_inputs
from .measure import Measurement, measure
from .quantize import import_nncf, quantize_extractor

_SUFFIX_OF_DESCRIPTION = "; its feature networks in int8"


@dataclass(frozen=True)
class Quantization:
    """Quantized networks of a bundle that are not written yet.

    Attributes:
        bundle: that they were made of.
        files: extractor name -> its quantized network.
        record: of the calibration, and of the comparison if there was one.
        failed: clips that cannot be decoded -> why.
    """

    bundle: Bundle
    files: Mapping[str, QuantizedFile]
    record: QuantizationRecord
    failed: Mapping[Path, str]


def check_quantizable(bundle: Bundle) -> None:
    """Check that the networks of a bundle can be quantized, before clips are decoded.

    Args:
        bundle: the bundle.

    Raises:
        SetupError: they are quantized already or of other packages, or share their files with text encoders, or
            OpenVINO or NNCF is not installed.
    """
    if bundle.is_open:
        raise SetupError(
            f"bundle {shown(bundle.name)}: its files hold the text encoders of any classes, too, and are not quantized;"
            " --precision bf16 computes in half the bytes"
        )
    if any(map(is_quantized, bundle.extractors.values())):
        raise SetupError(f"bundle {shown(bundle.name)}: its networks are quantized already; name the original bundle")
    for name in bundle.extractors:
        try:
            part = meta_extractor(name, reference=bundle.parts.get(name)).part if name not in bundle.parts else name
        except ValueError as error:
            raise SetupError(f"bundle {shown(bundle.name)}: {error}") from error
        if part is not None:
            raise SetupError(
                f"bundle {shown(bundle.name)}: the extractor {escape(name)} is of another package; only those of this"
                " program are quantized"
            )
    import_nncf()


def check_folder(bundle: Bundle, folder: Path, *, overwrite: bool = False) -> None:
    """Check that a bundle of quantized networks may be written to a folder.

    Args:
        bundle: that they are made of.
        folder: which need not exist.
        overwrite: replace the files of an earlier bundle.

    Raises:
        OutputError: the folder holds a bundle, or cannot be written to.
    """
    if bundle.root is not None and bundle.root.resolve() == folder.resolve():
        raise OutputError(f"{escape(folder)}: holds the original networks; choose another folder")
    if (folder / BUNDLE_FILE).exists() and not overwrite:
        raise OutputError(f"{escape(folder)}: already holds a bundle; set --overwrite, or choose another folder")
    check_folder_of(folder / BUNDLE_FILE)


def quantize_bundle(
    bundle: Bundle,
    clips: Sequence[Path],
    *,
    held_out: Sequence[Path] = (),
    wanted: int | None = None,
    source: WeightSource = ANYWHERE,
    decoding: DecodeOptions = DEFAULT_OPTIONS,
    progress: Progress = lambda *_: None,
) -> Quantization:
    """Quantize the extractors of a bundle.

    Args:
        bundle: with `check_quantizable`.
        clips: media files to calibrate on.
        held_out: media files, none of `clips`, to compare features and decisions with fp32 on.
        wanted: calibrate on the first so many of the clips that can be decoded; None is all.
        source: where weight files may come from.
        decoding: decoder, resampler and time limit.
        progress: called with what is done, how much of it, and of how much.

    Returns:
        The networks and their record.

    Raises:
        SetupError: no clip can be decoded, or a network cannot be quantized.
        WeightsError: weight files are missing or damaged.
    """
    plain = plain_extractors(bundle, source=source)
    found = collect_inputs(clips, plain, profile=bundle.profile, wanted=wanted, decoding=decoding, progress=progress)
    files = {}
    for number, (name, extractor) in enumerate(plain.items()):
        progress(f"quantizing {name}", number, len(plain))
        files[name] = quantize_extractor(name, extractor, found.inputs[extractor.stream])
    measured = None
    if held_out:
        progress("loading networks", 0, 1)
        parser = load_parser(bundle, source=source, device="cpu") if bundle.parser else None
        measured = measure(
            held_out, plain, _load(files), parser, profile=bundle.profile, decoding=decoding, progress=progress
        )
    record = _record(bundle, identify_weights(bundle, source), files, found, measured)
    return Quantization(bundle, files, record, {**found.failed, **(measured.failed if measured else {})})


def identify_weights(bundle: Bundle, source: WeightSource = ANYWHERE) -> dict[str, str]:
    """Return what identifies the parameters of each extractor of a bundle: the sha256 of its file, or a seed.

    Args:
        bundle: the bundle.
        source: where weight files may come from.

    Returns:
        Extractor name -> text.

    Raises:
        WeightsError: weight files are missing or damaged.
    """
    if bundle.seed is not None:
        return dict.fromkeys(bundle.extractors, f"untrained, seed {bundle.seed}")
    paths, hashes = gather_files(replace(bundle, parser={}), source)
    return {name: hashes[file_name(file, paths[file])] for name, file in bundle.extractors.items()}


def write_quantized(
    quantization: Quantization, folder: Path, *, source: WeightSource = ANYWHERE, overwrite: bool = False
) -> Bundle:
    """Write a bundle of quantized networks. Until its `bundle.toml` is there, a folder is no bundle.

    Args:
        quantization: of `quantize_bundle`.
        folder: created if it does not exist; the name of the bundle is that of the folder.
        source: where files of the parser may come from.
        overwrite: replace the files of an earlier bundle.

    Returns:
        The bundle of the folder.

    Raises:
        OutputError: the folder holds a bundle already, or a file cannot be written.
        SetupError: another process uses the folder.
    """
    make_folder(folder)
    with exclusive_lock(folder):
        check_folder(quantization.bundle, folder, overwrite=overwrite)
        (folder / BUNDLE_FILE).unlink(missing_ok=True)
        hashes = _copy_parser(quantization.bundle, folder, source)
        extractors, sizes = {}, {}
        for name, file in quantization.files.items():
            extractors[name] = f"{name}{QUANTIZED_SUFFIX}"
            content = dump_quantized(file)
            write_atomic(folder / extractors[name], content)
            hashes[extractors[name]], sizes[name] = hash_file(folder / extractors[name]), len(content)
        bundle = _describe(quantization.bundle, folder, extractors, hashes)
        write_atomic(folder / RECORD_FILE, quantization.record.to_json())
        write_atomic(folder / CARD_FILE, _card(bundle, quantization.record, sizes).encode())
        write_atomic(folder / BUNDLE_FILE, format_bundle(bundle).encode())
    return read_bundle(folder)


def _load(files: Mapping[str, QuantizedFile]) -> dict[str, Extractor]:
    """Build the quantized networks. Raises SetupError."""
    try:
        return {name: load_quantized(meta_extractor(name), file) for name, file in files.items()}
    except ValueError as error:
        raise SetupError(f"a network cannot be computed in int8 here: {error}") from error


def _record(
    bundle: Bundle,
    weights: Mapping[str, str],
    files: Mapping[str, QuantizedFile],
    found: CalibrationInputs,
    measured: Measurement | None,
) -> QuantizationRecord:
    facts = [file.record for file in files.values()]
    return QuantizationRecord(
        source=bundle.name,
        weights=weights,
        profile=bundle.profile,
        packages={package: facts[0][package] for package in ("nncf", "openvino")},
        inputs={name: file.record["inputs"] for name, file in files.items()},
        ranges={name: file.record["ranges"] for name, file in files.items()},
        calibration=found.clips,
        checked=measured.clips if measured else (),
        errors=measured.errors if measured and measured.clips else None,
        agreement=measured.agreement if measured else None,
    )


def _copy_parser(bundle: Bundle, folder: Path, source: WeightSource) -> dict[str, str]:
    """Copy the files of the parser that lie in the bundle's folder; return their sha256 by name."""
    parser = bundle.without_extractors()
    if parser.root is None or not parser.files:
        return {}
    paths, found = gather_files(parser, source)
    hashes = {}
    for name, path in paths.items():
        if path == parser.root / name:
            target = inside(folder, name)
            make_folder_of(target)
            with replacing(target) as part:
                shutil.copyfile(path, part)
            hashes[name] = found[file_name(name, path)]
            if hash_file(target) != hashes[name]:
                raise WeightsError(f"{escape(path)}: changed while it was copied")
    return hashes


def _describe(bundle: Bundle, folder: Path, extractors: Mapping[str, str], hashes: Mapping[str, str]) -> Bundle:
    description = bundle.description[: MAX_DESCRIPTION - len(_SUFFIX_OF_DESCRIPTION)] + _SUFFIX_OF_DESCRIPTION
    return replace(
        bundle,
        name=(folder.resolve() if folder.name in {"", ".."} else folder).name,
        description=description.removeprefix("; "),
        extractors=extractors,
        sha256=hashes,
        root=None,
        downloads={},
    )


def _card(bundle: Bundle, record: QuantizationRecord, sizes: Mapping[str, int]) -> str:
    command = (
        "avvp-parse --weights FOLDER video.mp4"
        if bundle.parser
        else "avvp extract videos/ -o features/ --weights FOLDER"
    )
    sections = [f"# {escape(bundle.name)}", escape(bundle.description)]
    if bundle.warning:
        sections.append(f"> **Warning:** {escape(bundle.warning)}")
    sections += [
        "## Quantization",
        format_quantization(record, sizes),
        "## Use",
        f"With avvp and its extra `int8`, where FOLDER is this folder:\n\n```bash\n{command}\n```",
    ]
    return "\n\n".join(sections) + "\n"
