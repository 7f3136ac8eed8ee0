"""Stand-ins for CLIP and CLAP with known embeddings: colours are seen, pitches are heard.

A picture of one colour lies nearest to the sentence that names the colour, a tone nearest to the one that names its
pitch. Sentences with other words have directions of their own, which no picture and no tone is near.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avvp.extractors import Extractor
from avvp.extractors.inputs import CLAP_MEL, CLIP_FRAME
from torch import Tensor
from torch.nn import functional as F

from .media import ffmpeg

COLOURS = {"red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0), "violet": (1, 0, 1)}
PITCHES = {"low tone": 300, "middle tone": 1500, "high tone": 6000}  # Hz
DIM = 32


def directions(names: Sequence[str]) -> Tensor:
    """(N, DIM) unit vectors at right angles, one for each name."""
    return torch.eye(DIM)[: len(names)]


class _StandIn(Extractor):
    """Rows of known embeddings, and the sentences near them."""

    names: tuple[str, ...]
    max_tokens: int | None = 16

    def __init__(self) -> None:
        super().__init__(dim=DIM)
        self.scale = torch.nn.Parameter(torch.ones(1))  # an extractor has parameters

    def count_tokens(self, sentences: Sequence[str]) -> list[int]:
        return [len(sentence.split()) + 2 for sentence in sentences]

    def encode(self, sentences: Sequence[str]) -> Tensor:
        return torch.stack([self._encode(sentence.lower()) for sentence in sentences])

    def _encode(self, sentence: str) -> Tensor:
        names = (*self.names, "other")  # what has none of them
        for name, row in zip(names, directions(names), strict=True):
            if name in sentence:
                return row
        random = np.random.default_rng(zlib.crc32(sentence.encode()))
        row = torch.zeros(DIM)
        row[len(self.names) + 1 :] = torch.from_numpy(random.standard_normal(DIM - len(self.names) - 1)).float()
        return F.normalize(row, dim=0)


class SeenColours(_StandIn):
    """Pictures -> which of `COLOURS` they have."""

    input_format = CLIP_FRAME
    names = tuple(COLOURS)

    def forward(self, x: Tensor) -> Tensor:
        mean = x.float().mean(dim=(1, 2))  # (N, 3)
        known = torch.tensor(list(COLOURS.values()), dtype=torch.float32)
        near = torch.exp(-20 * torch.cdist(mean, known))
        rest = torch.full((len(x), 1), 0.05)
        return (
            F.normalize(torch.cat([near, rest, torch.zeros(len(x), DIM - len(COLOURS) - 1)], dim=1), dim=-1)
            * self.scale
        )


class HeardPitches(_StandIn):
    """Sounds -> which of `PITCHES` they have."""

    input_format = CLAP_MEL
    names = tuple(PITCHES)

    def forward(self, x: Tensor) -> Tensor:
        power = (x.float() / 10).exp2().mean(dim=1)  # (N, bands)
        bands = torch.linspace(0, 1, power.shape[1])
        edges = torch.tensor([[0.0, 0.3], [0.3, 0.6], [0.6, 1.01]])
        near = torch.stack([power[:, (bands >= low) & (bands < high)].amax(dim=1) for low, high in edges], dim=1)
        rest = torch.full((len(x), 1), 0.05)
        near = near / near.sum(dim=1, keepdim=True).clamp(min=0.05)  # what a codec leaves of a tone in silence is none
        return (
            F.normalize(torch.cat([near**4, rest, torch.zeros(len(x), DIM - len(PITCHES) - 1)], dim=1), dim=-1)
            * self.scale
        )


def write_stand_ins(folder: Path) -> Path:
    """Write an open bundle of the stand-ins; the options `TRUST` let it run."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    for name in ("pitches", "colours"):
        save_file({"scale": torch.ones(1)}, folder / f"{name}.safetensors")
    (folder / "bundle.toml").write_text(
        'profile = "clip-clap"\nextractors = { pitches = "pitches.safetensors", colours = "colours.safetensors" }\n'
        'texts = { pitches = "", colours = "" }\nparser = {}\n'
        f'parts = {{ pitches = "{__name__}:HeardPitches", colours = "{__name__}:SeenColours" }}\n'
    )
    return folder


TRUST = ("--trust-parts", __name__)


def make_film(path: Path, scenes: Sequence[tuple[str | None, str | None, int]], **options: Any) -> Path:
    """Make a film of scenes: colour (None: grey), pitch (None: silence) and seconds each.

    Options: `audio=False` or `video=False` leave the stream out.
    """
    inputs: list[Any] = []
    filters, joined = [], ""
    for index, (colour, pitch, seconds) in enumerate(scenes):
        level = "0x" + "".join(f"{255 * value:02x}" for value in COLOURS[colour]) if colour else "0x808080"
        inputs += ["-f", "lavfi", "-i", f"color=c={level}:s=64x48:r=8:d={seconds}"]
        tone = f"sine=f={PITCHES[pitch]}:r=48000:d={seconds}" if pitch else f"anullsrc=r=48000:cl=mono:d={seconds}"
        inputs += ["-f", "lavfi", "-i", tone]
        filters.append(f"[{2 * index + 1}:a]aformat=sample_rates=48000:channel_layouts=mono[a{index}]")
        joined += f"[{2 * index}:v][a{index}]"
    filters.append(f"{joined}concat=n={len(scenes)}:v=1:a=1[v][a]")
    streams = [part for name in ("video", "audio") if options.get(name, True) for part in ("-map", f"[{name[0]}]")]
    if not options.get("audio", True):
        filters.append("[a]anullsink")
    if not options.get("video", True):
        filters.append("[v]nullsink")
    codecs = ("-c:v", "libx264", "-qp", "4", "-pix_fmt", "yuv444p", "-c:a", "aac")
    ffmpeg(*inputs, "-filter_complex", ";".join(filters), *streams, *codecs, path)
    return path
