"""A split ready for training or scoring: its clips, their features and their labels, all checked beforehand."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.losses import Targets
from ..errors import DatasetError
from ..features.npy_folders import FeatureSource
from ..text import escape
from ..timeline import SegmentLabels
from .annotations import Annotations, DatasetSplit
from .pseudo_labels import check_record, read_pseudo_labels

_CLIP_NAME = re.compile(r"(.+)_\d+_\d+")  # <id>_<start>_<end>


class Batch(NamedTuple):
    """B clips, padded to the longest of them. Features are float32."""

    audio: Tensor  # (B, T, A)
    visual_2d: Tensor  # (B, T, V), the mean of each second's frames
    visual_3d: Tensor  # (B, T, S)
    lengths: Tensor | None  # (B,), None where all are T
    targets: Targets
    filenames: tuple[str, ...]

    def map_tensors(self, move: Callable[[Tensor], Tensor]) -> Batch:
        """The same batch with every tensor put elsewhere."""
        video, heard, seen = self.targets
        targets = Targets(move(video), *(None if part is None else move(part) for part in (heard, seen)))
        lengths = None if self.lengths is None else move(self.lengths)
        features = (move(part) for part in (self.audio, self.visual_2d, self.visual_3d))
        return Batch(*features, lengths=lengths, targets=targets, filenames=self.filenames)

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        return self.map_tensors(lambda tensor: tensor.to(device, non_blocking=True))


@dataclass(frozen=True, eq=False)
class SplitDataset:
    """N clips of one split. The segment labels are the truth of val and test, the pseudo labels of train, or None."""

    split: str
    filenames: tuple[str, ...]
    ids: tuple[str, ...]  # names of their features
    lengths: NDArray[np.int64]  # (N,) seconds
    video_labels: NDArray[np.bool_]  # (N, C)
    features: FeatureSource
    labels: SegmentLabels | None = None  # (N, T, C), padded with False

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def segment_labels(self) -> SegmentLabels:
        """(N, T, C) labels. Raises ValueError where the clips have none."""
        if self.labels is None:
            raise ValueError(f"the clips of {self.split} have no labels by second")
        return self.labels

    def batch(self, chosen: Sequence[int] | NDArray[np.int64]) -> Batch:
        """The clips of these indices. Raises DatasetError for features that cannot be read after all."""
        lengths = self.lengths[np.asarray(chosen)]
        longest = int(lengths.max())
        dims = self.features.spec.dims
        # Filled by numpy: torch would start threads of its own in each thread that reads ahead.
        rows = np.zeros((len(chosen), longest, sum(dims)), np.float32)
        for row, index in zip(rows, chosen, strict=True):
            found = self.features.read(self.ids[index])
            row[: len(found)] = found
        audio, visual_2d, visual_3d = torch.from_numpy(rows).split(list(dims), dim=-1)
        even = bool((lengths == longest).all())
        return Batch(
            audio,
            visual_2d,
            visual_3d,
            None if even else torch.from_numpy(lengths),
            Targets(
                torch.from_numpy(self.video_labels[chosen].astype(np.float32)),
                *(_label_tensor(table, chosen, longest) for table in self.labels or (None, None)),
            ),
            tuple(self.filenames[index] for index in chosen),
        )


def load_clips(
    annotations: Annotations, split: str, features: FeatureSource, *, pseudo_labels: Path | None = None
) -> SplitDataset:
    """A split with its features: pseudo labels on train where a folder is given, the truth on val and test.

    Raises DatasetError listing every missing or misshapen file. Pseudo labels for val or test are a ValueError: they
    were made with the answers.
    """
    chosen = annotations.split(split)
    if pseudo_labels is not None and split != "train":
        raise ValueError(f"pseudo labels are for training, not for {split}")
    ids, problems = find_ids(chosen.filenames, features.ids())
    found, more = features.lengths(ids)
    problems += more
    if problems:
        raise DatasetError.listing(f"the {split} split cannot be used", problems)
    lengths = np.array([found[name] for name in ids], np.int64)
    labels: SegmentLabels | None = None
    if pseudo_labels is not None:
        problems += check_record(pseudo_labels, annotations.labels)
        tables = {}
        for modality in ("audio", "visual"):
            classes = len(annotations.labels)
            tables[modality], more = read_pseudo_labels(pseudo_labels, modality, ids, lengths.tolist(), classes)
            problems += more
        labels = SegmentLabels(**tables)
    elif split != "train":
        labels = _truth(annotations, chosen, lengths)
    if problems:
        raise DatasetError.listing(f"the pseudo labels of the {split} split cannot be used", problems)
    return SplitDataset(split, chosen.filenames, tuple(ids), lengths, chosen.labels, features, labels)


def find_ids(filenames: Iterable[str], available: frozenset[str]) -> tuple[list[str], list[str]]:
    """The name of each clip's features, and a line for every two clips that would share one.

    A clip's features are named like the clip; or, as in LLP, by the id in ``<id>_<start>_<end>``.
    """
    ids: list[str] = []
    owners: dict[str, str] = {}
    problems: list[str] = []
    for filename in filenames:
        name = filename if filename in available else clip_id(filename)
        if name in owners:
            both = f"{escape(owners[name])} and {escape(filename)}"
            problems.append(f"{both} would share the features {escape(name)}; name them like the clips")
        owners[name] = filename
        ids.append(name)
    return ids, problems


def clip_id(filename: str) -> str:
    """The id in ``<id>_<start>_<end>``; a name of another form is its own id."""
    match = _CLIP_NAME.fullmatch(filename)
    return filename if match is None else match[1]


def check_values(clips: SplitDataset, progress: Callable[[int, int], None] = lambda _done, _total: None) -> list[str]:
    """Read every feature of a split; what is wrong with those that cannot be used."""
    problems: list[str] = []
    for done, name in enumerate(clips.ids, 1):
        try:
            clips.features.read(name)
        except DatasetError as error:
            problems.append(str(error))
        progress(done, len(clips))
    return problems


def _truth(annotations: Annotations, split: DatasetSplit, lengths: NDArray[np.int64]) -> SegmentLabels:
    """Return annotated labels, False past the end of each clip: the published scorer ignores those seconds, too."""
    truth = annotations.segment_labels(split, int(lengths.max()))
    inside = (np.arange(truth.audio.shape[1]) < lengths[:, None])[:, :, None]
    return SegmentLabels(truth.audio & inside, truth.visual & inside)


def _label_tensor(
    table: NDArray[np.bool_] | None, chosen: Sequence[int] | NDArray[np.int64], longest: int
) -> Tensor | None:
    return None if table is None else torch.from_numpy(table[chosen, :longest].astype(np.float32))
