"""Clips of a split with their features and labels, for training and scoring."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import ALL_STREAMS
from ..errors import DatasetError
from ..features.npy_folders import FeatureSource
from ..timeline import SegmentLabels
from .annotations import Annotations, DatasetSplit
from .ave_annotations import NOISY
from .clip_names import NO_VIDEOS, find_ids
from .localization import EventTargets, annotated_targets
from .pseudo_labels import check_record, read_pseudo_labels
from .soft_labels import Frequencies, SoftLabels, class_frequencies, read_soft_labels

if TYPE_CHECKING:  # scoring files of events needs no torch, whose import takes seconds
    import torch
    from torch import Tensor

    from ...models.localizers.losses import LocalizationTargets
    from ...models.losses import Targets


class Batch(NamedTuple):
    """B clips, zero-padded to the longest. Features are float32; streams that the clips do not have are None."""

    audio: Tensor  # (B, T, A)
    visual_2d: Tensor | None  # (B, kT, V), k frames of each second; or (B, T, V), their mean
    visual_3d: Tensor | None  # (B, T, S)
    lengths: Tensor | None  # (B,) seconds; None if all are T
    targets: Targets | LocalizationTargets
    filenames: tuple[str, ...]
    visual_map: Tensor | None = None  # (B, T, M)

    @property
    def features(self) -> tuple[Tensor, ...]:
        """The streams that the clips have, in the order of a network's arguments."""
        streams = (getattr(self, stream) for stream in ALL_STREAMS)
        return tuple(tensor for tensor in streams if tensor is not None)

    def map_tensors(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Apply `function` to every tensor."""
        parts = self.targets._asdict().items()
        targets = self.targets._replace(**{name: None if part is None else function(part) for name, part in parts})
        lengths = None if self.lengths is None else function(self.lengths)
        streams = {name: function(value) for name in ALL_STREAMS if (value := getattr(self, name)) is not None}
        return self._replace(**streams, lengths=lengths, targets=targets)

    def to(self, device: torch.device) -> Batch:
        """Copy the batch to a device."""
        return self.map_tensors(lambda tensor: tensor.to(device, non_blocking=True))


class ModalityLabels(NamedTuple):
    """Labels of N videos that hold for one modality, (N, C) bool each."""

    audio: NDArray[np.bool_]
    visual: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class SplitDataset:
    """N clips of one split."""

    split: str
    filenames: tuple[str, ...]
    ids: tuple[str, ...]  # names of the clips' features
    lengths: NDArray[np.int64]  # (N,) seconds
    video_labels: NDArray[np.bool_]  # (N, C)
    features: FeatureSource
    labels: SegmentLabels | None = (
        None  # (N, T, C), padded with False: annotations of val and test, pseudo labels of train
    )
    events: EventTargets | None = None  # of the task avel, in all splits
    modality_labels: ModalityLabels | None = None  # of the video, where denoising has removed labels
    soft: SoftLabels | None = None  # (N, T, C), of the teachers of the pseudo labels
    frequencies: Frequencies | None = None  # (C,), of the pseudo labels

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def segment_labels(self) -> SegmentLabels:
        """(N, T, C) labels. Raises ValueError if the clips have none."""
        if self.labels is None:
            raise ValueError(f"the clips of {self.split} have no labels per second")
        return self.labels

    @property
    def event_targets(self) -> EventTargets:
        """Targets of event localization. Raises ValueError if the clips have none."""
        if self.events is None:
            raise ValueError(f"the clips of {self.split} were not loaded for event localization")
        return self.events

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> Batch:
        """Read the clips of these indices.

        Args:
            indices: (B,) from 0 to N - 1.

        Returns:
            The batch, on the CPU.

        Raises:
            DatasetError: features cannot be read.
        """
        import torch

        lengths = self.lengths[np.asarray(indices)]
        longest = int(lengths.max())
        spec = self.features.spec
        rates = spec.rates if self.features.frames else (1,) * len(spec.rates)
        # numpy, because torch would start a thread pool in each thread that reads ahead.
        batch = [
            np.zeros((len(indices), longest * rate, width), np.float32)
            for rate, width in zip(rates, spec.dims, strict=True)
        ]
        for row, index in enumerate(indices):
            for array, rows in zip(batch, self.streams(int(index)), strict=True):
                array[row, : len(rows)] = rows
        equal_lengths = bool((lengths == longest).all())
        features = dict(zip(spec.streams, map(torch.from_numpy, batch), strict=True))
        return Batch(
            features["audio"],
            features.get("visual_2d"),
            features.get("visual_3d"),
            None if equal_lengths else torch.from_numpy(lengths),
            self._targets(indices, longest),
            tuple(self.filenames[index] for index in indices),
            features.get("visual_map"),
        )

    def streams(self, index: int) -> list[NDArray[np.floating]]:
        """Read the features of a clip.

        Args:
            index: of the clip, from 0 to N - 1.

        Returns:
            (kT, width) of each stream, in the order of a network's arguments: k is 1 unless the features have frames.

        Raises:
            DatasetError: they cannot be read.
        """
        spec = self.features.spec
        rows = self.features.read(self.ids[index])
        edges = np.cumsum(spec.row_widths(frames=self.features.frames))[:-1]
        parts = np.split(rows, edges, axis=1)
        return [part.reshape(-1, width) for part, width in zip(parts, spec.dims, strict=True)]

    def _targets(self, indices: Sequence[int] | NDArray[np.int64], longest: int) -> Targets | LocalizationTargets:
        """Return the targets of the clips of these indices, the longest of which has `longest` seconds."""
        import torch

        if self.events is None:
            from ...models.losses import Targets

            tables = {"segments": self.labels, "soft": self.soft}
            optional = {
                f"{modality}_{name}": torch.from_numpy(getattr(table, modality)[indices, :longest].astype(np.float32))
                for name, table in tables.items() if table is not None for modality in ("audio", "visual")
            }  # fmt: skip
            for modality, labels in self.modality_labels._asdict().items() if self.modality_labels else ():
                optional[modality] = torch.from_numpy(labels[indices].astype(np.float32))
            for modality, share in self.frequencies._asdict().items() if self.frequencies else ():
                optional[f"{modality}_frequency"] = torch.from_numpy(share)
            return Targets(torch.from_numpy(self.video_labels[indices].astype(np.float32)), **optional)
        from ...models.localizers.losses import LocalizationTargets

        segments, video, shares, _ = self.events
        return LocalizationTargets(
            *map(torch.from_numpy, (segments[indices, :longest], video[indices], shares[indices]))
        )


def load_clips(
    annotations: Annotations,
    split: str,
    features: FeatureSource,
    *,
    pseudo_labels: Path | None = None,
    soft_temperature: float | None = None,
) -> SplitDataset:
    """Load a split: annotations, labels and the lengths of the features.

    Args:
        annotations: of the data set.
        split: "train", "val" or "test".
        features: of all clips of the split.
        pseudo_labels: folder with pseudo labels, for train only; None for none. Clips of val and test get the
            annotated labels.
        soft_temperature: also read the scores of the teachers of the pseudo labels, see `read_soft_labels`; None does
            not.

    Returns:
        The clips; their features are read by `SplitDataset.batch`.

    Raises:
        DatasetError: files are missing or have the wrong shape; the message lists all of them.
        ValueError: pseudo labels for val or test, which would have been made with the annotations.
    """
    annotated = annotations.split(split)
    if pseudo_labels is not None and split != "train":
        raise ValueError(f"pseudo labels are for training, not for {split}")
    ids, lengths = find_features(annotated, features)
    problems: list[str] = []
    labels: SegmentLabels | None = None
    soft: SoftLabels | None = None
    if pseudo_labels is not None:
        problems += check_record(pseudo_labels, annotations.labels)
        tables = {}
        for modality in ("audio", "visual"):
            classes = len(annotations.labels)
            tables[modality], file_problems = read_pseudo_labels(
                pseudo_labels, modality, ids, lengths.tolist(), classes
            )
            problems += file_problems
        labels = SegmentLabels(**tables)
        if soft_temperature is not None and not problems:
            soft, problems = read_soft_labels(pseudo_labels, ids, lengths.tolist(), annotated.labels, soft_temperature)
    elif split != "train":
        labels = annotated_labels(annotations, annotated, lengths)
    if problems:
        raise DatasetError.listing(f"the pseudo labels of the {split} split cannot be used", problems)
    frequencies = None if labels is None or split != "train" else class_frequencies(labels, lengths)
    return SplitDataset(
        split, annotated.filenames, ids, lengths, annotated.labels, features, labels, soft=soft, frequencies=frequencies
    )


def load_event_clips(
    annotations: Annotations, split: str, features: FeatureSource, *, with_noisy: bool = False
) -> SplitDataset:
    """Load a split for event localization: in each second one class, or background.

    Args:
        annotations: of the data set, in AVE's form or in LLP's, see `localization.annotated_targets`.
        split: "train", "val" or "test".
        features: of all clips of the split. Clips of one video may share the features of the video.
        with_noisy: add the clips without an event that are listed for weak training.

    Returns:
        The clips; their features are read by `SplitDataset.batch`.

    Raises:
        DatasetError: files are missing or have the wrong shape; the message lists all of them. Or there are no noisy
            clips.
    """
    annotated = annotations.split(split)
    if with_noisy:
        annotated = _with_noisy(annotated, annotations)
    ids, lengths = find_features(annotated, features, annotations.videos)
    return SplitDataset(
        split, annotated.filenames, ids, lengths, annotated.labels, features,
        events=annotated_targets(annotations, annotated, lengths),
    )  # fmt: skip


def _with_noisy(split: DatasetSplit, annotations: Annotations) -> DatasetSplit:
    """Add the noisy clips to a split. Raises DatasetError if there are none."""
    try:
        noisy = annotations.split(NOISY)
    except DatasetError as error:
        raise DatasetError(
            f"weak recipe without noisy clips: the published programs also train on clips without an event, and there"
            f" are none ({error}); list their names in noisySet.txt, a line each, and extract their features, or train"
            " without them: --set training.noisy_clips=false"
        ) from error
    labels = np.concatenate([split.labels, noisy.labels])
    return DatasetSplit(split.name, (*split.filenames, *noisy.filenames), labels)


def find_features(
    split: DatasetSplit, features: FeatureSource, videos: Mapping[str, str] = NO_VIDEOS
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the clips' features and their lengths. Raises DatasetError that lists what is missing."""
    available = features.ids()
    ids, problems = find_ids(split.filenames, available, videos)
    lengths, length_problems = features.lengths(ids)
    problems += length_problems
    if problems:
        lost = sum(name not in available for name in ids)
        count = f"{lost:,} of {len(ids):,} clips have no features; leave them out of the annotations"
        raise DatasetError.listing(f"the {split.name} split cannot be used" + (f" ({count})" if lost else ""), problems)
    return tuple(ids), np.array([lengths[name] for name in ids], np.int64)


def check_values(clips: SplitDataset, progress: Callable[[int, int], None] = lambda _done, _total: None) -> list[str]:
    """Read all features of a split, to find those that are damaged.

    Args:
        clips: of the split.
        progress: called with the number of clips done and the total.

    Returns:
        A line for each clip whose features cannot be used.
    """
    problems: list[str] = []
    for done, name in enumerate(clips.ids, 1):
        try:
            clips.features.read(name)
        except DatasetError as error:
            problems.append(str(error))
        progress(done, len(clips))
    return problems


def annotated_labels(annotations: Annotations, split: DatasetSplit, lengths: NDArray[np.int64]) -> SegmentLabels:
    """Return annotated labels, False past the end of each clip: the published scorer ignores those seconds, too."""
    labels = annotations.segment_labels(split, int(lengths.max()))
    inside = (np.arange(labels.audio.shape[1]) < lengths[:, None])[:, :, None]
    return SegmentLabels(labels.audio & inside, labels.visual & inside)
