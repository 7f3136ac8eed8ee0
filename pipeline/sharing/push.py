"""Upload a bundle to a repository of a hub: its own weight files, bundle.toml with their hashes, a model card."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...extractors.texts.tokenizer_files import check_tokenizer
from ...weights.errors import WeightsError
from ...weights.locate import sha256_of
from ...weights.manifest import (
    BUNDLE_FILE,
    MAX_TOKENS_FILE,
    Bundle,
    format_bundle,
    list_files,
    read_named_bundle,
)
from ...weights.messages import shown
from ...weights.remote.bundles import HUB_SUFFIX
from ...weights.remote.hub import DEFAULT_REVISION, LOG_IN, HubAddress, ask, library, list_hub_files, resolve_commit
from ...weights.remote.pace import MAX_SECONDS
from ...weights.safe_paths import is_file
from ...weights.tensor_files import check_tensor_file
from ...weights.toml import read_toml
from ...weights.unicode import read_bytes
from ..errors import SetupError
from ..files import exclusive_lock
from ..open_vocabulary.classes import read_vocabulary
from ..text import escape
from .model_card import CARD_FILE, format_card, read_scores

MAX_MESSAGE = 500  # characters of a commit's message


@dataclass(frozen=True)
class Upload:
    """What is uploaded where."""

    address: HubAddress
    files: dict[str, Path]  # name in the bundle -> weight file
    texts: dict[str, str]  # bundle.toml and the card
    size: int  # bytes of the weight files


@dataclass(frozen=True)
class Pushed:
    """A commit of a hub that holds an upload."""

    commit: str
    page: str  # address for a browser
    kept_card: bool  # whether the repository's own card was kept


def _own_files(bundle: Bundle, root: Path) -> dict[str, Path]:
    """Return the files of a bundle's folder, checked. Raises SetupError, WeightsError."""
    files: dict[str, Path] = {}
    for name in dict.fromkeys(bundle.files):
        path = root / name
        if not is_file(path):
            if name in list_files():
                continue  # whoever loads the bundle gets it from its publisher
            raise SetupError(f"{escape(path)}: no such file, but the bundle names it; has the run an epoch yet?")
        if bundle.most_bytes(name) is not None:
            _check_text(bundle, name, path)
        elif not name.endswith(HUB_SUFFIX):
            raise SetupError(f"{escape(path)}: not a file of safetensors; others are not read from a hub")
        else:
            check_tensor_file(path)
        files[name] = path
    return files


def _check_text(bundle: Bundle, name: str, path: Path) -> None:
    """Raise SetupError unless a file of thresholds, classes or tokens can be read from a hub."""
    if name == bundle.parser.get("classes"):
        read_vocabulary(f"@{path}")
        return
    is_tokens = name in bundle.texts.values()
    try:
        if is_tokens:
            check_tokenizer(read_bytes(path, limit=MAX_TOKENS_FILE))
        else:
            read_toml(path)
    except ValueError as error:
        kind = "tokens" if is_tokens else "thresholds"
        raise SetupError(f"{escape(path)}: not a readable file of {kind}: {error}") from error


@contextlib.contextmanager
def plan_upload(
    folder: str, address: HubAddress, *, licence: str | None = None, scores: Sequence[Path] = ()
) -> Iterator[Upload]:
    """Collect what is to be uploaded; until the end of the block no training changes it.

    Args:
        folder: of a run or a bundle, or the name of one that is shipped with the program.
        address: a branch of a repository.
        licence: identifier of the licence of the weights; None if none is stated.
        scores: JSON of `avvp evaluate` on this bundle.

    Yields:
        The upload; nothing is sent.

    Raises:
        SetupError: a file is missing or cannot be shared, a process trains in the folder, or scores are of another
            bundle.
        WeightsError: there is no such bundle, or a weight file is damaged.
    """
    if address.is_pinned or address.revision.startswith("refs/"):
        raise SetupError(f"{address}: a push goes to a branch, not to a commit or a pull request")
    bundle = read_named_bundle(folder)
    root = bundle.root
    if root is None:
        raise SetupError(f"bundle {shown(bundle.name)} has no files of its own; name the folder of a run or a bundle")
    with exclusive_lock(root):
        files = _own_files(bundle, root)
        size = sum(path.stat().st_size for path in files.values())
        shared = replace(bundle, sha256={name: sha256_of(path) for name, path in files.items()})
        measured = [read_scores(path, bundle) for path in scores]
        card = format_card(bundle, address, size=size, licence=licence, scores=measured)
        yield Upload(address, files, {BUNDLE_FILE: format_bundle(shared), CARD_FILE: card}, size)


def push(
    upload: Upload,
    *,
    private: bool = False,
    message: str = "",
    replace_card: bool = False,
    show_progress: bool = False,
) -> Pushed:
    """Make the repository and the branch where they are missing, and upload everything in one commit.

    Args:
        upload: of `plan_upload`, in its block.
        private: make the repository a private one.
        message: of the commit; empty for the default.
        replace_card: replace a README.md that the repository has.
        show_progress: show the library's bars on standard error.

    Returns:
        The commit.

    Raises:
        WeightsError: no token, no network, the hub refuses, or the repository is public and must be private.
    """
    address, hub = upload.address, library()
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    (enable_progress_bars if show_progress else disable_progress_bars)()
    if hub.get_token() is None:
        raise WeightsError(f"{address}: an upload needs a token: {LOG_IN}")
    ask(address, lambda client: client.create_repo(address.repo, private=private, exist_ok=True))
    facts = ask(address, lambda client: client.model_info(address.repo))
    if private and not facts.private:
        raise WeightsError(f"{address}: the repository exists and is public; leave out --private or change it there")
    if address.revision != DEFAULT_REVISION:
        ask(address, lambda client: client.create_branch(address.repo, branch=address.revision, exist_ok=True))
    commit = resolve_commit(address)
    kept = not replace_card and CARD_FILE in list_hub_files(address, commit, [CARD_FILE])
    contents: dict[str, Any] = {**{name: text.encode() for name, text in upload.texts.items()}, **upload.files}
    if kept:
        del contents[CARD_FILE]
    operations = [hub.CommitOperationAdd(address.path(name), content) for name, content in contents.items()]
    summary = (message or "Upload a bundle of avvp").strip()[:MAX_MESSAGE]
    done = ask(
        address,
        lambda client: client.create_commit(
            address.repo, operations, commit_message=summary, revision=address.revision, parent_commit=commit
        ),
        seconds=MAX_SECONDS,
    )
    return Pushed(done.oid, done.commit_url, kept)
