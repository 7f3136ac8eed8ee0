"""Network inputs: decoded media reduced to one compact array per input.

Only NumPy and PIL are used, so that decode worker processes do not import torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from .clap_mel import BANDS, FRAMES, clap_mel
from .mel import EXAMPLE_FRAMES, MEL_BANDS, log_mel
from .resize import interpolate, opencv_resize, resize, resize_and_crop
from .sampling import CLAP_RATE, FRAMES_PER_SEGMENT, Stream


@dataclass(frozen=True)
class InputFormat:
    """One kind of network input.

    Attributes:
        name: key in `INPUT_FORMATS`, `TEACHER_FORMATS`, `UNFUSED_FORMATS` or `PE_AV_FORMATS`.
        stream: of the features made from it; it fixes the decoded media that `reduce` takes:
            visual_2d: frames (N, H, W, 3) uint8 RGB, for PE-AV two for each input;
            visual_3d: frames (8N, H, W, 3) uint8 RGB;
            visual_map: frames (N, H, W, 3) uint8 RGB;
            audio: seconds of mono waveform (N, 16000) float in [-1, 1]; for CLAP and PE-AV at 48 kHz.
        shape: of one input.
        dtype: of one input.
        reduce: converts decoded media to N inputs, (N, *shape).
    """

    name: str
    stream: Stream
    shape: tuple[int, ...]
    dtype: type[np.generic]
    reduce: Callable[[NDArray[Any]], NDArray[Any]]

    @property
    def frames(self) -> int:
        """How many frames one input of a visual stream has."""
        return self.shape[0] if len(self.shape) > 3 else 1  # (F, H, W, 3) or (H, W, 3)

    @property
    def nbytes(self) -> int:
        """Size of one input in bytes."""
        return int(np.prod(self.shape)) * np.dtype(self.dtype).itemsize


def _reduce_to_frames(frames: NDArray[Any]) -> NDArray[np.uint8]:
    return resize_and_crop(cast("NDArray[np.uint8]", frames), short_side=256, crop=224)


def _reduce_to_clips(frames: NDArray[Any]) -> NDArray[np.uint8]:
    return resize(cast("NDArray[np.uint8]", frames), 112, 112).reshape(-1, FRAMES_PER_SEGMENT, 112, 112, 3)


def _reduce_to_pictures(frames: NDArray[Any]) -> NDArray[np.uint8]:
    return opencv_resize(cast("NDArray[np.uint8]", frames), 224, 224)


def _reduce_to_log_mel(seconds: NDArray[Any]) -> NDArray[np.float32]:
    return log_mel(seconds)[:, :EXAMPLE_FRAMES]


def _reduce_to_clip_frames(frames: NDArray[Any]) -> NDArray[np.float32]:
    return np.stack([interpolate(cast("NDArray[np.uint8]", frame), CLIP_SIZE) for frame in frames])


def _reduce_to_clap_mel(chunks: NDArray[Any]) -> NDArray[np.float32]:
    return np.stack([*map(clap_mel, chunks)])


def _reduce_to_slaney_mel(chunks: NDArray[Any]) -> NDArray[np.float32]:
    return np.stack([clap_mel(chunk, slaney=True) for chunk in chunks])


def _reduce_to_waveform(chunks: NDArray[Any]) -> NDArray[np.float32]:
    return np.stack([_fit(np.asarray(chunk, np.float32)) for chunk in chunks])


def _fit(chunk: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut a chunk of audio to a second, or fill it up by its reflection."""
    missing = CLAP_RATE - len(chunk)
    if missing <= 0 or not len(chunk):
        return chunk[:CLAP_RATE] if len(chunk) else np.zeros(CLAP_RATE, np.float32)
    return np.pad(chunk, (0, missing), "reflect") if len(chunk) > 1 else np.full(CLAP_RATE, chunk[0])


def _reduce_to_pe_av_frames(frames: NDArray[Any]) -> NDArray[np.uint8]:
    resized = resize(cast("NDArray[np.uint8]", frames), PE_AV_SIZE, PE_AV_SIZE)
    return resized.reshape(-1, PE_AV_FRAMES_PER_SECOND, PE_AV_SIZE, PE_AV_SIZE, 3)


CLIP_SIZE = 224  # pixels; width and height of CLIP's input
PE_AV_SIZE = 336  # pixels; width and height of PE-AV's input
# The published models for 16 frames of a clip have 1.6 a second where it lasts ten.
PE_AV_FRAMES_PER_SECOND = 2

# One frame: short side to 256, central crop of 224. The transform of torchvision's ResNet-152, IMAGENET1K_V1.
FRAME = InputFormat("frame", "visual_2d", (224, 224, 3), np.uint8, _reduce_to_frames)
# 8 consecutive frames, squashed to 112 x 112 without a crop: LLP's published features were made so, torchvision crops.
FRAME_CLIP = InputFormat("frame_clip", "visual_3d", (FRAMES_PER_SEGMENT, 112, 112, 3), np.uint8, _reduce_to_clips)
# One frame, squashed by OpenCV's arithmetic without a crop. The maps of a second's pictures are averaged.
MAP_PICTURE = InputFormat("map_picture", "visual_map", (224, 224, 3), np.uint8, _reduce_to_pictures)
# The first 96 of the 98 log-mel frames of one second, as VGGish frames its examples.
LOG_MEL = InputFormat("log_mel", "audio", (EXAMPLE_FRAMES, MEL_BANDS), np.float32, _reduce_to_log_mel)

INPUT_FORMATS = {input_format.name: input_format for input_format in (LOG_MEL, FRAME, FRAME_CLIP, MAP_PICTURE)}

# One frame a second, squashed by tensor arithmetic, as VALOR's program does.
CLIP_FRAME = InputFormat("clip_frame", "visual_2d", (CLIP_SIZE, CLIP_SIZE, 3), np.float32, _reduce_to_clip_frames)
# A chunk of audio, about a second, repeated to the ten seconds that CLAP takes.
CLAP_MEL = InputFormat("clap_mel", "audio", (FRAMES, BANDS), np.float32, _reduce_to_clap_mel)
# The same with the bands that CLAP without fusion takes.
CLAP_MEL_SLANEY = InputFormat("clap_mel_slaney", "audio", (FRAMES, BANDS), np.float32, _reduce_to_slaney_mel)

# What CLIP and CLAP take, and R(2+1)D beside them.
TEACHER_FORMATS = {input_format.name: input_format for input_format in (CLAP_MEL, CLIP_FRAME, FRAME_CLIP)}
# What CLIP and CLAP without fusion take, AV2A's pair.
UNFUSED_FORMATS = {input_format.name: input_format for input_format in (CLAP_MEL_SLANEY, CLIP_FRAME)}

# A second of waveform at 48 kHz. PE-AV's codec has 25 steps in it.
PE_AV_WAVEFORM = InputFormat("pe_av_waveform", "audio", (CLAP_RATE,), np.float32, _reduce_to_waveform)
# The frames of a second, squashed by PIL without a crop: one row for all of them.
PE_AV_FRAMES = InputFormat(
    "pe_av_frames",
    "visual_2d",
    (PE_AV_FRAMES_PER_SECOND, PE_AV_SIZE, PE_AV_SIZE, 3),
    np.uint8,
    _reduce_to_pe_av_frames,
)
PE_AV_FORMATS = {input_format.name: input_format for input_format in (PE_AV_WAVEFORM, PE_AV_FRAMES)}
