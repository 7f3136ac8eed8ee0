"""What is known of quantized networks: on what they were calibrated, and how far they are from their originals.

It is kept in quantization.json beside the networks, and told on the model card. Clips are named by their content alone:
names of private recordings stay private when a bundle is shared.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from ...weights.messages import shown
from ..errors import SetupError
from ..text import escape
from ..text_files import read_json

RECORD_FILE = "quantization.json"
MAX_RECORD_CLIPS = 10_000
MAX_RECORD_NETWORKS = 16
GOOD_COSINE = 0.995  # mean, of features; below it users are warned
GOOD_AGREEMENT = 0.99  # part of the decisions that are equal; the same
_FORMAT = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .+-]{0,63}")
_MOST = 1 << 53
_Numbers = TypeVar("_Numbers", "FeatureError", "Agreement")


@dataclass(frozen=True)
class FeatureError:
    """Distance of a network's features from those in fp32.

    Attributes:
        rows: that were compared.
        cosine: mean cosine of the angle between two rows.
        low_cosine: the cosine that 1 % of the rows are below.
        least_cosine: of any row.
        relative: norm of the difference of all rows, as a part of the norm of those in fp32.
    """

    rows: int
    cosine: float
    low_cosine: float
    least_cosine: float
    relative: float


@dataclass(frozen=True)
class Agreement:
    """Decisions by features of quantized networks, compared with those by features in fp32.

    Attributes:
        cells: decisions: seconds x classes x audio and visual.
        equal: of these, those that are the same.
        active: cells that are active in either.
        active_in_both: of these, those that are active in both.
    """

    cells: int
    equal: int
    active: int
    active_in_both: int

    @property
    def part(self) -> float:
        """Part of the cells that are equal, from 0 to 1."""
        return self.equal / self.cells


@dataclass(frozen=True)
class QuantizationRecord:
    """How a bundle of quantized networks was made.

    Attributes:
        source: name of the bundle that they were made of.
        weights: extractor name -> what identifies the parameters that were quantized.
        profile: that clips were decoded under.
        packages: name -> version.
        inputs: extractor name -> inputs that it was calibrated on.
        ranges: extractor name -> what the ranges of activations are: "extremes" of all inputs, or "means" of the
            extremes of each.
        calibration: sha256 of the clips that the inputs are from.
        checked: sha256 of the clips that were compared; none of those before.
        errors: extractor name -> distance of its features on these clips; empty if none was compared.
        agreement: of the parser's decisions on them; None without a parser or clips.
    """

    source: str
    weights: Mapping[str, str]
    profile: str
    packages: Mapping[str, str]
    inputs: Mapping[str, int]
    ranges: Mapping[str, str]
    calibration: tuple[str, ...]
    checked: tuple[str, ...] = ()
    errors: Mapping[str, FeatureError] | None = None
    agreement: Agreement | None = None

    @property
    def summary(self) -> list[str]:
        """What was measured, a line for each network and one for the decisions."""
        inputs = [f"{name}: calibrated on {count:,} inputs" for name, count in self.inputs.items()]
        errors = [
            f"{name}: mean cosine with fp32 {error.cosine:.5f}, relative error {error.relative:.4f}"
            for name, error in (self.errors or {}).items()
        ]
        if self.agreement is None:
            return [*inputs, *errors]
        decisions = f"{self.agreement.part:.2%} of {self.agreement.cells:,} decisions on {len(self.checked)} clips"
        return [*inputs, *errors, f"{decisions} are those of fp32"]

    @property
    def warnings(self) -> list[str]:
        """What keeps the networks from being as good as their originals, if anything was measured to be so."""
        low = [
            f"features of {name} have a mean cosine of {error.cosine:.4f} with those in fp32, below {GOOD_COSINE}"
            for name, error in (self.errors or {}).items()
            if error.cosine < GOOD_COSINE
        ]
        if self.agreement is not None and self.agreement.part < GOOD_AGREEMENT:
            low.append(f"{self.agreement.part:.2%} of the decisions are those of fp32, less than {GOOD_AGREEMENT:.0%}")
        return low

    def to_json(self) -> bytes:
        """Return the content of `RECORD_FILE`."""
        return (json.dumps({"format": _FORMAT, **asdict(self)}, indent=1) + "\n").encode()


def read_record(folder: Path) -> QuantizationRecord:
    """Read the record of a bundle of quantized networks.

    Args:
        folder: of the bundle.

    Returns:
        The record.

    Raises:
        SetupError: it is missing or not valid.
    """
    path = folder / RECORD_FILE
    try:
        values = read_json(path)
        names = {field.name for field in fields(QuantizationRecord)}
        if not isinstance(values, dict) or values.keys() != names | {"format"} or values["format"] != _FORMAT:
            raise ValueError("other fields than avvp weights quantize writes")
        errors, agreement = values["errors"], values["agreement"]
        return QuantizationRecord(
            source=_text(values["source"]),
            weights=_table(values["weights"], _text),
            profile=_text(values["profile"]),
            packages=_table(values["packages"], _text),
            inputs=_table(values["inputs"], _count),
            ranges=_table(values["ranges"], _text),
            calibration=_hashes(values["calibration"]),
            checked=_hashes(values["checked"]),
            errors=None if errors is None else _table(errors, lambda value: _numbers(FeatureError, value)),
            agreement=None if agreement is None else _numbers(Agreement, agreement),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise SetupError(f"{escape(path)}: not a record of a quantization: {escape(error)}") from error


def format_quantization(record: QuantizationRecord, sizes: Mapping[str, int]) -> str:
    """Describe a quantization for a model card.

    Args:
        record: of the bundle.
        sizes: extractor name -> bytes of its file.

    Returns:
        Markdown without a heading.
    """
    packages = ", ".join(f"{name} {version}" for name, version in record.packages.items())
    errors = record.errors or {}
    sized = {name: f"{size / 1e6:,.1f} MB" for name, size in sizes.items()}
    rows = [
        f"| {name} | {record.inputs.get(name, 0):,} | {escape(record.ranges.get(name, '-'))}"
        f" | {_errors(errors.get(name))} | {sized.get(name, '-')} |"
        for name in record.weights
    ]
    parts = [
        f"The extractors of `{escape(record.source)}` in int8, by quantization after training ({escape(packages)}):"
        " weights by channel, activations in the range of the extremes of all calibration inputs, or of their means."
        f" Clips were decoded under the profile {escape(record.profile)}.",
        "| network | calibration inputs | ranges | cosine, mean | 1 % below | least | relative error | file |\n"
        "|---|---:|---|---:|---:|---:|---:|---:|\n" + "\n".join(rows),
    ]
    if errors:
        parts.append(
            f"Cosines and errors compare rows of features with those in fp32, on {len(record.checked)} clips that the"
            " networks were not calibrated on."
        )
    else:
        parts.append("The features were not compared with those in fp32.")
    if (found := record.agreement) is not None:
        active = f"{found.active:,} that are active in either"
        shared = f", and {found.active_in_both / found.active:.2%} of the {active}" if found.active else ""
        parts.append(
            f"Of {found.cells:,} decisions on these clips (seconds x classes x audio and visual), {found.part:.2%} are"
            f" those of fp32{shared}."
        )
    parts += [f"**Warning:** {warning}." for warning in record.warnings]
    parts.append(f"sha256 of the {len(record.calibration)} calibration clips: {_list(record.calibration)}")
    if record.checked:
        parts.append(f"sha256 of the {len(record.checked)} clips of the comparison: {_list(record.checked)}")
    return "\n\n".join(parts)


def _errors(error: FeatureError | None) -> str:
    if error is None:
        return "- | - | - | -"
    return f"{error.cosine:.5f} | {error.low_cosine:.5f} | {error.least_cosine:.5f} | {error.relative:.4f}"


def _list(hashes: tuple[str, ...]) -> str:
    return ", ".join(f"`{digest}`" for digest in hashes)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 500:
        raise ValueError(f"{shown(value)} is not a short text")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError(f"{shown(value)} is not a number of things")
    return value


def _table(value: Any, read: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or len(value) > MAX_RECORD_NETWORKS or not all(map(_NAME.fullmatch, value)):
        raise ValueError(f"{shown(value)} is not a table of networks or packages")
    return {name: read(entry) for name, entry in value.items()}


def _hashes(values: Any) -> tuple[str, ...]:
    if not isinstance(values, list) or len(values) > MAX_RECORD_CLIPS:
        raise ValueError(f"{shown(values)} is not a list of at most {MAX_RECORD_CLIPS:,} clips")
    if wrong := [value for value in values if not isinstance(value, str) or not _SHA256.fullmatch(value)]:
        raise ValueError(f"{shown(wrong[0])} is not a sha256")
    return tuple(values)


def _numbers(kind: type[_Numbers], value: Any) -> _Numbers:
    names = {field.name: field.type for field in fields(kind)}
    if not isinstance(value, dict) or value.keys() != names.keys():
        raise ValueError(f"{shown(value)} has other fields than {', '.join(names)}")
    for name, declared in names.items():
        if declared == "int":
            _count(value[name])
        elif type(value[name]) not in {int, float} or not math.isfinite(value[name]):
            raise ValueError(f"{name} is {shown(value[name])}, expected a finite number")
    return kind(**value)
