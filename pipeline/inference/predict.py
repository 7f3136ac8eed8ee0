"""A parser over features: one video of any length, or all the clips of a split."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.parser import AVParser, ParserOutput
from ..datasets.clips import SplitDataset
from ..datasets.loader import iterate_batches
from ..errors import SetupError
from ..segments import window_starts
from ..timeline import SegmentProbabilities

_WINDOWS_AT_ONCE = 32
_CLIPS_AT_ONCE = 64

Streams = tuple[NDArray[np.floating], NDArray[np.floating], NDArray[np.floating]]  # (T, A), (kT, V), (T, S)
WindowAnswers = Callable[[Tensor, Tensor, Tensor], NDArray[np.float32]]  # (B, T, A), (B, kT, V), (B, T, S)


def predict_video(parser: AVParser, streams: Streams, device: torch.device) -> SegmentProbabilities:
    """Probabilities for every second of a video of T segments, any T, in evaluation mode.

    Up to the parser's trained length that is one forward pass. A longer video is parsed in windows of that length,
    each overlapping the next by half, and every second gets the mean over the windows that hold it.
    """
    averaged = average_windows(lambda *batch: _stack(parser(*batch)), streams, parser.config.segments, device)
    return SegmentProbabilities(*averaged)


def average_windows(answer: WindowAnswers, streams: Streams, window: int, device: torch.device) -> NDArray[np.float32]:
    """What a parser answers for every second of a video of T segments, (P, T, C), any T.

    answer: gets B windows of up to `window` segments on the device, in inference mode, and says (B, P, T, C). A video
    that fits one window is asked about once; a longer one in windows that overlap the next by half, and every second
    gets the mean over the windows that hold it.
    """
    length = len(streams[0])
    starts = window_starts(length, window)
    width = min(length, window)
    sums: NDArray[np.float64] | None = None
    counts = np.zeros((length, 1))
    for first in range(0, len(starts), _WINDOWS_AT_ONCE):
        batch = starts[first : first + _WINDOWS_AT_ONCE]
        cut = []
        for rows in streams:
            rate = len(rows) // length
            cut.append(np.stack([rows[rate * start : rate * (start + width)] for start in batch]))
        with torch.inference_mode():
            audio, visual_2d, visual_3d = (torch.from_numpy(rows).to(device) for rows in cut)
            found = answer(audio, visual_2d, visual_3d)
        if sums is None:
            sums = np.zeros((found.shape[1], length, found.shape[3]))
        for start, values in zip(batch, found, strict=True):
            sums[:, start : start + width] += values
            counts[start : start + width] += 1
    assert sums is not None  # a video has at least one segment
    return (sums / counts).astype(np.float32)


def predict_clips(
    parser: AVParser,
    clips: SplitDataset,
    device: torch.device,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> SegmentProbabilities:
    """The same for every clip of a split; short clips go through the parser together."""
    parser.eval()
    parts = 5 if parser.config.decoder == "mmil" else 4  # of _stack
    table = np.zeros((parts, len(clips), int(clips.lengths.max()), len(parser.config.labels)), np.float32)
    short = np.flatnonzero(clips.lengths <= parser.config.segments)
    # Clips of like length go together: less padding.
    order = short[np.argsort(clips.lengths[short], kind="stable")]
    done = 0
    for batch in iterate_batches(clips, order, _CLIPS_AT_ONCE):
        there = batch.to(device)
        with torch.inference_mode():
            found = _stack(parser(there.audio, there.visual_2d, there.visual_3d, lengths=there.lengths))
        table[:, order[done : done + len(found)], : found.shape[2]] = found.transpose(1, 0, 2, 3)
        done += len(found)
        progress(done, len(clips))
    dims = np.cumsum(clips.features.spec.dims)[:-1]
    for index in np.flatnonzero(clips.lengths > parser.config.segments):
        audio, visual_2d, visual_3d = np.split(clips.features.read(clips.ids[index]).astype(np.float32), dims, axis=1)
        alone = predict_video(parser, (audio, visual_2d, visual_3d), device)
        table[:, index, : len(audio)] = list(alone.arrays().values())
        done += 1
        progress(done, len(clips))
    return SegmentProbabilities(*table)


def _stack(output: ParserOutput) -> NDArray[np.float32]:
    """(B, 4 or 5, T, C): audio, visual, and the video-level ones repeated for every second."""
    segments = output.audio_segment_probs.shape[1]
    videos = [output.audio_video_probs, output.visual_video_probs]
    if output.audio_video_logits is None:  # MMIL pools the video by itself; LEAP's is the union of its modalities
        videos.append(output.video_probs)
    parts = [output.audio_segment_probs, output.visual_segment_probs]
    parts += [video[:, None].expand(-1, segments, -1) for video in videos]
    return finite_numbers(torch.stack(parts, dim=1))


def finite_numbers(answers: Tensor) -> NDArray[np.float32]:
    """A parser's answers, any shape, on the host. Raises SetupError where some are not finite."""
    found = answers.float().cpu().numpy()
    if not np.isfinite(found).all():
        raise SetupError("the parser's answers are no numbers: its parameters are damaged or have diverged")
    return found
