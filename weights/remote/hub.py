"""Model repositories of a Hugging Face hub: addresses, what a commit holds, downloads.

Everything that is asked of the hub goes through the library huggingface_hub, which knows its interface, its errors and
where tokens are kept. The bytes of files come through `transfer`, under the same limits as every other download.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar
from urllib.parse import quote, unquote

from ..errors import WeightsError
from ..messages import escape, first_line, shown
from ..source import DownloadProgress
from .pace import RefusedError, TransferError
from .transfer import download, is_safe

if TYPE_CHECKING:
    from huggingface_hub import HfApi

SCHEME = "hf://"
DEFAULT_REVISION = "main"
FORM = "hf://USER/REPOSITORY[@REVISION][/FOLDER]"
MAX_ADDRESS = 1000  # characters
REQUEST_SECONDS = 60  # for one question to the hub
_DEFAULT_ENDPOINT = "https://huggingface.co"
_ADDRESS = re.compile(r"hf://([^/@]+)/([^/@]+)(?:@(refs/pr/[0-9]+|[^/]+))?(?:/(.*))?")
_PART = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?")  # of the name of a repository
_REVISION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./+-]{0,198}[A-Za-z0-9_+-])?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_MODELS = ("datasets", "spaces", "buckets", "kernels", "models")  # kinds of repositories, not users
LOG_IN = "log in by `hf auth login` (or `huggingface-cli login`), or set HF_TOKEN"
_TRUE = {"1", "true", "yes", "on"}

T = TypeVar("T")


class HubUnreachableError(WeightsError):
    """The hub does not answer: what is in the cache may still be used."""


@dataclass(frozen=True)
class HubAddress:
    """A folder of a model repository."""

    repo: str  # "user/repository"
    revision: str = DEFAULT_REVISION  # branch, tag, or commit
    subfolder: str = ""  # with "/" between folders; empty for the repository itself

    def __str__(self) -> str:
        """Return the address as `parse_address` reads it."""
        revision = self.revision if self.revision.startswith("refs/pr/") else quote(self.revision, safe="+")
        folder = f"/{self.subfolder}" if self.subfolder else ""
        return f"{SCHEME}{self.repo}@{revision}{folder}"

    @property
    def is_pinned(self) -> bool:
        """Whether the revision is a commit, whose content cannot change."""
        return bool(_COMMIT.fullmatch(self.revision))

    def path(self, name: str) -> str:
        """Return the path in the repository of a file of this folder."""
        return f"{self.subfolder}/{name}" if self.subfolder else name


class HubFile(NamedTuple):
    """A file of a commit, as the hub describes it."""

    size: int  # bytes
    sha256: str  # of its content; empty for a file that is kept in git itself
    git_hash: str  # of its content, where `sha256` is empty


def is_hub_address(name: str) -> bool:
    """Return whether a name of a bundle is the address of a repository."""
    return name.startswith(SCHEME)


def parse_address(text: str) -> HubAddress:
    """Read the address of a folder of a model repository.

    Args:
        text: "hf://user/repository", "hf://user/repository@revision" or "hf://user/repository@revision/folder". A "/"
            in a revision is written "%2F", except in "refs/pr/N".

    Returns:
        The address; the revision is "main" if none is given.

    Raises:
        WeightsError: the text has another form.
    """
    found = _ADDRESS.fullmatch(text) if len(text) <= MAX_ADDRESS else None
    if found is None:
        raise WeightsError(f"{shown(text)} is not the address of a model repository; expected {FORM}")
    user, name, revision, subfolder = found[1], found[2], unquote(found[3] or DEFAULT_REVISION), found[4] or ""
    if user in _NO_MODELS:
        raise WeightsError(f"{shown(text)} does not name a model repository; expected {FORM}")
    for part in (user, name):
        if not _PART.fullmatch(part) or ".." in part or "--" in part:
            raise WeightsError(f"{shown(text)}: {shown(part)} cannot be a part of the name of a repository")
    if not _REVISION.fullmatch(revision) or ".." in revision or "//" in revision:
        raise WeightsError(f"{shown(text)}: {shown(revision)} cannot be a revision: a branch, a tag or a commit")
    parts = [part for part in subfolder.split("/") if part]
    if any(part in {".", ".."} or not part.isprintable() or "\\" in part for part in parts):
        raise WeightsError(f"{shown(text)}: {shown(subfolder)} cannot be a folder of a repository")
    return HubAddress(f"{user}/{name}", revision, "/".join(parts))


def endpoint() -> str:
    """Return the address of the hub: HF_ENDPOINT, or huggingface.co.

    Raises:
        WeightsError: HF_ENDPOINT is not an https address; a token would be sent to it unprotected.
    """
    address = (os.environ.get("HF_ENDPOINT") or _DEFAULT_ENDPOINT).rstrip("/")
    if not is_safe(address):
        raise WeightsError(f"HF_ENDPOINT is {shown(address)}, not an https address")
    return address


def is_offline() -> bool:
    """Return whether HF_HUB_OFFLINE forbids the network."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE


