"""Import of torchaudio, whose last release does not import beside every torch."""

from __future__ import annotations

import sys
import warnings
from types import ModuleType
from typing import cast


def import_torchaudio() -> ModuleType | None:
    """Import torchaudio; where that fails, hide it from other libraries.

    It raises RuntimeError beside a torch of another CUDA version and OSError beside one of another ABI. transformers
    imports it wherever it is installed, and fails with it: call this first.

    Returns:
        The module; None if it is not installed, or does not import.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import torchaudio
    except Exception:
        sys.modules["torchaudio"] = cast("ModuleType", None)  # to Python, a module that does not exist
        return None
    return torchaudio
