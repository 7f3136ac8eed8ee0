"""Fingerprints of the data of a run: a run is resumed only on the data it was started with.

Labels and label embeddings are in memory and are hashed whenever a run starts. Features are hashed while the first
epoch reads them, which costs no reading; before a run is resumed they are all read once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...extractors.profiles import FeatureSpec
from ...models.denoising import NoiseRatios
from ..datasets.clips import SplitDataset
from ..errors import SetupError
from ..features.npy_folders import READ_THREADS, FeatureSource
from ..text import count_of, escape
from .recipe import Recipe

ADVICE = "restore them, or start a new run"
DIGEST_BYTES = 16  # of a clip's features
_READ_AHEAD = 64  # clips in memory while features are compared


class HashedFeatures:
    """Features that are hashed when they are first read; see `FeatureSource`.

    Attributes:
        spec: profile, extractors and widths of the features.
        frames: whether rows have all frames of a second.
    """

    def __init__(self, source: FeatureSource) -> None:
        """Wrap features.

        Args:
            source: what is read.
        """
        self.spec: FeatureSpec = source.spec
        self.frames: bool = source.frames
        self._source = source
        self._digests: dict[str, bytes] = {}

    def ids(self) -> frozenset[str]:
        """Return the ids of all clips that have features."""
        return self._source.ids()

    def lengths(self, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """Check the headers of clips; see `FeatureSource.lengths`."""
        return self._source.lengths(ids)

    def read(self, clip_id: str) -> NDArray[np.floating]:
        """Read the features of a clip; see `FeatureSource.read`."""
        rows = self._source.read(clip_id)
        if clip_id not in self._digests:
            self._digests[clip_id] = _hash_rows(rows)
        return rows

    def release(self) -> None:
        """Free the memory that reading has used."""
        self._source.release()

    def digests(self, ids: Sequence[str]) -> Tensor:
        """Return the hash of each clip; those that were not read yet are read now.

        Args:
            ids: of N clips.

        Returns:
            (N, 16) uint8.

        Raises:
            DatasetError: features cannot be read.
        """
        for clip_id in ids:
            if clip_id not in self._digests:
                self.read(clip_id)
        joined = b"".join(self._digests[clip_id] for clip_id in ids)
        return torch.frombuffer(bytearray(joined), dtype=torch.uint8).reshape(len(ids), DIGEST_BYTES)

    def exchange(self, gather: Callable[[dict[str, bytes]], list[dict[str, bytes]]]) -> None:
        """Add the hashes of clips that other processes have read, in the process that gathers them.

        Args:
            gather: called with the hashes of this process; returns those of all, or nothing.
        """
        for digests in gather(self._digests):
            self._digests |= digests

    def find_changed(
        self, ids: Sequence[str], expected: Tensor, progress: Callable[[int, int], None] = lambda *_: None
    ) -> list[int]:
        """Read all clips and compare their hashes.

        Args:
            ids: of N clips.
            expected: (N, 16) uint8, of `digests`.
            progress: called with the number of clips done and the total.

        Returns:
            Indices of the clips whose features have changed.

        Raises:
            DatasetError: features cannot be read.
        """
        changed: list[int] = []
        with ThreadPoolExecutor(READ_THREADS) as readers:
            for first in range(0, len(ids), _READ_AHEAD):
                block = ids[first : first + _READ_AHEAD]
                for index, rows in enumerate(readers.map(self._source.read, block), first):
                    digest = _hash_rows(rows)
                    self._digests[ids[index]] = digest
                    if digest != expected[index].numpy().tobytes():
                        changed.append(index)
                    progress(index + 1, len(ids))
                self._source.release()
        return changed


def _hash_rows(rows: NDArray[np.floating]) -> bytes:
    """Hash the values that training computes with, float32."""
    values = np.ascontiguousarray(rows, np.float32)
    digest = hashlib.sha256(f"{values.shape}\n".encode())
    digest.update(values.data)
    return digest.digest()[:DIGEST_BYTES]


def hash_data(
    labels: Sequence[str],
    clips: SplitDataset,
    validation: SplitDataset | None,
    label_embeddings: Tensor | None,
    noise: NoiseRatios | None = None,
) -> dict[str, str]:
    """Hash everything that a run is trained on except the features.

    Args:
        labels: class names.
        clips: of training.
        validation: clips that choose the best epoch; None for none.
        label_embeddings: (C, W), or None.
        noise: ratios by which labels are removed in each batch, or None.

    Returns:
        What it is, in the plural, for messages -> 32 hexadecimal digits.
    """
    hashes = {
        "classes": _hash_json(list(labels)),
        "feature specifications": _hash_json(clips.features.spec.to_dict()),
        "label embeddings": _hash_arrays(None if label_embeddings is None else label_embeddings.numpy()),
        "training clips": _hash_clips(clips),
    }
    if clips.events is not None:
        hashes["events of the training clips"] = _hash_arrays(*clips.events)
    else:
        hashes |= {
            "video labels of the training clips": _hash_arrays(clips.video_labels),
            "pseudo labels of the training clips": _hash_arrays(*(clips.labels or (None,))),
        }
    if clips.modality_labels is not None:
        hashes["labels of the modalities of the training clips"] = _hash_arrays(*clips.modality_labels)
    if noise is not None:
        hashes["noise ratios"] = _hash_arrays(*noise)
    if clips.soft is not None:
        hashes["scores of the training clips"] = _hash_arrays(*clips.soft)
    if validation is not None:
        annotated = validation.events or (validation.video_labels, *(validation.labels or (None,)))
        hashes |= {
            "validation clips": _hash_clips(validation),
            "labels of the validation clips": _hash_arrays(*annotated),
        }
    return hashes


def hash_recipe(recipe: Recipe) -> str:
    """Hash the settings of a recipe that epochs already trained depend on.

    Args:
        recipe: of a run; its number of epochs counts only where learning rates depend on it.

    Returns:
        32 hexadecimal digits.
    """
    settings: dict[str, Any] = recipe.to_dict()
    if recipe.training.schedule != "cosine":
        del settings["training"]["epochs"]
    return _hash_json(
        {table: settings[table] for table in ("task", "model", "objective", "training") if table in settings}
    )


def _hash_clips(clips: SplitDataset) -> str:
    return _hash_json([list(clips.filenames), clips.lengths.tolist()])


def _hash_json(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def _hash_arrays(*arrays: NDArray[Any] | None) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(f"{array.dtype} {array.shape}\n".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def check_features(
    root: Path, sets: Sequence[SplitDataset], hashes: Mapping[str, Tensor], progress: Callable[[int, int], None]
) -> None:
    """Compare all features with the hashes of the first epoch of a run.

    Args:
        root: folder of the run, for messages.
        sets: clips of each split, with `HashedFeatures`.
        hashes: split -> (N, 16) uint8.
        progress: called with the number of clips done and the total.

    Raises:
        SetupError: features have changed; the message names the clips.
        DatasetError: features cannot be read.
    """
    total, done = sum(map(len, sets)), 0
    for clips in sets:
        expected = hashes.get(clips.split)
        if expected is None or expected.shape != (len(clips), DIGEST_BYTES) or expected.dtype is not torch.uint8:
            raise SetupError(f"{escape(root)}: its state has no hashes of the features of {clips.split}")
        assert isinstance(clips.features, HashedFeatures)
        first = done
        indices = clips.features.find_changed(
            clips.ids, expected, lambda count, _, first=first: progress(first + count, total)
        )
        if indices:
            names = count_of([clips.filenames[index] for index in indices], "clip")
            raise SetupError(
                f"{escape(root)}: the features of {names} of the {clips.split} split are not those this run was"
                f" started with; {ADVICE}"
            )
        done += len(clips)


def gather_hashes(clips: SplitDataset, gather: Callable[[dict[str, bytes]], list[dict[str, bytes]]]) -> None:
    """Let one process know the hashes of all features that several have read; see `HashedFeatures.exchange`."""
    assert isinstance(clips.features, HashedFeatures)
    clips.features.exchange(gather)