def file_address(address: HubAddress, commit: str, name: str) -> str:
    """Return the address of a file for `WeightFile.urls`.

    Args:
        address: the folder that holds it.
        commit: of the repository.
        name: path in the folder.
    """
    return f"{SCHEME}{address.repo}@{commit}/{address.path(name)}"


def web_address(file: str) -> str:
    """Return the https address of a file.

    Args:
        file: of `file_address`.

    Raises:
        WeightsError: see `endpoint`.
    """
    repo, _, rest = file.removeprefix(SCHEME).partition("@")
    commit, _, path = rest.partition("/")
    return f"{endpoint()}/{repo}/resolve/{commit}/{quote(path)}"


def download_from_hub(
    file: str, part: Path, *, size: int | None, limit: int, progress: DownloadProgress | None
) -> None:
    """Download a file of a repository, with the user's token if there is one.

    Args:
        file: of `file_address`.
        part: the incomplete file, see `transfer.download`.
        size: in bytes.
        limit: bytes, the most that are accepted.
        progress: callback with the bytes so far and the total.

    Raises:
        TransferError: see `transfer.download`; or HF_HUB_OFFLINE is set, or huggingface_hub is not installed.
        WeightsError: see `endpoint`.
    """
    if is_offline():
        raise TransferError("HF_HUB_OFFLINE forbids to download it")
    try:
        token = library().get_token()
    except WeightsError as error:
        raise TransferError(str(error)) from error
    try:
        download(web_address(file), part, size=size, limit=limit, progress=progress, token=token)
    except RefusedError as error:
        if error.status not in {401, 403}:
            raise
        # A hub describes the files of a gated repository to everybody, and refuses their content.
        page = f"{endpoint()}/{file.removeprefix(SCHEME).partition('@')[0]}"
        raise TransferError(f"{error}: accept the terms at {page}, if it has any, and {LOG_IN}") from error


