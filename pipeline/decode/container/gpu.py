"""NVIDIA's video decoder (NVDEC), which FFmpeg's libraries use through the driver. Runs in decode processes."""

from __future__ import annotations

import functools
from pathlib import Path

import av.error
from av.codec import Codec
from av.codec.hwaccel import HWAccel

from ...errors import MediaError

GPU_FORMAT = "cuda"  # of frames that are in the memory of the GPU
_SHARED: dict[str, object] = {"primary_ctx": "1"}  # one context for all files of a process
_OWN: dict[str, object] = {"primary_ctx": "0"}  # to be said: PyAV's default for frames that stay on the GPU is 1


def gpu_fault() -> str | None:
    """Return why no GPU can decode video here, None if one can."""
    try:  # in a context of its own: where PyTorch computes, the one that decode processes use is not opened anew
        _open_gpu(_OWN)
    except (av.error.FFmpegError, NotImplementedError, ValueError) as error:
        return _describe(error)
    return None


def find_gpu(path: Path) -> HWAccel:
    """Return the GPU that decodes, the first one that CUDA_VISIBLE_DEVICES leaves.

    Args:
        path: the file to decode, for the message.

    Returns:
        The settings to open a container with. Frames stay in the memory of the GPU until they are converted, so those
        that no sample shows are not copied. Streams that the GPU cannot decode are decoded by the CPU.

    Raises:
        MediaError: there is no such GPU.
    """
    try:
        _hold_gpu()
    except (av.error.FFmpegError, NotImplementedError, ValueError) as error:
        raise MediaError(path, f"{_describe(error)}; use --decoder ffmpeg", "unsupported") from error
    return _settings(_SHARED)


def _settings(options: dict[str, object]) -> HWAccel:
    return HWAccel("cuda", allow_software_fallback=True, options=options, is_hw_owned=True)


def _open_gpu(options: dict[str, object]) -> HWAccel:
    return _settings(options).create(Codec("h264", "r"))


@functools.cache
def _hold_gpu() -> HWAccel:
    """Open the GPU for as long as this process lives: opening it anew takes longer than decoding a short clip."""
    return _open_gpu(_SHARED)


def _describe(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error)
    return f"no NVIDIA GPU with a driver that decodes video was found ({reason})"
