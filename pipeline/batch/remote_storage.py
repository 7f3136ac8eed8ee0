"""Storage of a batch run on any fsspec filesystem: s3://, gs://, az://, sftp://, ..."""

from __future__ import annotations

import contextlib
import errno
import json
import re
import secrets
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.implementations.memory import MemoryFileSystem

from ...weights.addresses import hide_credentials
from ...weights.safe_paths import UnsafePathError, inside
from ..errors import OutputError, SetupError
from ..files import hash_file, hash_stream
from ..text import escape
from .local_storage import refusals_as_output_error
from .storage import MAX_READ_BYTES, Log, OutputFingerprint, Shard, Storage, is_name

_FLUSH_AFTER = 5.0  # seconds after which buffered lines of a log are written
_SHOWN = 500  # characters of an error of a filesystem
_CHAIN = "::"  # of fsspec: an archive or a cache over another address
_USER = re.compile(r"([^/:]*):(?!\d+/)(.*)@|([^/]*)@")  # user and password, which may itself contain "@" and "/"
_LONGEST = 120.0  # seconds for another process to read a small file
_READ_FILE = """
import json, sys
sys.path[:] = filter(None, sys.path)
import fsspec
address, name = json.load(sys.stdin)
files, root = fsspec.core.url_to_fs(address)
sys.stdout.buffer.write(files.cat_file(f"{root}/{name}"))
"""
_REMOVERS = ("rm_file", "_rm_file", "rm", "_rm")  # a filesystem with results implements one of these
_VERSIONS = ("ETag", "etag", "generation", "md5Hash", "content_md5", "crc32c")  # of an object, in `info`


