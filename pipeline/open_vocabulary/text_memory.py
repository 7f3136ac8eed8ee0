"""Embeddings of sentences in the user's cache folder, so that a list of classes is encoded once.

<cache>/avvp/texts.sqlite   a table of text encoders, and one of the embeddings of sentences

SQLite writes what a call adds whole or not at all, and lets several processes do so. A file that cannot be used costs
only the time to encode the sentences again.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import platformdirs
import torch
from torch import Tensor

from ...extractors.texts.base import TextEncoder

if TYPE_CHECKING:
    import sqlite3

MAX_SENTENCES = 100_000  # of all text encoders: 300 MB at a width of 768
_FORMAT = 1  # of the tables, and of how sentences are encoded
_WAIT = 2.0  # seconds for another process that writes
_ASKED = 500  # sentences in one question to SQLite
_TABLES = """
    CREATE TABLE IF NOT EXISTS encoders (key TEXT PRIMARY KEY, dim INTEGER, max_tokens INTEGER);
    CREATE TABLE IF NOT EXISTS sentences (
        key TEXT, sentence BLOB, tokens INTEGER, embedding BLOB, used REAL, PRIMARY KEY (key, sentence)
    ) WITHOUT ROWID;
"""


def text_key(*facts: str) -> str:
    """Return the key of a text encoder.

    Args:
        *facts: its name, and the hashes of its parameters and of its tokens.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256("\0".join((str(_FORMAT), *facts)).encode()).hexdigest()


