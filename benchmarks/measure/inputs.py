"""Generated clips, and bundles of tiny random networks."""

from __future__ import annotations

import subprocess
from pathlib import Path

from avvp.pipeline.decode.ffmpeg import ffmpeg_binary

TINY_NETWORKS = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")


def run_ffmpeg(*arguments: object) -> None:
    """Run ffmpeg with these arguments, overwriting its output; raises CalledProcessError if it fails."""
    subprocess.run([ffmpeg_binary(), "-y", "-loglevel", "error", *map(str, arguments)], check=True)


def generate_clip(path: Path, *, seconds: float = 10, size: str = "640x360", number: int = 0) -> Path:
    """Generate a clip at 25 frames per second with noise as audio.

    Args:
        path: where to write it.
        seconds: its length.
        size: of a frame, WIDTHxHEIGHT.
        number: from 0; clips of other numbers have other frames and other audio.

    Returns:
        `path`.
    """
    video = f"mandelbrot=s={size}:r=25:start_scale={3 / (number + 1):g}"
    audio = f"anoisesrc=d={seconds:g}:r=44100:seed={number}:color=pink"
    codecs = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")
    run_ffmpeg("-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio, "-t", f"{seconds:g}", *codecs, path)
    return path


def write_tiny_bundle(folder: Path, profile: str) -> Path:
    """Write the description of a bundle of tiny extractors with seeded random parameters, without a parser.

    Args:
        folder: made here.
        profile: of the bundle.

    Returns:
        `folder`.
    """
    folder.mkdir(parents=True)
    extractors = ", ".join(f'{name} = ""' for name in TINY_NETWORKS)
    (folder / "bundle.toml").write_text(
        f'profile = "{profile}"\nseed = 1\nextractors = {{ {extractors} }}\nparser = {{}}\n', encoding="utf-8"
    )
    return folder
