"""Measure what classes by their names cost: the teachers, kept embeddings, and the search.

    python benchmarks/open.py [--parts teachers,kept,search] [--ways torch:fp32,torch:bf16,openvino:fp32,...]
        [--batch 8] [--rounds 3] [--hours 1] [--searched 1000000] [--folder FOLDER]

`teachers` prints the seconds of video that CLIP ViT-L/14 and CLAP compute in a second, each alone and both, with random
parameters: decoding is not in it. The ways take turns, and the ratio is to the first. `kept` prints the time from the
embeddings of hours of video, in a file, to its events, with 25 classes and the shipped background, by each rule.
`search` prints the time to find a text, and ten texts, in that many seconds, written to files of an hour in `--folder`,
by default a temporary one; then by the index of faiss, if it is installed.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.profiles import FeatureSpec
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.decode.container.media_facts import MediaFacts
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.embeddings.embeddings import STREAMS, Embeddings
from avvp.pipeline.embeddings.files import load_embeddings, write_embeddings
from avvp.pipeline.embeddings.search.index import import_faiss, open_index, search_index
from avvp.pipeline.embeddings.search.kept import Archive, list_kept
from avvp.pipeline.embeddings.search.query import SearchQuery, SearchSettings
from avvp.pipeline.embeddings.search.search import scaled_query, search_all
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.extractors import load_extractors
from avvp.pipeline.open_vocabulary.classes import read_vocabulary
from avvp.pipeline.open_vocabulary.network import OpenConfig, OpenVocabulary
from avvp.pipeline.precisions import BACKENDS, TORCH
from avvp.pipeline.timeline import SINGLE_MODALITIES
from avvp.weights.manifest import Bundle
from measure.in_memory import random_inputs
from measure.options import make_parser
from measure.precisions import is_supported
from measure.timing import CPU, time_call, time_in_turns
from numpy.typing import NDArray

HOUR = 3600  # seconds
PARTS = ("teachers", "kept", "search")
RULES = ("av2a", "scope", "fixed")
WIDTHS = (512, 768)  # of CLAP's and of CLIP's embeddings
BACKGROUND = 60  # texts that those of a search are compared with
_TEACHERS = {"audio": "sounds", "visual_2d": "pictures"}  # by stream


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--ways", default="", help="[default: all that this machine computes]")
    parser.add_argument("--batch", type=int, help="seconds in a batch [default: 8]")
    parser.add_argument("--rounds", type=int, help="[default: 3]")
    parser.add_argument("--hours", type=int, help="of video with kept embeddings [default: 1]")
    parser.add_argument("--searched", type=int, help="seconds [default: 1,000,000]")
    parser.add_argument("--folder", type=Path, help="for the embeddings that are searched; they stay there")
    options = parser.parse_args(argv)
    rounds = options.rounds or (1 if options.smoke else 3)
    if unknown := set(options.parts.split(",")) - set(PARTS):
        parser.error(f"--parts: {min(unknown)!r} is none of {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if "teachers" in options.parts:
            ways = read_ways(options.ways, smoke=options.smoke)
            measure_teachers(ways, options.batch or (2 if options.smoke else 8), rounds, smoke=options.smoke)
        if "kept" in options.parts:
            measure_kept(folder / "kept", (options.hours or 1) * (60 if options.smoke else HOUR), rounds)
        if "search" in options.parts:
            measure_search(folder / "searched", options.searched or (600 if options.smoke else 1_000_000), rounds)


def read_ways(text: str, *, smoke: bool) -> list[tuple[str, str]]:
    """Return backends and precisions: those named, or all of which a bundle that is not quantized computes here."""
    if text:
        return [(backend, precision) for backend, _, precision in (way.partition(":") for way in text.split(","))]
    if smoke:
        return [(TORCH, "fp32"), (TORCH, "bf16")]
    found = [(backend, name) for backend, names in BACKENDS.items() for name in names if name in {"fp32", "bf16"}]
    return [(backend, name) for backend, name in found if is_supported(name, CPU)]


def measure_teachers(ways: Sequence[tuple[str, str]], batch: int, rounds: int, *, smoke: bool) -> None:
    """Print the seconds of video per second of both teachers, and of each."""
    names = ("clap_tiny", "clip_tiny") if smoke else ("clap", "clip")
    files: dict[str, str] = dict.fromkeys(names, "")
    bundle = Bundle(name="random", description="", profile="clip-clap", extractors=files, parser={}, seed=1)
    calls: dict[str, Callable[[int], object]] = {}
    for backend, precision in ways:
        try:
            loaded = load_extractors(bundle, device="cpu", precision=ComputePrecision(precision, backend=backend))
        except SetupError as error:
            print(f"{backend} {precision}: {error}")
            continue
        for stream, extractor in loaded.networks[0][1].items():
            inputs = torch.from_numpy(random_inputs(extractor.input_format, batch))
            calls[f"{backend} {precision}, {_TEACHERS[stream]}"] = computation(extractor, inputs)
    for call in calls.values():
        call(0)  # the first call arranges memory
    times = {name: median(values) for name, values in time_in_turns(calls, rounds).items()}
    first = 0.0
    for backend, precision in ways:
        own = {name: times.get(f"{backend} {precision}, {name}") for name in _TEACHERS.values()}
        seconds = [value for value in own.values() if value is not None]
        if len(seconds) < len(own):
            continue
        first = first or sum(seconds)
        alone = ", ".join(f"{name} {batch / value:.2f}" for name, value in own.items() if value)
        both = f"{batch / sum(seconds):.2f} seconds of video per second ({alone})"
        print(f"{backend} {precision}: {both}, x{first / sum(seconds):.2f}")


def computation(extractor: Extractor, inputs: torch.Tensor) -> Callable[[int], object]:
    """Return a function that computes the features of a batch."""

    def compute(_: int) -> None:
        with torch.inference_mode():
            extractor(extractor.prepare(inputs))

    return compute


def measure_kept(folder: Path, seconds: int, rounds: int) -> None:
    """Print the time from kept embeddings to events, by each rule."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "video.safetensors"
    write_embeddings(path, random_embeddings("video", seconds, 0))
    for rule in RULES:
        vocabulary = read_vocabulary(list(LLP_LABELS), name=rule)
        count = len(vocabulary.everything)
        texts = {name: unit_rows(count, width, 1) for name, width in zip(SINGLE_MODALITIES, WIDTHS, strict=True)}
        network = OpenVocabulary(OpenConfig(vocabulary, *WIDTHS), texts)
        thresholds = {name: np.array(vocabulary.thresholds(name)) for name in SINGLE_MODALITIES}

        def parse(network: OpenVocabulary = network, thresholds: dict[str, NDArray[np.float64]] = thresholds) -> None:
            features = load_embeddings(path).features().arrays()
            network.decide(network.predict([features[stream] for stream in STREAMS]), thresholds)

        times = [time_call(parse) for _ in range(rounds)]
        print(f"{seconds / HOUR:.2f} h of kept embeddings, rule {rule}, {count} sentences: {median(times):.2f} s")