class RemoteStorage(Storage):
    """Storage on any fsspec filesystem. Files are written locally and uploaded as a whole.

    There is no lock and there are no temporary files: two runs at the same time repeat each other's work, into the
    same files.
    """

    def __init__(self, address: str) -> None:
        protocol, _, rest = address.partition("://")
        address = f"{protocol}://{rest.rstrip('/') or rest[:1]}"
        super().__init__(address, hide_credentials(address), journal_batch=64)
        self._secrets = _find_secrets(address)
        try:
            self._files, self._root = fsspec.core.url_to_fs(address)
        except Exception as error:  # unknown protocol, missing package, no answer, ...
            cause = self._without_secrets(error)
            raise SetupError(f"{escape(self.where)}: {cause.strerror}") from cause
        self._listing: dict[str, Any] | None = None

    def check_lasting(self) -> None:
        kind, protocol = type(self._files), self.address.partition("://")[0]
        if _CHAIN in self.address:
            problem = f"an address with {_CHAIN!r} leads into an archive or through a cache"
        elif isinstance(self._files, MemoryFileSystem):
            problem = f"{protocol}:// is memory of this process, which is gone when it ends"
        elif all(getattr(kind, name, None) is getattr(fsspec.AbstractFileSystem, name, None) for name in _REMOVERS):
            problem = f"{protocol}:// is no place where files can be written and replaced"
        else:
            return
        raise SetupError(f"{escape(self.where)}: {problem}; name a folder, or an address such as s3://bucket/folder")

    def check_writable(self) -> None:
        name, content = f".avvp-{secrets.token_hex(8)}.part", secrets.token_bytes(16)
        try:
            self.write(name, content)
            arrived = self.read(name)
            lasts = isinstance(self._files, LocalFileSystem) or self._read_elsewhere(name) == content
            self.remove(name)
        except OutputError as error:
            raise SetupError(f"{error}; results cannot be kept there") from error.__cause__
        if arrived != content or not lasts:
            whom = "another process" if arrived == content else "anybody"
            raise SetupError(
                f"{escape(self.where)}: what is written there cannot be read by {whom}; name another place"
            )

    def _read_elsewhere(self, name: str) -> bytes:
        """Read a file in another process: files in the memory of this one are not there. Empty if that fails."""
        command = [sys.executable, "-c", _READ_FILE]
        address = json.dumps([self.address, name]).encode()  # not an argument: all users can list those
        with contextlib.suppress(subprocess.TimeoutExpired):
            return subprocess.run(command, input=address, capture_output=True, timeout=_LONGEST, check=False).stdout
        return b""

    def read(self, name: str, *, limit: int = MAX_READ_BYTES) -> bytes | None:
        with self._refused(name, "read"):
            try:
                size = self._files.info(self._path(name))["size"]
                if size is not None and size > limit:
                    raise OSError(errno.EFBIG, f"larger than {limit} bytes, the most that is read of it")
                return self._files.cat_file(self._path(name))
            except FileNotFoundError:
                return None

    def store(self, name: str, write: Callable[[Path], object]) -> OutputFingerprint:
        # A file without a name: nothing is left of it, however the process ends.
        with tempfile.TemporaryFile(prefix="avvp-send-") as file:
            path = Path(f"/proc/self/fd/{file.fileno()}")
            with refusals_as_output_error(Path(tempfile.gettempdir()), "written"):
                write(path)
                digest, size = hash_file(path), path.stat().st_size
            with self._refused(name, "written"):
                self._files.makedirs(str(PurePosixPath(self._path(name)).parent), exist_ok=True)
                self._files.put_file(str(path), self._path(name))
                self._files.invalidate_cache()
                info = self._files.info(self._path(name))
        if info["size"] != size:
            raise OutputError(f"{escape(f'{self.where}/{name}')}: {info['size']} bytes arrived of {size}")
        return OutputFingerprint(name, size, _modified_ns(info), digest, _state(info))

    def remove(self, name: str) -> None:
        with self._refused(name, "removed"), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self._path(name))

    def names(self, folder: str, suffix: str) -> list[str]:
        with self._refused(folder, "listed"):
            try:
                paths = self._files.ls(self._path(folder) if folder else self._root, detail=False)
            except FileNotFoundError:
                return []
        names = (PurePosixPath(path).name for path in paths if path.endswith(suffix))
        return sorted(str(PurePosixPath(folder) / name) for name in names)

    def exists(self, name: str) -> bool:
        return self._info(name) is not None

    def check(self, output: OutputFingerprint, *, verify: bool = False) -> OutputFingerprint | None:
        info = self._info(output.path)
        if info is None or info["type"] != "file" or info["size"] != output.size:
            return None
        modified, state = _modified_ns(info), _state(info)
        known = bool(modified or state) and modified == output.mtime_ns and output.state in {state, ""}
        if known and not verify:
            return output
        with self._refused(output.path, "read"), self._files.open(self._path(output.path), "rb") as file:
            digest = hash_stream(file)
        if digest != output.sha256:
            return None
        return OutputFingerprint(output.path, output.size, modified, output.sha256, state)

    def log(self, name: str) -> Log:
        return _RemoteLog(self, name)

    @contextlib.contextmanager
    def cached_listing(self) -> Iterator[None]:
        with self._refused("", "listed"):
            self._files.invalidate_cache()
            try:
                self._listing = self._files.find(self._root, detail=True)
            except FileNotFoundError:
                self._listing = {}
        try:
            yield
        finally:
            self._listing = None

    def exclusive_lock(self, shard: Shard | None = None) -> contextlib.AbstractContextManager[None]:  # noqa: ARG002
        return contextlib.nullcontext()

    def list_lock(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def complete_lines(self, name: str, start: int = 0) -> Iterator[tuple[int, bytes]]:
        content = self.read(name) or b""
        while end := content.find(b"\n", start) + 1:
            yield end, content[start : end - 1]
            start = end

    def clear(self, folders: Iterable[str]) -> None:
        pass

    def _path(self, name: str) -> str:
        """Return the path of a name. Raises ValueError if it leads out."""
        if not is_name(name):
            raise ValueError("the name leads out of the folder")
        if isinstance(self._files, LocalFileSystem):  # the others have no links, or resolve them themselves
            inside(Path(self._root), name)
        return f"{self._root}/{name}"

    def _info(self, name: str) -> dict[str, Any] | None:
        with self._refused(name, "read"):
            try:
                path = self._path(name)
                return self._files.info(path) if self._listing is None else self._listing.get(path)
            except (OSError, UnsafePathError) as error:
                cause = error.__cause__ if isinstance(error, UnsafePathError) else error
                if isinstance(cause, FileNotFoundError) or getattr(cause, "errno", None) == errno.ENAMETOOLONG:
                    return None
                raise

    @contextlib.contextmanager
    def _refused(self, name: str, what: str) -> Iterator[None]:
        """Turn any error into an OutputError: every protocol raises errors of its own."""
        try:
            yield
        except OutputError:
            raise
        except Exception as error:
            cause = self._without_secrets(error)
            raise OutputError(f"{escape(f'{self.where}/{name}')}: cannot be {what}: {cause.strerror}") from cause

    def _without_secrets(self, error: Exception) -> OSError:
        """Return an error to show in place of one that may quote the address or its parts."""
        if isinstance(error, UnsafePathError) and isinstance(error.__cause__, OSError):
            error = error.__cause__
        reason = str(getattr(error, "strerror", None) or error or type(error).__name__)
        for secret in self._secrets:
            reason = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", reason)
        reason = escape(reason)
        return OSError(getattr(error, "errno", None), reason if len(reason) <= _SHOWN else f"{reason[:_SHOWN]}...")


class _RemoteLog(Log):
    """A log in numbered parts: urgent lines are written immediately, the others together some seconds later."""

    def __init__(self, storage: Storage, name: str) -> None:
        self._storage, self._name = storage, name
        self._number, self._unsaved = 0, b""
        self._lock = threading.Lock()
        self._later: threading.Timer | None = None
        self._failure: OutputError | None = None

    def append(self, lines: bytes, *, immediately: bool) -> None:
        with self._lock:
            if self._failure is not None:
                raise self._failure
            self._unsaved += lines
            if immediately:
                self._flush()
            elif self._later is None:
                self._later = threading.Timer(_FLUSH_AFTER, self._flush_later)
                self._later.daemon = True
                self._later.start()

    def close(self) -> None:
        with self._lock:
            self._flush()
        if self._failure is not None:
            raise self._failure

    def _flush_later(self) -> None:
        with self._lock:
            try:
                self._flush()
            except OutputError as error:  # the next `append` raises it
                self._failure = error

    def _flush(self) -> None:
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._unsaved:
            self._storage.write(f"{self._name}-{self._number:06}.jsonl", self._unsaved)
            self._number, self._unsaved = self._number + 1, b""


def _find_secrets(address: str) -> list[str]:
    """Return the user name, the password and the parameters of an address, as written and decoded, longest first."""
    _, _, rest = address.partition("://")
    user = _USER.match(rest)
    found = [*(user.groups() if user else ()), *re.findall(r"[?&;][^=&;]*=([^&;#]+)", rest)]
    return sorted({text for quoted in found if quoted for text in (quoted, unquote(quoted))}, key=len, reverse=True)


def _state(info: dict[str, Any]) -> str:
    """Return what names this version of a file, empty where the filesystem has nothing of the kind."""
    if "ino" in info:  # files of this machine; "created" is the time of their last change of any kind
        return f"{info['ino']}-{info.get('created')}"
    return next((str(info[key])[:200] for key in _VERSIONS if info.get(key)), "")


def _modified_ns(info: dict[str, Any]) -> int:
    """Return the time of the last change in ns; 0 where the filesystem reports none."""
    for key in ("mtime", "LastModified", "last_modified", "updated", "created"):
        value = info.get(key)
        if isinstance(value, datetime):
            value = value.timestamp()
        if isinstance(value, int | float):
            return int(value * 1e9)
    return 0
