"""Embeddings of sentences in the cache: another run with the same list encodes nothing, and no file can stop it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from avvp.extractors.texts.registry import untrained_text_encoder
from avvp.pipeline.open_vocabulary import text_memory
from avvp.pipeline.open_vocabulary.text_memory import RememberedTexts, TextMemory, text_key
from torch import Tensor

KEY = text_key("clip", "a" * 64, "b" * 64)
LISTS = (["a dog", "rain"], ["rain", "applause", "a dog"])


class Counting:
    """Text encoder that counts the sentences that it encodes."""

    def __init__(self) -> None:
        self.inner = untrained_text_encoder("clip_tiny", 3)
        self.dim, self.max_tokens = self.inner.dim, self.inner.max_tokens
        self.encoded: list[str] = []

    def encode(self, sentences: Sequence[str]) -> Tensor:
        self.encoded += sentences
        return self.inner.encode(sentences)

    def count_tokens(self, sentences: Sequence[str]) -> list[int]:
        return self.inner.count_tokens(sentences)


def never() -> Counting:
    raise AssertionError("the text encoder is loaded")


@pytest.fixture
def memory(tmp_path: Path) -> TextMemory:
    return TextMemory(tmp_path / "cache" / "texts.sqlite")


def test_sentences_are_encoded_once(memory: TextMemory) -> None:
    encoder = Counting()
    first = RememberedTexts(KEY, lambda: encoder, memory).encode(LISTS[0])
    RememberedTexts(KEY, lambda: encoder, memory).encode(LISTS[1])
    assert encoder.encoded == ["a dog", "rain", "applause"]
    again = RememberedTexts(KEY, never, memory)
    assert torch.equal(again.encode(LISTS[0]), first)
    assert torch.equal(again.encode(LISTS[1]), encoder.inner.encode(LISTS[1]))
    assert again.count_tokens(LISTS[1]) == encoder.count_tokens(LISTS[1])
    assert (again.dim, again.max_tokens) == (12, 77)
    assert again.encode([]).shape == (0, 12)


def test_encoders_do_not_share_sentences(memory: TextMemory) -> None:
    RememberedTexts(KEY, Counting, memory).encode(LISTS[0])
    other = Counting()
    RememberedTexts(text_key("clip", "c" * 64, "b" * 64), lambda: other, memory).encode(LISTS[0])
    assert other.encoded == LISTS[0]


def test_the_least_recently_used_are_removed(tmp_path: Path) -> None:
    memory = TextMemory(tmp_path / "texts.sqlite", limit=3)
    texts = RememberedTexts(KEY, Counting, memory)
    for sentence in ("one", "two", "three"):
        texts.encode([sentence])
    RememberedTexts(KEY, never, memory).encode(["one"])
    texts.encode(["four"])
    assert set(memory.read(KEY, ["one", "two", "three", "four"])) == {"one", "three", "four"}


def spoil_row(path: Path) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE sentences SET embedding = x'00'")
    database.close()


SPOILED: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_bytes(b"no database " * 100),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]),
    "a row": spoil_row,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("kind", SPOILED)
def test_a_spoiled_file_costs_only_time(memory: TextMemory, kind: str) -> None:
    expected = RememberedTexts(KEY, Counting, memory).encode(LISTS[0])
    SPOILED[kind](memory.path)
    for _ in range(2):
        assert torch.equal(RememberedTexts(KEY, Counting, memory).encode(LISTS[0]), expected)
    if kind != "a folder":
        RememberedTexts(KEY, never, memory).encode(LISTS[0])


def test_a_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    memory = TextMemory(tmp_path / "cache" / "texts.sqlite")
    assert RememberedTexts(KEY, Counting, memory).encode(LISTS[0]).shape == (2, 12)


def test_a_process_that_writes_for_long_costs_only_time(memory: TextMemory, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = RememberedTexts(KEY, Counting, memory).encode(LISTS[0])
    monkeypatch.setattr(text_memory, "_WAIT", 0.01)
    monkeypatch.setattr(text_memory, "_ASKED", 1)  # sentences in a question
    with contextlib.closing(sqlite3.connect(memory.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert torch.equal(RememberedTexts(KEY, never, memory).encode(LISTS[0]), expected)
        assert RememberedTexts(KEY, Counting, memory).encode(LISTS[1]).shape == (3, 12)
        other.rollback()
        other.execute("BEGIN EXCLUSIVE")
        assert torch.equal(RememberedTexts(KEY, Counting, memory).encode(LISTS[0]), expected)


def fill(path: Path, name: str) -> None:
    memory = TextMemory(path)
    for index in range(20):
        memory.write(KEY, (2, None), {f"{name} {index}": (1, torch.ones(2))})


def test_writers_do_not_lose_what_others_write(tmp_path: Path) -> None:
    """Each has a connection of its own, as processes do."""
    path = tmp_path / "texts.sqlite"
    threads = [threading.Thread(target=fill, args=(path, name)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    names = [f"{name} {index}" for name in "abc" for index in range(20)]
    assert set(TextMemory(path).read(KEY, names)) == set(names)
