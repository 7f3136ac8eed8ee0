"""Label embeddings from every kind of source."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.extractors.torchaudio_import import import_torchaudio
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.label_embeddings import label_words, load_label_embeddings
from avvp.pipeline.errors import SetupError
from avvp.weights import find_file, list_files
from safetensors.torch import save_file
from support.golden import LLP, load_npz, needs_golden

LABELS = ("Dog", "Frying_(food)", "Baby_cry_infant_cry")


def test_words_of_a_label() -> None:
    assert label_words("Frying_(food)") == ["frying", "food"]
    assert label_words("Baby_cry_infant_cry") == ["baby", "cry", "infant", "cry"]


@needs_golden
def test_load_label_embeddings_golden() -> None:
    vectors = load_label_embeddings(str(LLP / "llp_label_glove_embeddings.pt"), LLP_LABELS)
    np.testing.assert_array_equal(vectors.numpy(), load_npz("leap_official.npz")["label_embeddings"])


def shipped_vectors() -> torch.Tensor:
    path = find_file(list_files()["llp_glove"])
    assert path is not None
    return load_label_embeddings(str(path), LLP_LABELS)


@needs_golden
def test_the_shipped_vectors_are_the_published_ones() -> None:
    published = load_label_embeddings(str(LLP / "llp_label_glove_embeddings.pt"), LLP_LABELS)
    assert torch.equal(shipped_vectors(), published)


def test_the_shipped_vectors_are_those_of_the_labels() -> None:
    """Dog is nearest to cat, cello to the violin: the vectors are there, and in the order of the labels."""
    vectors = torch.nn.functional.normalize(shipped_vectors())
    assert vectors.shape == (25, 300)
    similarities = (vectors @ vectors.T).fill_diagonal_(0)
    nearest = {label: LLP_LABELS[int(row.argmax())] for label, row in zip(LLP_LABELS, similarities, strict=True)}
    assert (nearest["Dog"], nearest["Cat"], nearest["Cello"]) == ("Cat", "Dog", "Violin_fiddle")
    assert nearest["Baby_laughter"] == "Baby_cry_infant_cry"


def test_numpy_file(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", np.arange(6.0).reshape(3, 2))
    vectors = load_label_embeddings(str(tmp_path / "v.npy"), LABELS)
    assert vectors.dtype == torch.float32
    assert vectors.tolist() == [[0, 1], [2, 3], [4, 5]]


GLOVE = "the 9 9\nfood 1 1\ndog 1 2\nfrying 3 5\nbaby 4 0\ninfant 0 4\ncry 2 2\nnonsense x y\n"


def test_word_vectors_are_averaged_and_reading_ends_with_the_last_word(tmp_path: Path) -> None:
    """The line after the last wanted word is not even numbers."""
    (tmp_path / "glove.txt").write_text(GLOVE)
    vectors = load_label_embeddings(str(tmp_path / "glove.txt"), LABELS)
    assert vectors.tolist() == [[1, 2], [2, 3], [2, 2]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.txt", "dog 1 2\nfood 1 1\nfrying 1 1\nbaby 1 1\ninfant 1 1\n", "has no vector for cry"),
        ("v.txt", GLOVE.replace("food 1 1", "food 1"), "not all of one width"),
        ("v.txt", GLOVE.replace("food 1 1", "food 1 x"), "not a file of word vectors"),
        ("v.txt", GLOVE.replace("food 1 1", f"food {'x' * 100_000} 1"), "not a file of word vectors"),
        ("v.txt", GLOVE.replace("food 1 1", "food nan 1"), "not finite"),
        ("v.txt", GLOVE.replace("food 1 1", "food 1e999 1"), "not finite"),
        ("v.txt", "".join(f"{word} {'1 ' * 70_000}\n" for word in GLOVE.split()), "a vector has 70000 numbers"),
        ("v.npy", b"nothing", "not a .npy file"),
        ("v.pt", b"nothing", "damaged, or not a weight file"),
        ("v.csv", b"", "label embeddings are read from .pt"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(SetupError) as error:
        load_label_embeddings(str(tmp_path / name), LABELS)
    assert message in str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 5)), r"holds \(2, 5\), expected \(3, W\)"),
        (np.zeros(3), r"holds \(3,\), expected \(3, W\)"),
        (np.full((3, 2), np.nan), "not finite"),
        (np.zeros((3, 2), int), "holds int64"),
        (np.zeros((3, 2), complex), "holds complex128"),
        (np.zeros((3, 0)), r"holds \(3, 0\)"),
        (np.zeros((3, 70_000), np.float16), "W at most 65536"),
        (np.full((3, 2), 1e300), "not finite"),
        (np.full((3, 2), np.inf, np.float32), "not finite"),
        (np.zeros((3, 2, 2)), r"holds \(3, 2, 2\)"),
        (np.float64(3), "holds"),
    ],
)
def test_arrays_of_another_shape(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "v.npy", array)
    with pytest.raises(SetupError, match=message):
        load_label_embeddings(str(tmp_path / "v.npy"), LABELS)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (torch.zeros(4, dtype=torch.int64), "floating-point numbers"),
        (torch.zeros(4, dtype=torch.bool), "floating-point numbers"),
        (torch.zeros(4, dtype=torch.complex64), "not parameters|do not need"),
        (torch.full((4,), float("nan")), "not finite"),
        (torch.zeros(5), "of equal width"),
    ],
)
def test_tensors_that_are_no_vectors(tmp_path: Path, suffix: str, vector: torch.Tensor, message: str) -> None:
    vectors = {"a": vector, "b": torch.ones(4), "c": torch.ones(4)}
    path = tmp_path / f"v.{suffix}"
    torch.save(vectors, path) if suffix == "pt" else save_file(vectors, path)
    with pytest.raises(SetupError, match=message):
        load_label_embeddings(str(path), LABELS)


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_vectors_with_the_names_of_the_labels_are_matched_by_name(tmp_path: Path, suffix: str) -> None:
    """A .safetensors file is sorted by name, and read in any order."""
    vectors = {label: torch.full((2,), float(place)) for place, label in enumerate(LABELS)}
    path = tmp_path / f"v.{suffix}"
    reverse = dict(reversed(vectors.items()))
    torch.save(reverse, path) if suffix == "pt" else save_file(reverse, path)
    assert load_label_embeddings(str(path), LABELS)[:, 0].tolist() == [0, 1, 2]


def test_vectors_without_names_or_order_are_refused(tmp_path: Path) -> None:
    save_file({"1": torch.ones(2), "2": torch.zeros(2), "3": torch.ones(2)}, tmp_path / "v.safetensors")
    with pytest.raises(SetupError, match="must be named like the classes"):
        load_label_embeddings(str(tmp_path / "v.safetensors"), LABELS)


def test_unknown_sources_are_refused() -> None:
    with pytest.raises(SetupError, match="no such file of label embeddings, nor one-hot, bert:MODEL or clip:MODEL"):
        load_label_embeddings("nowhere.pt", LABELS)


TINY_SIZES: dict[str, Any] = {
    "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8,
}  # fmt: skip


def tiny_bert(folder: Path) -> None:
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog", "frying", "food", "baby", "cry", "infant"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), **TINY_SIZES)).save_pretrained(folder)


def tiny_clip(folder: Path) -> None:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    vocabulary = {token: index for index, token in enumerate([*letters, *(f"{x}</w>" for x in letters)])}
    vocabulary |= {"<|startoftext|>": len(vocabulary), "<|endoftext|>": len(vocabulary) + 1}
    folder.mkdir()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    size = len(vocabulary)
    config = CLIPTextConfig(
        vocab_size=size, bos_token_id=size - 2, eos_token_id=size - 1, projection_dim=6, **TINY_SIZES
    )  # fmt: skip
    CLIPTextModelWithProjection(config).save_pretrained(folder)


@pytest.mark.filterwarnings("ignore")  # of transformers' own making
@pytest.mark.parametrize(("kind", "make", "width"), [("bert", tiny_bert, 8), ("clip", tiny_clip, 6)])
def test_text_encoders(tmp_path: Path, kind: str, make: Callable[[Path], None], width: int) -> None:
    """Models of the real classes, tiny and random, from a folder: nothing is downloaded."""
    import_torchaudio()
    pytest.importorskip("transformers")
    make(tmp_path / "model")
    vectors = load_label_embeddings(f"{kind}:{tmp_path / 'model'}", LABELS, offline=True)
    assert vectors.shape == (3, width)
    assert vectors.isfinite().all()
    assert not torch.allclose(vectors[0], vectors[1])
    alone = load_label_embeddings(f"{kind}:{tmp_path / 'model'}", LABELS[:1], offline=True)
    torch.testing.assert_close(vectors[:1], alone, atol=1e-5, rtol=0)  # padding has no part in it


@pytest.mark.filterwarnings("ignore")
def test_missing_model_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(SetupError, match="cannot be loaded"):
        load_label_embeddings(f"bert:{tmp_path / 'nowhere'}", LABELS, offline=True)


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SetupError, match=r"pip install 'avvp\[text\]'"):
        load_label_embeddings("bert:bert-base-uncased", LABELS)
