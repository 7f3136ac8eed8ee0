"""Media in memory: frames and audio as arrays, decoded like a file that holds them.

They are written, uncompressed, to a temporary file, which is decoded as any other: sampling of frames, mixing,
resampling and lengths are then those of a file by construction.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..decode.container.media_file import MAX_PIXELS
from ..errors import OutputError
from ..segments import MAX_MEDIA_SECONDS
from ..text import escape

if TYPE_CHECKING:
    from torch import Tensor

    from ..preprocess.media_summary import MediaSummary

ARRAYS = "arrays"  # the format of media in memory
MAX_CHANNELS = 8
MAX_RATE = 768_000  # Hz of audio
MAX_FRAME_RATE = 1_000  # frames per second
_DENOMINATOR = 1001 * 1000  # largest one of a frame rate as a fraction
_BLOCK = 1 << 16  # samples that are written at a time
_SAMPLE_FORMATS = {"int16": ("pcm_s16le", "s16"), "float32": ("pcm_f32le", "flt"), "float64": ("pcm_f64le", "dbl")}


@dataclass(frozen=True, eq=False, repr=False)
class MediaArrays:
    """A video as arrays: frames, audio, or both, which begin at the same time. NumPy arrays or torch tensors.

    For the time of a call they are also in the folder for temporary files, uncompressed.

    Attributes:
        frames: (F, H, W, 3) uint8 RGB, at an even rate; None without video.
        frame_rate: frames per second.
        audio: (samples,) or (samples, channels), at most 8 channels: int16, or float32 or float64 in [-1, 1]; None
            without audio. Channels are mixed to one as those of a file without a stated layout.
        sample_rate: samples per second and channel, in Hz.
        name: of the video, which results name instead of a path.

    Raises:
        ValueError: there are neither frames nor audio, a rate is missing, or shape, type or size are wrong.
    """

    frames: NDArray[np.uint8] | Tensor | None = None
    frame_rate: float | Fraction | None = None
    audio: NDArray[Any] | Tensor | None = None
    sample_rate: int | None = None
    name: str = ARRAYS

    def __post_init__(self) -> None:
        if self.frames is None and self.audio is None:
            raise ValueError("neither frames nor audio: a video needs one of them")
        lengths = [self._check_frames(), self._check_audio()]
        if max(lengths) > MAX_MEDIA_SECONDS:
            raise ValueError(f"{max(lengths):.0f} seconds are more than {MAX_MEDIA_SECONDS // 3600} hours")

    def __repr__(self) -> str:
        parts = []
        if self.frames is not None:
            parts.append(f"frames {tuple(self.frames.shape)} at {float(self.frame_rate or 0):g} per second")
        if self.audio is not None:
            parts.append(f"audio {tuple(self.audio.shape)} at {self.sample_rate} Hz")
        return f"MediaArrays of {escape(self.name)}: {', '.join(parts)}"

    def _check_frames(self) -> float:
        """Return the duration of the frames, 0 without frames."""
        if self.frames is None:
            return 0.0
        shape, kind = tuple(self.frames.shape), _type_name(self.frames)
        if len(shape) != 4 or shape[3] != 3 or kind != "uint8" or not all(shape):
            raise ValueError(f"frames are {kind} {shape}, expected uint8 (F, H, W, 3)")
        if shape[1] * shape[2] > MAX_PIXELS:
            raise ValueError(f"frames of {shape[2]} x {shape[1]} pixels are too large: at most {MAX_PIXELS:,} pixels")
        if self.frame_rate is None or not 0 < self.frame_rate <= MAX_FRAME_RATE:
            raise ValueError(f"frame_rate is {self.frame_rate}, expected frames per second up to {MAX_FRAME_RATE:,}")
        return shape[0] / float(self.frame_rate)

    def _check_audio(self) -> float:
        """Return the duration of the audio, 0 without audio."""
        if self.audio is None:
            return 0.0
        shape, kind = tuple(self.audio.shape), _type_name(self.audio)
        if len(shape) not in {1, 2} or not all(shape) or kind not in _SAMPLE_FORMATS:
            known = ", ".join(_SAMPLE_FORMATS)
            raise ValueError(f"audio is {kind} {shape}, expected (samples,) or (samples, channels) of {known}")
        if len(shape) == 2 and shape[1] > MAX_CHANNELS:
            raise ValueError(f"audio is {shape}, (samples, channels): more than {MAX_CHANNELS} channels")
        if isinstance(self.sample_rate, bool) or self.sample_rate is None or not 0 < self.sample_rate <= MAX_RATE:
            raise ValueError(f"sample_rate is {self.sample_rate}, expected Hz up to {MAX_RATE:,}")
        if self.sample_rate != int(self.sample_rate):
            raise ValueError(f"sample_rate is {self.sample_rate}, expected a whole number of Hz")
        return shape[0] / self.sample_rate


@contextlib.contextmanager
def written(media: MediaArrays) -> Iterator[Path]:
    """Write arrays to a temporary file, which is removed at the end.

    Args:
        media: the arrays.

    Yields:
        A file with uncompressed streams, as large as the arrays.

    Raises:
        OutputError: it cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="avvp-arrays-") as folder:
        path = Path(folder) / "arrays.mov"
        try:
            _write(media, path)
        except OSError as error:
            reason = error.strerror or error
            raise OutputError(f"arrays cannot be kept in {escape(tempfile.gettempdir())}: {reason}") from error
        yield path


