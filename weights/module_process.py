"""Read a whole pickled module in a process of its own, which has limits of memory and time and can be killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from .errors import WeightsError
from .messages import escape
from .pickled_module import MAX_MODULE_BYTES, REFUSED
from .safe_paths import is_file

SECONDS = 60  # until the process is killed
# Not `-m`, which would import a file of the working directory in place of a library of the same name.
_PROGRAM = "import sys; sys.path[:] = filter(None, sys.path); from avvp.weights.pickled_module import main; main()"


def read_module_file(path: Path) -> dict[str, Tensor]:
    """Read the parameters and buffers of a module that a release of PyTorch before 1.6 pickled.

    Args:
        path: the file.

    Returns:
        Key, as of `Module.state_dict` -> tensor, of the type that it has in the file.

    Raises:
        WeightsError: the file cannot be read, is no such file, is damaged or too large, or reading it takes too long.
    """
    if not is_file(path):
        raise WeightsError(f"{escape(path)}: not a file")
    try:
        with path.open("rb") as file:
            done = subprocess.run(
                [sys.executable, "-c", _PROGRAM],
                stdin=file,
                capture_output=True,
                timeout=SECONDS,
                check=False,
                start_new_session=True,  # Ctrl-C goes to this process only, which kills that one
            )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"{escape(path)}: reading it took more than {SECONDS} s and was stopped") from error
    except OSError as error:
        raise WeightsError(f"{escape(path)}: cannot be read: {error.strerror or error}") from error
    if done.returncode == REFUSED:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise WeightsError(f"{escape(path)}: not a pickled module that can be read: {escape(lines[-1])}")
    try:
        if done.returncode == 0:
            return load(done.stdout)
    except SafetensorError as error:
        raise WeightsError(f"{escape(path)}: cannot be read: the process that reads it gave no tensors") from error
    raise WeightsError(
        f"{escape(path)}: cannot be read: the process that reads it needed more memory or time than a file of at most"
        f" {MAX_MODULE_BYTES >> 20} MiB can, and ended with status {done.returncode}"
    )
