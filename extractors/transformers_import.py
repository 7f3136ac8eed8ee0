"""Import of transformers, for CLIP and CLAP."""

from __future__ import annotations

import importlib.util
from typing import Any

from .torchaudio_import import import_torchaudio

NEEDED = "CLIP and CLAP need transformers; install it with: pip install 'avvp[pseudo]'"


def import_transformers() -> Any:
    """Return the module transformers. Raises ValueError if it is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise ValueError(NEEDED)
    import_torchaudio()
    import transformers

    transformers.utils.logging.disable_progress_bar()  # for reading parameters from a file, which takes a second
    return transformers
