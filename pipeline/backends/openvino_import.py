"""Import of OpenVINO without the reports of its use that it sends over the network."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

from ...weights.messages import first_line
from ..errors import SetupError

_REPORTS = "openvino_telemetry"  # sends them; without this package OpenVINO and NNCF send nothing


@contextlib.contextmanager
def without_reports() -> Iterator[None]:
    """Make imports within the context find no `openvino_telemetry`; the importing modules then never send reports."""
    missing = object()
    before = sys.modules.get(_REPORTS, missing)
    sys.modules[_REPORTS] = None  # type: ignore[assignment] - how Python marks what cannot be imported
    try:
        yield
    finally:
        if before is missing:
            del sys.modules[_REPORTS]
        else:
            sys.modules[_REPORTS] = before  # type: ignore[assignment]


def has_openvino() -> bool:
    """Return whether OpenVINO is installed."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """Return the module openvino. Raises SetupError if it is not installed, or does not fit this machine."""
    if not has_openvino():
        raise SetupError("OpenVINO is not installed here: pip install 'avvp[openvino]'")
    try:
        with without_reports():
            import openvino
    except (ImportError, OSError) as error:
        raise SetupError(f"OpenVINO cannot be used here ({first_line(error)}); reinstall it") from error
    return openvino


@cache
def openvino_core() -> Any:
    """Return OpenVINO's `Core`, one for the process. Raises SetupError as `import_openvino`."""
    return import_openvino().Core()


def computes_bfloat16() -> bool:
    """Return whether OpenVINO computes in bf16 on this CPU. Raises SetupError as `import_openvino`."""
    return "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
