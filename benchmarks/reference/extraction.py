"""Feature extraction as the published scripts do it: eager networks, and no picture computed only once.

LLP's: JPEG files, PIL, two passes over the frames. AVE's: all frames through a pipe, those that are used squashed.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.sampling import Stream
from avvp.pipeline.decode.audio import AudioReader
from avvp.pipeline.decode.ffmpeg import ffmpeg_binary
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.segments import segment_count, spread_indices
from measure.inputs import run_ffmpeg
from numpy.typing import NDArray
from PIL import Image


def extract_plainly(
    clip: Path, networks: Mapping[Stream, Extractor], folder: Path
) -> dict[Stream, NDArray[np.float32]]:
    """Extract the features of one clip and write them to FOLDER/<stream>.npy.

    Args:
        clip: media file with audio and video.
        networks: eager, in PyTorch's default memory format.
        folder: made here; the frames are in it while this runs.

    Returns:
        stream -> features: audio (T, 128), visual_2d (8T, 2048), visual_3d (T, 512) at full size.
    """
    frames = folder / "frames"
    frames.mkdir(parents=True)
    run_ffmpeg("-i", clip, "-r", "8", frames / "%06d.jpg")
    files = sorted(frames.iterdir())
    segments = segment_count(len(files) / 8)
    sampled = [files[index] for index in spread_indices(len(files), 8 * segments)]
    rows: dict[Stream, NDArray[np.float32]] = {}
    with torch.inference_mode():
        for stream in ("visual_2d", "visual_3d"):  # two passes, each reads the files again
            rows[stream] = _visual_rows(sampled, networks[stream])
        seconds = list(AudioReader(probe(clip), "nearest"))[:segments]
        network = networks["audio"]
        rows["audio"] = network(network.preprocess(np.stack(seconds))).numpy()
    for stream, values in rows.items():
        np.save(folder / f"{stream}.npy", values)
    shutil.rmtree(frames)
    return rows


def extract_maps_plainly(
    clip: Path, networks: Mapping[Stream, Extractor], folder: Path, *, frames: int
) -> dict[Stream, NDArray[np.float32]]:
    """Extract the features of one clip of at most ten seconds and write them to FOLDER/<stream>.npy.

    Args:
        clip: media file with audio and video.
        networks: eager, in PyTorch's default memory format.
        folder: made here.
        frames: of a second.

    Returns:
        stream -> features: audio (T, 128), visual_map (T, 25088) at full size.
    """
    folder.mkdir(parents=True)
    media = probe(clip)
    assert media.video is not None
    command = [ffmpeg_binary(), "-loglevel", "error", "-i", clip, "-pix_fmt", "rgb24", "-vcodec", "rawvideo"]
    raw = subprocess.run([*command, "-f", "image2pipe", "-"], check=True, capture_output=True).stdout
    decoded = np.frombuffer(raw, np.uint8).reshape(-1, media.video.height, media.video.width, 3)
    seconds = np.stack(list(AudioReader(media, "filtered")))
    step = len(decoded) // len(seconds)
    rows: dict[Stream, NDArray[np.float32]] = {}
    with torch.inference_mode():
        network = networks["visual_map"]
        maps = []
        for second in range(len(seconds)):
            chosen = decoded[[int(second * step + index / frames * step) for index in range(frames)]]
            maps.append(network(network.preprocess(chosen).contiguous()).mean(dim=0).numpy())
        rows["visual_map"] = np.stack(maps)
        network = networks["audio"]
        rows["audio"] = network(network.preprocess(seconds)).numpy()
    for stream, values in rows.items():
        np.save(folder / f"{stream}.npy", values)
    return rows


def _visual_rows(files: list[Path], network: Extractor) -> NDArray[np.float32]:
    """Run a network on the frames of one second at a time."""
    blocks = []
    for first in range(0, len(files), 8):
        frames = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files[first : first + 8]])
        blocks.append(network(network.preprocess(frames).contiguous()).numpy())
    return np.concatenate(blocks)
