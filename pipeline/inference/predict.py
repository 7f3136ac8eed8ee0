"""Run a parser or a localizer on features: one video of any length, or all clips of a split."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.localizers.config import LocalizerConfig
from ...models.localizers.localizer import EventLocalizer
from ...models.localizers.output import LocalizerOutput
from ...models.parser import AVParser
from ..datasets.clips import SplitDataset
from ..datasets.loader import iterate_batches
from ..open_vocabulary.network import OpenVocabulary
from ..segments import window_starts
from ..timeline import SegmentProbabilities
from .compiled_network import CompiledNetwork
from .localize import join_windows, stack_localized, to_probabilities
from .networks import BundleNetwork, Network, NetworkOutput
from .output_tables import stack_output, to_finite_array

_WINDOW_BATCH_SIZE = 32
_CLIP_BATCH_SIZE = 64
_MAX_BATCH_SEGMENTS = 7200  # seconds in a batch: bounds the memory where windows or clips are an hour long

# Features of a video, in the order of a network's arguments: (kT, width) each, k rows per second.
Streams = Sequence[NDArray[np.floating]]
PredictWindows = Callable[..., NDArray[np.float32]]  # streams (B, kT, width) -> P maps of each window, (B, P, T, C)


def predict_video(
    parser: BundleNetwork | CompiledNetwork, streams: Streams, device: torch.device
) -> SegmentProbabilities:
    """Predict the probabilities of a video of T segments, any T.

    Up to the length that the parser was trained on, this is one forward pass; see `average_windows` for longer videos.

    Args:
        parser: or a localizer, in evaluation mode, on `device`; or its compiled form.
        streams: features of the video.
        device: where the features are moved to.

    Returns:
        (T, C) probabilities.

    Raises:
        SetupError: the probabilities are not finite.
    """
    if isinstance(parser, OpenVocabulary):
        return parser.predict(streams)
    averaged = average_windows(lambda *batch: _tables(parser, *batch), streams, parser.config.segments, device)
    if isinstance(parser.config, LocalizerConfig):
        return to_probabilities(join_windows(averaged[0], parser.config))
    return SegmentProbabilities(*averaged)


def average_windows(
    predict: PredictWindows, streams: Streams, window: int, device: torch.device
) -> NDArray[np.float32]:
    """Predict a video in overlapping windows, and average for every second over the windows that contain it.

    A video that fits into one window is one window. The windows of a longer one overlap by half.

    Args:
        predict: called with a batch of windows on the device, in inference mode.
        streams: features of a video of T segments.
        window: segments in a window.
        device: of the windows.

    Returns:
        (P, T, C), the mean of what `predict` returned.
    """
    length = len(streams[0])
    starts = window_starts(length, window)
    width = min(length, window)
    sums: NDArray[np.float64] | None = None
    counts = np.zeros((length, 1))
    batch_size = _limit_batch(_WINDOW_BATCH_SIZE, width)
    for first in range(0, len(starts), batch_size):
        batch = starts[first : first + batch_size]
        windows = []
        for rows in streams:
            rate = len(rows) // length
            windows.append(np.stack([rows[rate * start : rate * (start + width)] for start in batch]))
        with torch.inference_mode():
            predictions = predict(*(torch.from_numpy(rows).to(device) for rows in windows))
        if sums is None:
            sums = np.zeros((predictions.shape[1], length, predictions.shape[3]))
        for start, values in zip(batch, predictions, strict=True):
            sums[:, start : start + width] += values
            counts[start : start + width] += 1
    assert sums is not None  # a video has at least one segment
    return (sums / counts).astype(np.float32)


def predict_clips(
    parser: Network,
    clips: SplitDataset,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> SegmentProbabilities:
    """Predict the probabilities of every clip of a split.

    Args:
        parser: or a localizer, on `device`; it is set to evaluation mode.
        clips: clips up to the parser's window are predicted in batches, longer ones as by `predict_video`.
        device: where the features are moved to.
        progress: called with the number of clips done and the total.

    Returns:
        (N, T, C) probabilities, T the length of the longest clip.

    Raises:
        DatasetError: features cannot be read.
        SetupError: the probabilities are not finite.
    """
    parser.eval()
    table: NDArray[np.float32] | None = None  # (P, N, T, C), P the arrays of `_stack`
    shape = (len(clips), int(clips.lengths.max()), len(parser.config.labels))
    short = np.flatnonzero(clips.lengths <= parser.config.segments)
    # Sorted by length, batches need less padding.
    order = short[np.argsort(clips.lengths[short], kind="stable")]
    done = 0
    batch_size = _limit_batch(_CLIP_BATCH_SIZE, int(clips.lengths[short].max(initial=1)))
    for host_batch in iterate_batches(clips, order, batch_size):
        batch = host_batch.to(device)
        with torch.inference_mode():
            arrays = _stack(parser, parser(*batch.features, lengths=batch.lengths))
        if table is None:
            table = np.zeros((arrays.shape[1], *shape), np.float32)
        table[:, order[done : done + len(arrays)], : arrays.shape[2]] = arrays.transpose(1, 0, 2, 3)
        done += len(arrays)
        progress(done, len(clips))
    for index in np.flatnonzero(clips.lengths > parser.config.segments):
        streams = [rows.astype(np.float32, copy=False) for rows in clips.streams(int(index))]
        found = list(predict_video(parser, streams, device).arrays().values())
        rows = found[:1] if isinstance(parser, EventLocalizer) else found
        if table is None:
            table = np.zeros((len(rows), *shape), np.float32)
        table[:, index, : len(streams[0])] = rows
        done += 1
        progress(done, len(clips))
    assert table is not None  # a split has clips
    return to_probabilities(table[0]) if isinstance(parser, EventLocalizer) else SegmentProbabilities(*table)


def _limit_batch(most: int, segments: int) -> int:
    """Return how many windows or clips of some length are a batch, `most` of short ones."""
    return max(1, min(most, _MAX_BATCH_SEGMENTS // segments))


def _tables(network: Network | CompiledNetwork, *batch: Tensor) -> NDArray[np.float32]:
    """Return the tables of windows, see `_stack`."""
    return network.tables(*batch) if isinstance(network, CompiledNetwork) else _stack(network, network(*batch))


def _stack(network: Network, output: NetworkOutput) -> NDArray[np.float32]:
    """Return (B, P, T, C): 4 or 5 tables of a parser, see `stack_output`, and 1 of a localizer."""
    if isinstance(output, LocalizerOutput):
        return to_finite_array(stack_localized(output))
    assert isinstance(network, AVParser)
    return stack_output(output, network.config)
