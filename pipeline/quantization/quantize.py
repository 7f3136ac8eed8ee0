"""Quantization of networks to int8 after their training, by NNCF."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ...extractors.base import Extractor
from ...extractors.clap import CLAP
from ...extractors.clip import CLIP
from ...weights.messages import first_line
from ...weights.quantized import QuantizedFile, check_program, reduce_program
from ..backends.convert import convert
from ..backends.openvino_import import import_openvino, without_reports
from ..backends.quantized import load_quantized
from ..errors import SetupError
from ..sharing.quantization_record import GOOD_COSINE

_TRANSFORMERS = (CLIP, CLAP)
_COMPARED = 16  # inputs that features are compared with fp32 on, of those of the calibration
_LEAST_COSINE = 0.9  # mean, of these features; below it the network computes something else


def import_nncf() -> Any:
    """Return the module nncf, which reports nothing over the network. Raises SetupError if it is not installed."""
    import_openvino()
    made = logging.getLoggerClass()
    try:
        with without_reports(), _silent():  # its log goes where stdout is now
            import nncf
    except ImportError as error:
        raise SetupError("int8 needs NNCF, not installed here: pip install 'avvp[int8]'") from error
    finally:
        logging.setLoggerClass(made)  # it would make all loggers its own
    return nncf


def quantize_extractor(name: str, extractor: Extractor, inputs: NDArray[Any]) -> QuantizedFile:
    """Quantize the parameters and activations of an extractor to int8.

    Activations get the ranges that one of the `_METHODS` measures. Those after the first are tried if its features are
    not near enough to those in fp32.

    Args:
        name: of the extractor.
        extractor: plain, in eval mode, on the CPU.
        inputs: (n, *shape) that the ranges of activations are measured on, as `InputFormat.reduce` makes them.

    Returns:
        The quantized network, that whose features of some of these inputs are nearest to those in fp32.

    Raises:
        SetupError: OpenVINO or NNCF is not installed, cannot convert or quantize the network, or computes something
            else.
    """
    nncf = import_nncf()
    with torch.inference_mode():
        chosen = inputs[np.linspace(0, len(inputs) - 1, min(_COMPARED, len(inputs))).astype(int)]
        prepared = extractor.prepare(torch.from_numpy(chosen)).float()
        expected = extractor(prepared).float()
    best, nearest = None, -1.0
    for method in _METHODS:
        try:
            file = _quantize(nncf, name, extractor, inputs, method)
            quantized = load_quantized(extractor, file)
            with torch.inference_mode():
                rows = quantized(prepared)
        except SetupError:
            raise
        except Exception as error:  # of libraries that may raise anything
            cause = f"{type(error).__name__}: {first_line(error)}"
            raise SetupError(f"the extractor {name} cannot be quantized ({cause})") from error
        cosine = float(functional.cosine_similarity(rows, expected).mean())
        if cosine > nearest:
            best, nearest = file, cosine
        if nearest >= GOOD_COSINE:
            break
    if best is None or nearest < _LEAST_COSINE:
        raise SetupError(
            f"the extractor {name} cannot be quantized: in int8 it computes something else here (mean cosine with fp32"
            f" {nearest:.2f})"
        )
    return best


def _quantize(nncf: Any, name: str, extractor: Extractor, inputs: NDArray[Any], method: str) -> QuantizedFile:
    from openvino._offline_transformations import apply_moc_transformations

    model = convert(extractor)
    apply_moc_transformations(model, cf=False)  # folds batch norms, whose inputs would be quantized too

    def prepare(index: int) -> NDArray[Any]:
        with torch.inference_mode():
            return extractor.prepare(torch.from_numpy(inputs[index : index + 1])).float().contiguous().numpy()

    with _silent():
        quantized = nncf.quantize(
            model,
            nncf.Dataset(range(len(inputs)), prepare),
            subset_size=len(inputs),
            model_type=nncf.ModelType.TRANSFORMER if isinstance(extractor, _TRANSFORMERS) else None,
            advanced_parameters=_METHODS[method](nncf),
        )
    program, constants = _serialize(quantized)
    program = reduce_program(program)
    check_program(program, constants)
    packages = {package: version(package) for package in ("nncf", "openvino")}
    return QuantizedFile(name, program, constants, {"inputs": len(inputs), "ranges": method, **packages})


def _extremes(nncf: Any) -> Any:
    """Return parameters by which ranges are the least and the greatest of all values; biases are not corrected.

    The demo's networks had cosines of 0.9996 to 0.9999 with their features in fp32, and with the means 0.955 to 0.999.
    """
    estimators = nncf.quantization.range_estimator.RangeEstimatorParametersSet
    return nncf.AdvancedQuantizationParameters(
        activations_range_estimator_params=estimators.MINMAX, disable_bias_correction=True
    )


def _means(nncf: Any) -> Any:
    """Return NNCF's defaults: ranges are means of the extremes of each input, and biases are corrected for them."""
    return nncf.AdvancedQuantizationParameters()


_METHODS: dict[str, Callable[[Any], Any]] = {"extremes": _extremes, "means": _means}


def _serialize(model: Any) -> tuple[str, bytes]:
    """Return the program and the constants of an OpenVINO model."""
    openvino = import_openvino()
    with tempfile.TemporaryDirectory(prefix="avvp-") as folder:
        program, constants = Path(folder) / "model.xml", Path(folder) / "model.bin"
        openvino.serialize(model, str(program), str(constants))
        return program.read_text(encoding="utf-8"), constants.read_bytes()


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Hide logs, warnings and progress bars: NNCF's go to standard output, where results may go."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
