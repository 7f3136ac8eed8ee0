"""Import of a torchaudio that was built for another torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import importlib.util
from avvp.extractors.torchaudio_import import import_torchaudio
assert import_torchaudio() is None
assert importlib.util.find_spec("torchaudio") is None  # which is how transformers looks for it
assert import_torchaudio() is None
from avvp.pipeline.decode.resampling import resample_torchaudio
import numpy
assert resample_torchaudio(numpy.ones(44_100), 44_100).shape == (16_000,)
"""


@pytest.mark.parametrize(
    "fault",
    ["raise RuntimeError('another CUDA version')", "raise OSError('undefined symbol')", "import no_such_module"],
)
def test_torchaudio_that_does_not_import_is_hidden(fault: str, tmp_path: Path) -> None:
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"{fault}\n")
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PROGRAM}"
    subprocess.run([sys.executable, "-c", program], check=True)