def measure_search(folder: Path, seconds: int, rounds: int) -> None:
    """Print the time to search for one text and for ten, by reading all rows and by the index."""
    folder.mkdir(parents=True, exist_ok=True)
    left, number = seconds, 0
    while left > 0:
        path = folder / f"{number:05d}.embeddings.safetensors"
        if not path.exists():
            write_embeddings(path, random_embeddings(path.name, min(HOUR, left), number))
        left, number = left - HOUR, number + 1
    archive = Archive(list_kept([folder]), TEACHERS)
    for count in (1, 10):
        sizes = zip(SINGLE_MODALITIES, WIDTHS, strict=True)
        texts = {name: unit_rows(count + BACKGROUND, width, 2) for name, width in sizes}
        query = scaled_query(SearchQuery.of([f"text {index}" for index in range(count)], texts), archive)
        every = time_search(partial(search_all, archive, query, SearchSettings()), rounds)
        print(f"{seconds:,} s in {number} files, {count} texts: {every:.2f} s")
        try:
            import_faiss()
        except SetupError as error:
            print(f"no index: {error}")
            continue
        started = time.perf_counter()
        index = open_index(folder / "index", archive)
        made = time.perf_counter() - started
        quick = time_search(partial(search_index, index, archive, query, SearchSettings()), rounds)
        print(f"  by the index, made or opened in {made:.1f} s: {quick:.2f} s, x{every / quick:.1f}")


def time_search(search: Callable[[], object], rounds: int) -> float:
    """Return the median of the seconds that a search takes, after one that reads from the disk."""
    search()
    return median(time_call(search) for _ in range(rounds))


TEACHERS: dict[str, str] = dict.fromkeys(STREAMS, "random")
_SPEC = FeatureSpec("clip-clap", 1, ("clap", "clip"), WIDTHS, 1, 48_000, STREAMS)


def random_embeddings(name: str, seconds: int, seed: int) -> Embeddings:
    """Make the embeddings of a video."""
    facts = MediaFacts(
        path=name, format="mp4", container_duration=float(seconds), duration=float(seconds), audio_codec="aac",
        audio_duration=float(seconds), video_codec="h264", video_duration=float(seconds), width=640, height=360,
        frame_rate=25.0, decoder="ffmpeg", frames_decoded=seconds, frames_damaged=0,
    )  # fmt: skip
    rows = [unit_rows(seconds, width, seed) for width in WIDTHS]
    return Embeddings.of_rows(*rows, name=name, media=facts, spec=_SPEC, teachers=TEACHERS)


def unit_rows(count: int, width: int, seed: int) -> NDArray[np.float32]:
    """Return random rows of length 1."""
    rows = np.random.default_rng(seed).standard_normal((count, width), np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


if __name__ == "__main__":
    main()