def library() -> Any:
    """Import huggingface_hub. Raises WeightsError if it is not installed."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        import huggingface_hub
    except ImportError as error:
        raise WeightsError(f"{SCHEME} addresses need huggingface_hub; pip install 'avvp[hub]'") from error
    return huggingface_hub


def resolve_commit(address: HubAddress) -> str:
    """Ask the hub for the commit of a revision.

    Args:
        address: of a repository.

    Returns:
        40 hexadecimal digits.

    Raises:
        HubUnreachableError: no answer.
        WeightsError: there is no such repository or revision, or it may not be read.
    """
    info = ask(address, lambda hub: hub.model_info(address.repo, revision=address.revision))
    if not isinstance(info.sha, str) or not _COMMIT.fullmatch(info.sha):
        raise WeightsError(f"{address}: the hub names the commit {shown(info.sha)}, which is none")
    return info.sha


def list_hub_files(address: HubAddress, commit: str, names: Sequence[str]) -> dict[str, HubFile]:
    """Ask the hub for the sizes and hashes of files.

    Args:
        address: the folder that holds them.
        commit: of the repository.
        names: paths in the folder.

    Returns:
        Those that the commit holds, by name.

    Raises:
        HubUnreachableError: no answer.
        WeightsError: the hub refuses, or its answer has no size or hash.
    """
    if not names:
        return {}
    paths = {address.path(name): name for name in names}
    entries = ask(address, lambda hub: hub.get_paths_info(address.repo, list(paths), revision=commit))
    found: dict[str, HubFile] = {}
    for entry in entries:
        if entry.path in paths and hasattr(entry, "size"):  # a folder has none
            found[paths[entry.path]] = _describe_file(address, entry)
    return found


def _describe_file(address: HubAddress, entry: Any) -> HubFile:
    size, sha256 = entry.size, "" if entry.lfs is None else entry.lfs.sha256
    git_hash = "" if sha256 else entry.blob_id
    known = bool(_SHA256.fullmatch(sha256) if sha256 else _COMMIT.fullmatch(git_hash or ""))
    if not known or type(size) is not int or size < 0:
        raise WeightsError(f"{address}: the hub gives {shown(entry.path)} no size or no hash")
    return HubFile(size, sha256, git_hash)


def ask(address: HubAddress, question: Callable[[HfApi], T], *, seconds: float = REQUEST_SECONDS) -> T:
    """Ask the hub, and describe why there is no answer.

    Args:
        address: for messages.
        question: called with the library's client, in a thread of its own.
        seconds: after which there is no answer.

    Returns:
        What the question returns.

    Raises:
        HubUnreachableError: no network, no answer in time, or an error of the hub itself.
        WeightsError: the hub refuses, HF_ENDPOINT is not an https address, or the library is missing.
    """
    hub = library()
    client = hub.HfApi(endpoint=endpoint(), library_name="avvp")
    answers: list[T] = []
    errors: list[Exception] = []

    def run() -> None:
        try:
            answers.append(question(client))
        except Exception as error:  # described in the thread that waits
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if answers:
        return answers[0]
    if errors:
        raise _describe_error(address, errors[0], hub.get_token()) from errors[0]
    raise HubUnreachableError(f"{address}: {endpoint()} has not answered after {seconds:.0f} seconds")


def _describe_error(address: HubAddress, error: BaseException, token: str | None) -> WeightsError:
    """Return what a user can do about an error of the library; its own message is long and may name more."""
    while isinstance(error, RuntimeError) and error.__cause__ is not None:  # "Error while uploading": why is below
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if reason := _describe_refusal(address, error, status, has_token=token is not None):
        return WeightsError(f"{address}: {reason}")
    text = first_line(error).replace(token or "\0", "***")  # a client may quote a header that it cannot send
    reason = f"status {status}" if status else f"{type(error).__name__}: {text}"
    return HubUnreachableError(f"{address}: {escape(endpoint())} cannot be reached ({reason})")


def _describe_refusal(address: HubAddress, error: BaseException, status: int | None, *, has_token: bool) -> str:
    """Return why the hub refuses; an empty string if it has failed instead."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        how = "" if has_token else f", and {LOG_IN}"
        return f"its owner asks who uses it: accept the terms at {endpoint()}/{address.repo}{how}"
    if isinstance(error, errors.RepositoryNotFoundError):
        how = "the account of your token cannot read it" if has_token else f"it is private: then {LOG_IN}"
        return f"{endpoint()} has no such repository, or {how}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"the repository has no branch, tag or commit {shown(address.revision)}"
    refusals = {
        401: f"{endpoint()} does not accept your token: {LOG_IN}",
        403: f"your token does not allow this: make one that may write, and {LOG_IN}",
    }
    if status is None or status >= 500:
        return ""
    return refusals.get(status, f"{endpoint()} answers with status {status}")