class TextMemory:
    """File of embeddings of sentences. Several processes may use it at the same time.

    Args:
        path: of the file, created when something is written; None is that in the user's cache.
        limit: sentences that are kept; those that were not used for longest are removed first.
    """

    def __init__(self, path: Path | None = None, *, limit: int = MAX_SENTENCES) -> None:
        self.path = path or Path(platformdirs.user_cache_dir("avvp")) / "texts.sqlite"
        self.limit = limit

    def facts(self, key: str) -> tuple[int, int | None] | None:
        """Return the width and the most tokens of a text encoder; None if nothing is known of it."""
        with self._opened() as database:
            if database is not None:
                row = database.execute("SELECT dim, max_tokens FROM encoders WHERE key = ?", (key,)).fetchone()
                if row is not None and type(row[0]) is int and row[0] > 0 and type(row[1]) in {int, type(None)}:
                    return row
        return None

    def read(self, key: str, sentences: Sequence[str]) -> dict[str, tuple[int, Tensor]]:
        """Look for sentences.

        Args:
            key: of `text_key`.
            sentences: any number.

        Returns:
            Sentence -> its tokens and its embedding (D,) float32, of those that are known.
        """
        names = {_digest(sentence): sentence for sentence in sentences}
        found: dict[str, tuple[int, Tensor]] = {}
        facts = self.facts(key)
        if facts is None:
            return found
        with self._opened() as database:
            if database is None:
                return found
            asked = [*names]
            for first in range(0, len(asked), _ASKED):
                some = asked[first : first + _ASKED]
                marks = ",".join("?" * len(some))
                question = f"SELECT sentence, tokens, embedding FROM sentences WHERE key = ? AND sentence IN ({marks})"  # noqa: S608 - question marks
                rows = database.execute(question, (key, *some)).fetchall()
                found |= {names[name]: (tokens, _row(values, facts[0])) for name, tokens, values in rows}
            # Last, because a process that writes may forbid it.
            used = [(time.time(), key, name) for name in asked if names[name] in found]
            database.executemany("UPDATE sentences SET used = ? WHERE key = ? AND sentence = ?", used)
        return found

    def write(self, key: str, facts: tuple[int, int | None], sentences: dict[str, tuple[int, Tensor]]) -> None:
        """Keep sentences, and remove the least recently used ones beyond the limit.

        Args:
            key: of `text_key`.
            facts: width and most tokens of the text encoder.
            sentences: sentence -> its tokens and its embedding (D,) float32.
        """
        now = time.time()
        rows = [
            (key, _digest(sentence), tokens, embedding.numpy().astype("<f4").tobytes(), now)
            for sentence, (tokens, embedding) in sentences.items()
        ]
        with self._opened(create=True) as database:
            if database is None:
                return
            database.execute("INSERT OR REPLACE INTO encoders VALUES (?, ?, ?)", (key, *facts))
            database.executemany("INSERT OR REPLACE INTO sentences VALUES (?, ?, ?, ?, ?)", rows)
            (count,) = database.execute("SELECT COUNT(*) FROM sentences").fetchone()
            if count > self.limit:
                database.execute(
                    "DELETE FROM sentences WHERE (key, sentence) IN"
                    " (SELECT key, sentence FROM sentences ORDER BY used LIMIT ?)",
                    (count - self.limit,),
                )

    @contextlib.contextmanager
    def _opened(self, *, create: bool = False) -> Iterator[sqlite3.Connection | None]:
        """Open the file for one transaction; None where it cannot be. Errors of the file end the context in silence."""
        database = self._begin(create=create)
        if database is None:
            yield None
            return
        with contextlib.suppress(Exception), contextlib.closing(database), self._removed_if_damaged(), database:
            yield database

    def _begin(self, *, create: bool) -> sqlite3.Connection | None:
        """Open the file and begin a transaction, one that writes if the file may be created; None where it cannot."""
        if not create and not self.path.is_file():
            return None
        with contextlib.suppress(Exception), self._removed_if_damaged():
            import sqlite3  # which a Python may have been built without

            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as stack:
                database = stack.enter_context(contextlib.closing(sqlite3.connect(self.path, timeout=_WAIT)))
                database.executescript(_TABLES)
                database.execute("BEGIN IMMEDIATE" if create else "BEGIN")
                stack.pop_all()
                return database
        return None

    @contextlib.contextmanager
    def _removed_if_damaged(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if type(error).__name__ == "DatabaseError":  # the errors of a full disk and of a lock are subclasses
                self.path.unlink(missing_ok=True)
            raise


class RememberedTexts:
    """Text encoder that is loaded only for sentences that it has not encoded before.

    Args:
        key: of `text_key`.
        load: returns the encoder, on the CPU.
        memory: where embeddings are kept.
    """

    def __init__(self, key: str, load: Callable[[], TextEncoder], memory: TextMemory | None = None) -> None:
        self._key, self._load, self._memory = key, load, memory or TextMemory()
        self._encoder: TextEncoder | None = None
        self._facts = self._memory.facts(key)
        self._known: dict[str, tuple[int, Tensor]] = {}

    @property
    def dim(self) -> int:
        """Width of an embedding."""
        return self._described()[0]

    @property
    def max_tokens(self) -> int | None:
        """Tokens that are read of a sentence; None where all are."""
        return self._described()[1]

    def encode(self, sentences: Sequence[str]) -> Tensor:
        """Return (N, dim) float32 embeddings of length 1."""
        self._learn(sentences)
        rows = torch.zeros(len(sentences), self.dim)
        for place, sentence in enumerate(sentences):
            rows[place] = self._known[sentence][1]
        return rows

    def count_tokens(self, sentences: Sequence[str]) -> list[int]:
        """Return how many tokens each sentence has, its marks included."""
        self._learn(sentences)
        return [self._known[sentence][0] for sentence in sentences]

    def _learn(self, sentences: Sequence[str]) -> None:
        unknown = [sentence for sentence in dict.fromkeys(sentences) if sentence not in self._known]
        if self._facts is not None and unknown:
            self._known |= self._memory.read(self._key, unknown)
            unknown = [sentence for sentence in unknown if sentence not in self._known]
        if unknown:
            encoder = self._loaded()
            new = dict(
                zip(unknown, zip(encoder.count_tokens(unknown), encoder.encode(unknown), strict=True), strict=True)
            )
            self._known |= new
            self._memory.write(self._key, self._described(), new)

    def _described(self) -> tuple[int, int | None]:
        if self._facts is None:
            encoder = self._loaded()
            self._facts = (encoder.dim, encoder.max_tokens)
        return self._facts

    def _loaded(self) -> TextEncoder:
        if self._encoder is None:
            self._encoder = self._load()
        return self._encoder


def _digest(sentence: str) -> bytes:
    return hashlib.sha256(sentence.encode("utf-8", "surrogatepass")).digest()


def _row(values: Any, dim: int) -> Tensor:
    """Return a kept embedding. Raises ValueError if it is none."""
    row = np.frombuffer(values, "<f4").astype(np.float32)
    if len(row) != dim or not np.isfinite(row).all():
        raise ValueError("not an embedding")
    return torch.from_numpy(row)