def _write(media: MediaArrays, path: Path) -> None:
    import av.container

    with av.container.open(str(path), "w", format="mov") as container:
        tracks = [add(container, media) for add in (_add_video, _add_audio)]  # before the first packet
        for packets in tracks:
            for packet in packets:
                container.mux(packet)


def _add_video(container: Any, media: MediaArrays) -> Iterator[Any]:
    """Add the video stream; return its packets."""
    import av.video.frame

    if media.frames is None:
        return iter(())
    frames = _to_numpy(media.frames)
    rate = Fraction(media.frame_rate or 0).limit_denominator(_DENOMINATOR)
    stream = container.add_stream("rawvideo", rate)
    # QuickTime pads rows of odd widths, and FFmpeg's reader not in the same way: a fourth byte avoids that.
    stored = "argb" if frames.shape[2] % 2 else "rgb24"
    stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], stored
    stream.time_base = 1 / rate

    def packets() -> Iterator[Any]:
        for number, pixels in enumerate(frames):
            image = av.video.frame.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
            image.pts, image.time_base = number, 1 / rate
            yield stream.encode(image.reformat(format=stored))
        yield stream.encode(None)

    return packets()


def _add_audio(container: Any, media: MediaArrays) -> Iterator[Any]:
    """Add the audio stream; return its packets."""
    import av.audio.frame

    if media.audio is None:
        return iter(())
    samples, rate = _to_numpy(media.audio), int(media.sample_rate or 0)
    samples = samples.reshape(len(samples), -1)
    codec, sample_format = _SAMPLE_FORMATS[samples.dtype.name]
    layout = {1: "mono", 2: "stereo"}.get(samples.shape[1], f"{samples.shape[1]} channels")
    stream = container.add_stream(codec, rate, layout=layout)

    def packets() -> Iterator[Any]:
        for start in range(0, len(samples), _BLOCK):
            block = np.ascontiguousarray(samples[start : start + _BLOCK]).reshape(1, -1)
            part = av.audio.frame.AudioFrame.from_ndarray(block, format=sample_format, layout=layout)
            part.sample_rate, part.pts, part.time_base = rate, start, Fraction(1, rate)
            yield stream.encode(part)
        yield stream.encode(None)

    return packets()


def _to_numpy(array: Any) -> NDArray[Any]:
    return array.detach().cpu().numpy() if hasattr(array, "detach") else np.asarray(array)


def _type_name(array: Any) -> str:
    return str(array.dtype).removeprefix("torch.")


def of_arrays(source: MediaArrays, summary: MediaSummary) -> MediaSummary:
    """Replace what the facts say of the temporary file by what the caller knows."""
    facts = replace(
        summary.facts,
        path=source.name,
        format=ARRAYS,
        audio_codec=None if summary.facts.audio_codec is None else "array",
        video_codec=None if summary.facts.video_codec is None else "array",
    )
    return replace(summary, facts=facts)
