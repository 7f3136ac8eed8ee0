"""Small real media files, made with ffmpeg. Frames carry their number, so a test can tell which one it got."""

from __future__ import annotations

import subprocess
from functools import cached_property
from pathlib import Path

import numpy as np
from avvp.pipeline.decode.ffmpeg import ffmpeg_binary

WIDTH, HEIGHT, BARS = 64, 48, 8  # a frame is eight bars, black or white: its number in binary


def ffmpeg(*arguments: object, feed: bytes | None = None) -> None:
    """Run ffmpeg, quietly; arguments as on its command line."""
    command = [ffmpeg_binary(), "-y", "-loglevel", "error", *map(str, arguments)]
    subprocess.run(command, check=True, input=feed, stdin=None if feed is not None else subprocess.DEVNULL)


def numbered_frames(count: int) -> bytes:
    """Raw RGB frames 0 .. count - 1."""
    bits = (np.arange(count)[:, None] >> np.arange(BARS)) & 1
    rows = np.repeat(bits * 255, WIDTH // BARS, axis=1).astype(np.uint8)
    return np.broadcast_to(rows[:, None, :, None], (count, HEIGHT, WIDTH, 3)).tobytes()


def read_number(frame: np.ndarray) -> int:
    """Which of the numbered frames this is, (H, W, 3) at any size."""
    width = frame.shape[1]
    middles = frame[frame.shape[0] // 2, (np.arange(BARS) * width // BARS + width // (2 * BARS)), 1]
    return int(((middles > 127) << np.arange(BARS)).sum())


class Clips:
    """Each property is a path; the file is made once.

    Audio is at 16 kHz unless a clip says otherwise: only resampling imports torch into a decode worker, which takes
    seconds in each.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, *arguments: object, feed: bytes | None = None) -> Path:
        path = self.folder / name
        ffmpeg(*arguments, path, feed=feed)
        return path

    def numbered(self, name: str, count: int, rate: int, *options: object) -> Path:
        """A clip of `count` numbered frames."""
        source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", rate, "-i", "-")
        coded = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-qp", "10", "-bf", "2")
        return self.make(name, *source, *coded, *options, feed=numbered_frames(count))

    @cached_property
    def steady(self) -> Path:
        """3 s at 24 frames a second, 440 Hz in stereo."""
        sound = ("-f", "lavfi", "-i", "sine=f=440:r=16000:d=3")
        source = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{WIDTH}x{HEIGHT}", "-r", 24, "-i", "-")
        options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-qp", "10", "-bf", "2", "-c:a", "aac", "-ac", "2")
        return self.make("steady.mp4", *source, *sound, *options, feed=numbered_frames(72))

    @cached_property
    def resampled(self) -> Path:
        """The steady clip with audio at 44.1 kHz."""
        return self.make("resampled.mp4", "-i", self.steady, "-c:v", "copy", "-c:a", "aac", "-ar", 44_100)

    @cached_property
    def variable(self) -> Path:
        """Variable frame rate: 20 a second for 2 s, then 5 a second for 2 s. Frame n is at `variable_times[n]`."""
        pace = "setpts='round(if(lt(N,40),N/20,2+(N-40)/5)/TB)'"
        return self.numbered("variable.mkv", 50, 20, "-vf", pace, "-fps_mode", "passthrough")

    variable_times = np.concatenate([np.arange(40) / 20, 2 + np.arange(10) / 5])

    @cached_property
    def rotated(self) -> Path:
        """The steady clip with metadata that turns it by 90 degrees."""
        return self.make("rotated.mp4", "-display_rotation", 90, "-i", self.steady, "-c", "copy")

    @cached_property
    def silent(self) -> Path:
        """Video only."""
        return self.make("silent.mp4", "-i", self.steady, "-an", "-c", "copy")

    @cached_property
    def blind(self) -> Path:
        """Audio only, 2 s at 22.05 kHz mono."""
        return self.make("blind.wav", "-f", "lavfi", "-i", "sine=f=440:r=22050:d=2")

    @cached_property
    def tone(self) -> Path:
        """Audio only, 2 s mono."""
        return self.make("tone.wav", "-f", "lavfi", "-i", "sine=f=440:r=16000:d=2")

    @cached_property
    def two_streams(self) -> Path:
        """Two video streams, numbered frames (small, the default) and a test picture (large); two sounds, 44.1 kHz."""
        return self.make(
            "two.mp4", "-i", self.steady, "-f", "lavfi", "-i", "testsrc=s=128x96:r=10:d=3", "-f", "lavfi",
            "-i", "sine=f=880:d=3", "-map", "1:v", "-map", "0:v", "-map", "2:a", "-map", "0:a", "-c:v", "libx264",
            "-pix_fmt", "yuv420p", "-qp", "10", "-c:a", "aac", "-disposition:v:0", "0", "-disposition:v:1", "default",
        )  # fmt: skip

    @cached_property
    def late_video(self) -> Path:
        """The picture starts a second after the sound: numbered frames at 8 a second from 1 s to 3 s."""
        short = self.numbered("short.mkv", 16, 8)
        sound = ("-f", "lavfi", "-i", "sine=f=440:r=16000:d=3")
        return self.make("late.mkv", *sound, "-itsoffset", 1, "-i", short, "-map", "1:v", "-map", "0:a", "-c:v", "copy")

    @cached_property
    def truncated(self) -> Path:
        """A longer clip whose second half was never written; its index is at the front and promises 6 s."""
        noise = ("-f", "lavfi", "-i", "testsrc2=s=128x96:r=25:d=6", "-f", "lavfi", "-i", "anoisesrc=d=6:r=16000")
        options = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", 25, "-c:a", "aac", "-movflags", "+faststart")
        whole = self.make("whole.mp4", *noise, *options)
        return self._cut(whole, "truncated.mp4", 0.5)

    @cached_property
    def headless(self) -> Path:
        """An mp4 that was cut before its index (moov) was written."""
        return self._cut(self.steady, "headless.mp4", 0.6)

    def _cut(self, whole: Path, name: str, share: float) -> Path:
        path = self.folder / name
        content = whole.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        return path

    @cached_property
    def damaged(self) -> Path:
        """Bytes in the middle of the video data are wrong."""
        path = self.folder / "damaged.mp4"
        content = bytearray((self.folder / "whole.mp4").read_bytes() if self.truncated else b"")
        start = content.find(b"mdat") + 200
        for place in range(start, len(content), max(1, (len(content) - start) // 200)):
            content[place] ^= 0xFF
        path.write_bytes(content)
        return path

    @cached_property
    def blink(self) -> Path:
        """0.3 s of picture and sound."""
        sources = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=30:d=0.3", "-f", "lavfi", "-i", "sine=r=16000:d=0.3")
        return self.make("blink.mp4", *sources, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")

    @cached_property
    def long(self) -> Path:
        """A minute of 720p without audio: its decoding takes seconds."""
        source = ("-f", "lavfi", "-i", "testsrc2=s=1280x720:r=30:d=60")
        return self.make("long.mp4", *source, "-c:v", "libx264", "-preset", "ultrafast")

    @cached_property
    def still(self) -> Path:
        """A single JPEG picture."""
        return self.make("still.jpg", "-f", "lavfi", "-i", "testsrc=s=64x48:d=0.04", "-frames:v", 1)

    @cached_property
    def dot(self) -> Path:
        """One pixel."""
        source = "color=red:s=2x2:r=8:d=1,scale=1:1"  # ffmpeg 7 has no source of one pixel
        return self.make("dot.mkv", "-f", "lavfi", "-i", source, "-c:v", "ffv1")

    @cached_property
    def odd(self) -> Path:
        """Odd width and height."""
        return self.make("odd.mkv", "-f", "lavfi", "-i", "testsrc=s=101x67:r=15:d=1", "-c:v", "ffv1")

    @cached_property
    def growing(self) -> Path:
        """The picture size changes in mid-stream."""
        parts = [
            self.make(f"part{i}.ts", "-f", "lavfi", "-i", f"testsrc=s={size}:r=8:d=2", "-c:v", "libx264")
            for i, size in enumerate(("64x48", "128x96"))
        ]
        path = self.folder / "growing.ts"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        return path
