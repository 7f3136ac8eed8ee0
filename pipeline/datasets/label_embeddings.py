"""Label embeddings: one vector for each class, from a file or a text encoder.

NAME.pt, .pth                a dictionary of C vectors, named like the labels or in their order, as the published file
NAME.safetensors             C vectors that are named like the labels
NAME.npy                     (C, W)
NAME.txt, .vec               word vectors in GloVe's or word2vec's text form; a label is the mean of its words
one-hot                      orthogonal unit vectors, for class names without meaning
bert:MODEL, clip:MODEL       a text encoder of Hugging Face, by name or folder; needs the extra [text]
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...extractors.torchaudio_import import import_torchaudio
from ...models.config import MAX_WIDTH
from ...models.labels import stack_label_embeddings
from ...weights.errors import WeightsError
from ...weights.load import read_state_dict
from ...weights.messages import first_line, shown
from ..errors import SetupError
from ..features.npy_files import read_array
from ..files import is_file
from ..model_folders import check_model_folder, find_hub_fault
from ..text import escape
from ..text_files import stream_lines

_TENSOR_SUFFIXES = (".pt", ".pth", ".safetensors")
_TEXT_SUFFIXES = (".txt", ".vec")


def load_label_embeddings(source: str, labels: Sequence[str], *, offline: bool = False) -> Tensor:
    """Load or compute the embedding of each class name.

    Args:
        source: a file, "one-hot", "bert:MODEL" or "clip:MODEL"; see the head of this module.
        labels: C class names.
        offline: use only text encoders that are already downloaded.

    Returns:
        (C, W) float32 in the order of the labels, W the width of the source's vectors.

    Raises:
        SetupError: the source is unknown, unreadable, or does not fit the labels.
    """
    if source == "one-hot":
        return torch.eye(len(labels))
    kind, colon, model = source.partition(":")
    if colon and kind in _ENCODERS:
        return _checked(source, _encode(kind, model, labels, offline=offline), labels)
    path = Path(source)
    if not is_file(path):
        raise SetupError(f"{escape(source)}: no such file of label embeddings, nor one-hot, bert:MODEL or clip:MODEL")
    if path.suffix in _TENSOR_SUFFIXES:
        try:
            ordered = path.suffix != ".safetensors"
            return _checked(source, stack_label_embeddings(read_state_dict(path), labels, ordered=ordered), labels)
        except WeightsError as error:
            raise SetupError(str(error)) from error
        except ValueError as error:
            raise SetupError(f"{escape(path)}: {error}") from error
    if path.suffix == ".npy":
        array = read_array(path)
        if array.dtype.kind != "f":
            raise SetupError(f"{escape(path)}: holds {array.dtype}, expected floating-point numbers")
        _check_shape(source, array.shape, labels)
        with np.errstate(over="ignore"):  # infinity is refused
            return _checked(source, torch.from_numpy(array.astype(np.float32)), labels)
    if path.suffix in _TEXT_SUFFIXES:
        return _checked(source, _average_words(path, labels), labels)
    known = ", ".join((*_TENSOR_SUFFIXES, ".npy", *_TEXT_SUFFIXES))
    raise SetupError(f"{escape(path)}: label embeddings are read from {known}")


def label_words(label: str) -> list[str]:
    """Split a class name into lower-case words: `Frying_(food)` -> frying, food."""
    return re.findall(r"[^\W_]+", label.lower())


def _checked(source: str, vectors: Tensor, labels: Sequence[str]) -> Tensor:
    _check_shape(source, vectors.shape, labels)
    if not vectors.isfinite().all():
        raise SetupError(f"{escape(source)}: holds values that are not finite, expected ({len(labels)}, W)")
    return vectors


def _check_shape(source: str, shape: Sequence[int], labels: Sequence[str]) -> None:
    if len(shape) != 2 or shape[0] != len(labels) or not 1 <= shape[1] <= MAX_WIDTH:
        found = shown(tuple(shape))
        raise SetupError(f"{escape(source)}: holds {found}, expected ({len(labels)}, W), W at most {MAX_WIDTH}")


def _average_words(path: Path, labels: Sequence[str]) -> Tensor:
    """Average the word vectors of each label; reading ends with the last word that the labels need."""
    if wordless := [label for label in labels if not label_words(label)]:
        raise SetupError(f"no words in {', '.join(map(escape, wordless))}; use one-hot instead of word vectors")
    words = {word for label in labels for word in label_words(label)}
    vectors: dict[str, np.ndarray] = {}
    try:
        for line in stream_lines(path):
            word, _, numbers = line.rstrip().partition(" ")
            if word in words and word not in vectors:
                vectors[word] = _word_vector(numbers)
                if len(vectors) == len(words):
                    break
    except ValueError as error:
        raise SetupError(f"{escape(path)}: not a file of word vectors: {first_line(error)}") from error
    if missing := sorted(words - set(vectors)):
        raise SetupError(f"{escape(path)}: has no vector for {', '.join(map(escape, missing))}")
    if len({vector.shape for vector in vectors.values()}) != 1:
        raise SetupError(f"{escape(path)}: its vectors are not all of one width")
    means = [np.mean([vectors[word] for word in label_words(label)], axis=0) for label in labels]
    return torch.from_numpy(np.stack(means))


def _word_vector(numbers: str) -> np.ndarray:
    values = numbers.split()
    if len(values) > MAX_WIDTH:
        raise ValueError(f"a vector has {len(values)} numbers, more than {MAX_WIDTH}")
    return np.array(values, np.float32)


def _bert(transformers: Any, model: str, texts: Sequence[str], options: dict[str, Any]) -> Tensor:
    """Average the last layer over the tokens of each text, including [CLS] and [SEP]."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model, **options)
    encoder = transformers.AutoModel.from_pretrained(model, use_safetensors=True, **options).eval()
    tokens = tokenizer(list(texts), padding=True, return_tensors="pt")
    hidden = encoder(**tokens).last_hidden_state
    mask = tokens["attention_mask"].unsqueeze(-1)
    return (hidden * mask).sum(1) / mask.sum(1)


def _clip(transformers: Any, model: str, texts: Sequence[str], options: dict[str, Any]) -> Tensor:
    """Return the projected text embeddings, which CLIP compares with images."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model, **options)
    kind = transformers.CLIPTextModelWithProjection
    encoder = kind.from_pretrained(model, use_safetensors=True, **options).eval()
    return encoder(**tokenizer(list(texts), padding=True, return_tensors="pt")).text_embeds


_ENCODERS: dict[str, Callable[[Any, str, Sequence[str], dict[str, Any]], Tensor]] = {"bert": _bert, "clip": _clip}


def _encode(kind: str, model: str, labels: Iterable[str], *, offline: bool) -> Tensor:
    name = f"{kind}:{escape(model)}"
    import_torchaudio()
    try:
        import transformers
    except ImportError as error:
        raise SetupError(f"{name} needs transformers; install it with: pip install 'avvp[text]'") from error
    texts = [" ".join(label_words(label)) for label in labels]
    fault = "" if offline else find_hub_fault(model)
    options = {"local_files_only": offline or bool(fault), "trust_remote_code": False}
    check_model_folder(Path(model))
    try:
        with torch.inference_mode():
            return _ENCODERS[kind](transformers, model, texts, options).float().clone()
    except Exception as error:  # files that do not fit raise errors of any kind in transformers
        raise SetupError(f"{name}: cannot be loaded: {fault or first_line(error)}") from error
