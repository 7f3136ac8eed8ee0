"""Converted models in the user's cache folder: complete or absent, checked before use, bounded in number of bytes.

<cache>/avvp/compiled/KEY/model.xml, model.bin   OpenVINO's files
                          hashes.json            sha256 of both
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import platformdirs
from torch import nn

from ...weights.safe_paths import is_file
from ..durable import PART_PREFIX, rename_folder, sync_folder
from ..files import hash_file
from ..text import escape
from .openvino_import import import_openvino, openvino_core

MAX_STORE_BYTES = 8 << 30  # of all models; the full-size networks have 2 GiB
MAX_MODEL_FILE_BYTES = 64 << 20  # of model.xml, which holds no parameters
_FORMAT = 1  # of the files, and of the models as they are converted
_ABANDONED = 86_400  # seconds after which what a killed process has begun is removed
_FILES = ("model.xml", "model.bin")
_HASHES = "hashes.json"


def model_key(network: nn.Module, weights: str, **facts: str) -> str:
    """Return the name of a converted model: a hash of all that it is made of.

    Args:
        network: with or without parameters.
        weights: identifies the parameters.
        facts: others that the model depends on, as a calibration.

    Returns:
        64 hexadecimal digits.
    """
    names = {type(module).__module__ for module in network.modules()}
    code = {name: _hash_code(name) for name in names if name.partition(".")[0] != "torch"}
    packages = {name: version(name) for name in ("avvp", "torch", "openvino")}
    settings = {name: value for name, value in vars(network).items() if isinstance(value, int | float | str)}
    settings.pop("training")  # the mode of the module
    described = [_FORMAT, weights, str(network), settings, code, packages, facts]
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def _hash_code(module: str) -> str:
    """Return the sha256 of the file of a module; where it has none, the version of its package."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file and is_file(Path(file)):
        return hash_file(Path(file))
    with contextlib.suppress(PackageNotFoundError):
        return version(module.partition(".")[0])
    return "unknown"


class ModelStore:
    """Folder of converted models. Several processes may use it at the same time.

    Args:
        folder: of the models, created when one is written; None is that of the user's cache.
        limit: bytes of all models; the least recently used are removed first.
    """

    def __init__(self, folder: Path | None = None, *, limit: int = MAX_STORE_BYTES) -> None:
        self.folder = folder or Path(platformdirs.user_cache_dir("avvp")) / "compiled"
        self.limit = limit

    def provide(self, key: str, make: Callable[[], Any], tell: Callable[[str], None] = lambda _: None) -> Any:
        """Return a model, made and stored if the store has no sound copy of it.

        Where the folder cannot be written, the model is made at each start, with a note for the user.

        Args:
            key: of `model_key`.
            make: returns the `openvino.Model`.
            tell: called with a line for the user.

        Returns:
            `openvino.Model`.

        Raises:
            SetupError: OpenVINO is not installed; and whatever `make` raises.
        """
        if (model := self.read(key)) is not None:
            return model
        model = make()
        try:
            self.write(key, model)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            tell(f"{escape(self.folder)}: cannot be written ({reason}); networks are converted at each start")
            return model
        return self.read(key) or model  # from the file, whose pages the system may drop

    def read(self, key: str) -> Any | None:
        """Return a model whose files are as they were written; a damaged one is removed. None if there is none."""
        place = self.folder / key
        xml = place / _FILES[0]
        try:
            hashes = json.loads((place / _HASHES).read_bytes())
            if xml.stat().st_size <= MAX_MODEL_FILE_BYTES and hashes == _hash_files(place):
                with contextlib.suppress(OSError):  # of a folder that others may only read
                    os.utime(place)  # when it was last used
                return openvino_core().read_model(xml)
        except FileNotFoundError:
            if not place.exists():
                return None
        except (OSError, ValueError, RuntimeError):  # RuntimeError: of OpenVINO
            pass
        self._remove(place)
        return None

    def write(self, key: str, model: Any) -> None:
        """Store a model, and remove others that exceed the limit.

        Args:
            key: of `model_key`.
            model: `openvino.Model`.

        Raises:
            OSError: the folder cannot be written; nothing is left in it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=PART_PREFIX, dir=self.folder))
        try:
            try:
                import_openvino().save_model(model, part / _FILES[0], compress_to_fp16=False)
            except RuntimeError as error:  # as OpenVINO reports a full disk
                raise OSError(errno.EIO, "OpenVINO cannot write the model") from error
            (part / _HASHES).write_text(json.dumps(_hash_files(part)))
            for name in (*_FILES, _HASHES):
                with (part / name).open("rb") as file:
                    os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # another process has stored the same model meanwhile
                rename_folder(part, self.folder / key)
            sync_folder(self.folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        self._shrink(keep=key)

    def _shrink(self, *, keep: str) -> None:
        """Remove what killed processes have left, and the least recently used models beyond the limit."""
        left = 0
        for used, size, place in sorted(_measure(self.folder), reverse=True):
            is_part = place.name.startswith(PART_PREFIX)
            left += size
            if (is_part and used < time.time() - _ABANDONED) or (
                not is_part and left > self.limit and place.name != keep
            ):
                self._remove(place)

    def _remove(self, place: Path) -> None:
        """Remove a model in one step for others: those who have opened its files keep them."""
        with contextlib.suppress(OSError):
            hidden = Path(tempfile.mkdtemp(prefix=PART_PREFIX, dir=self.folder))
            with contextlib.suppress(OSError):
                place.replace(hidden)
            shutil.rmtree(hidden, ignore_errors=True)


def _measure(folder: Path) -> list[tuple[float, int, Path]]:
    """Return of each folder in a store when it was last used, its bytes, and its path."""
    found: list[tuple[float, int, Path]] = []
    for place in folder.iterdir():
        with contextlib.suppress(OSError):  # removed by another process
            size = sum(file.stat().st_size for file in place.iterdir())
            found.append((place.stat().st_mtime, size, place))
    return found


def _hash_files(place: Path) -> dict[str, str]:
    return {name: hash_file(place / name) for name in _FILES}
