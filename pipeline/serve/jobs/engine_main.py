"""Main function of the engine: a process that loads the networks of a bundle, then parses one file after another.

It reads standard input, one JSON object per line: the fields of `EngineSettings`, then commands. These are ``{"parse":
{"path", "name", "target", "classes"}}``, with the classes that are looked for in place of those of the settings, and
``{"cancel": true}`` for the file that is parsed. It answers in the same format: ``{"ready": model, "choice": lines}``,
where the lines say why backend and precision were chosen and what computes the networks, or ``{"failed": cause}`` at
first; then ``{"progress": [stage, done, total]}``, and for each file ``{"done": {"duration", "events"}}``, ``{"failed":
cause}``, ``{"output": cause}`` where the timeline cannot be written, or ``{"stopped": true}``. It ends with standard
input.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ....weights.errors import WeightsError
from ....weights.manifest import Bundle
from ....weights.remote.bundles import load_bundle
from ....weights.source import WeightSource
from ...batch.compute_workers import file_batches, warm_up_lanes
from ...child_output import MessageWriter
from ...clock import format_clock
from ...computing.choose import choose
from ...decode.options import DecodeOptions
from ...devices import FP32, ComputePrecision, resolve_device
from ...embeddings.store import EmbeddingStore
from ...errors import AVVPError, MediaError, OutputError, SetupError
from ...features.compute_lanes import Batches, one_core
from ...features.extract import FeatureSet
from ...files import write_atomic
from ...inference.bundle import LoadedBundle, load_networks, with_other_classes
from ...inference.bundle_precision import check_named, precision_of
from ...inference.other_profile import with_profile
from ...inference.parse_video import extract_with, make_timeline
from ...inference.predict import predict_video
from ...inference.thresholds import NO_TABLES, Thresholds, read_thresholds
from ...memory import converting_out_of_memory
from ...outputs.formats.events_json import to_json
from ...outputs.html.bands import media_bands
from ...precisions import default_backend
from ...preprocess.worker_process import shared_worker
from ...text import escape
from .classes import NO_OTHERS, other_vocabulary
from .engine import EngineSettings
from .timeline_store import BANDS

_PROGRESS_INTERVAL = 0.1  # seconds
_OTHERS = 16  # lists of classes of requests whose embeddings are kept


class _StoppedError(Exception):
    """The job was cancelled."""


@dataclass(frozen=True, eq=False)
class _Loaded:
    """What stays from file to file."""

    bundle: LoadedBundle
    thresholds: Thresholds
    decoding: DecodeOptions
    batches: Batches
    notes: str  # lines: why backend and precision were chosen, and of what computes the networks
    named: Bundle
    source: WeightSource
    store: EmbeddingStore | None  # of an open bundle
    others: dict[tuple[str, ...], LoadedBundle] = field(default_factory=dict)  # with other classes, the last ones

    def looking_for(self, classes: tuple[str, ...]) -> LoadedBundle:
        """Return the networks for classes of a request; none for those of the settings. Raises SetupError."""
        if not classes:
            return self.bundle
        if classes not in self.others:
            if self.named.classes is None:  # of a job that waited for a server with another bundle
                raise SetupError(NO_OTHERS)
            vocabulary = other_vocabulary(classes, self.named.classes)
            found = with_other_classes(self.bundle, replace(self.named, classes=vocabulary.to_dict()), self.source)
            if len(self.others) >= _OTHERS:
                del self.others[next(iter(self.others))]
            self.others[classes] = found
        return self.others[classes]


def main() -> None:
    """Load the networks, then parse files until standard input ends."""
    writer = MessageWriter()
    options = EngineSettings(**json.loads(sys.stdin.readline()))
    commands: queue.Queue[dict[str, Any]] = queue.Queue()
    cancelled = threading.Event()
    threading.Thread(target=_read_commands, args=(commands, cancelled), daemon=True).start()
    try:
        with converting_out_of_memory(lambda _: SetupError("there is not enough memory for these networks")):
            loaded = _load(options)
            _warm_up(loaded)
    except (AVVPError, WeightsError, ValueError) as error:
        writer.send({"failed": str(error)})
        return
    digest = hashlib.sha256(json.dumps(sorted(loaded.bundle.hashes.items())).encode()).hexdigest()[:8]
    writer.send({"ready": f"{loaded.bundle.name}-{digest}", "choice": loaded.notes})
    while True:
        command = commands.get()
        cancelled.clear()
        path = Path(command["parse"]["path"])
        progress = _Progress(writer, cancelled, options.max_media, path)
        writer.send(_parse(command["parse"], loaded, options, progress))


def _load(options: EngineSettings) -> _Loaded:
    """Load the networks. Raises SetupError, WeightsError."""
    import torch

    if options.threads is not None:
        torch.set_num_threads(options.threads)
    folder = None if options.weights_dir is None else Path(options.weights_dir)
    source = WeightSource(
        folder, offline=True, trust=tuple(options.trust)
    )  # the command has downloaded what was missing
    named = replace(with_profile(load_bundle(options.weights, source), options.profile), classes=options.vocabulary)
    check_named(named, precision=options.precision, backend=options.backend)
    precision = options.precision or FP32.name
    wanted = ComputePrecision(precision, backend=options.backend or default_backend(precision))
    choice = choose(precision_of(named, wanted), resolve_device(options.device), options.threads)
    with one_core():
        bundle = load_networks(named, source=source, device=options.device, precision=choice.precision).compile_parser()
    tables = NO_TABLES if options.thresholds is None else read_thresholds(Path(options.thresholds))
    thresholds = bundle.thresholds.changed(tables, segment=options.threshold, video=options.threshold)
    decoding = DecodeOptions(timeout=options.decode_timeout, debug=options.debug)
    notes = "\n".join(filter(None, (choice.reason, *bundle.notes)))
    store = EmbeddingStore(Path(options.embeddings)) if options.embeddings is not None and named.is_open else None
    return _Loaded(bundle, thresholds, decoding, file_batches(bundle.extractors), notes, named, source, store)


def _other_thresholds(bundle: LoadedBundle, options: EngineSettings) -> Thresholds:
    """Return the thresholds of classes of a request; those of the settings by class are of the server's classes."""
    return bundle.thresholds.changed(segment=options.threshold, video=options.threshold)


def _warm_up(loaded: _Loaded) -> None:
    """Do what the first file would have to wait for: start a decoder, arrange the networks for their batches."""
    bundle, spec = loaded.bundle, loaded.bundle.extractors.spec
    with shared_worker(spec.profile, loaded.decoding) as worker:
        worker.start()
    warm_up_lanes(bundle.extractors, loaded.batches)
    seconds = bundle.parser.config.segments
    streams = [np.zeros((seconds * rate, dim), np.float32) for rate, dim in zip(spec.rates, spec.dims, strict=True)]
    with one_core():
        predict_video(bundle.predictor, streams, bundle.device)


def _parse(command: dict[str, Any], loaded: _Loaded, options: EngineSettings, progress: _Progress) -> dict[str, Any]:
    """Parse a file and return the message about it."""
    path = Path(command["path"])
    classes = tuple(command["classes"])
    try:
        bundle = loaded.looking_for(classes)
        features = _features(path, command["name"], bundle, loaded, progress)
        progress.check(features.duration)
        progress("events", features.duration, features.duration)
        with one_core():
            thresholds = _other_thresholds(bundle, options) if classes else loaded.thresholds
            timeline = make_timeline(features, bundle, thresholds)
        progress("film", features.duration, features.duration)
        target = Path(command["target"])
        bands, warnings = _bands(path, features.duration, options)
        write_atomic(target.with_name(BANDS), json.dumps(bands).encode())
        # Clients see the name of the file, not where it is on this machine.
        media = {**timeline.media, "path": command["name"]}
        timeline = replace(timeline, media=media, warnings=(*timeline.warnings, *warnings))
        write_atomic(target, to_json(timeline, segments=True))
    except _StoppedError:
        return {"stopped": True}
    except MediaError as error:
        return {"failed": error.cause}
    except OutputError as error:
        return {"output": str(error)}
    except (AVVPError, WeightsError, MemoryError) as error:
        return {"failed": escape(error) or "there is not enough memory for this file"}
    except Exception as error:  # a bug must not end the other jobs
        if options.debug:
            traceback.print_exc()
        return {"failed": f"internal error, please report it: {type(error).__name__}: {escape(error)[:500]}"}
    return {"done": {"duration": features.duration, "events": len(timeline.events)}}


def _features(path: Path, name: str, bundle: LoadedBundle, loaded: _Loaded, progress: _Progress) -> FeatureSet:
    """Return the features of a file; those of an open bundle are kept. Raises as `extract_with`."""

    def extract() -> FeatureSet:
        return extract_with(bundle, path, decoding=loaded.decoding, batches=loaded.batches, progress=progress)

    if loaded.store is None:
        return extract()
    tell = partial(print, file=sys.stderr)  # which is shown with --debug
    return loaded.store.provide(path, bundle.extractors, loaded.decoding, extract, name=name, tell=tell)


def _bands(path: Path, duration: float, options: EngineSettings) -> tuple[dict[str, Any], list[str]]:
    """Return film, waveform and spectrogram for the page. Without them, the page has everything else."""
    try:
        return media_bands(path, duration)
    except Exception as error:  # a bug in what is only drawn must not fail the job
        if options.debug:
            traceback.print_exc()
        return {}, [f"film and waveform are left out: {type(error).__name__}"]


class _Progress:
    """Progress callback, which stops the job where it is cancelled or its media are too long."""

    def __init__(self, writer: MessageWriter, cancelled: threading.Event, max_media: float, path: Path) -> None:
        self._writer, self._cancelled, self._max_media, self._path = writer, cancelled, max_media, path
        self._last = 0.0

    def __call__(self, stage: str, done: float, total: float | None) -> None:
        if self._cancelled.is_set():
            raise _StoppedError
        self.check(max(done, total or 0.0))
        if time.monotonic() - self._last > _PROGRESS_INTERVAL or stage in {"events", "film"}:
            self._last = time.monotonic()
            self._writer.send({"progress": [stage, done, total]})

    def check(self, seconds: float) -> None:
        """Raise MediaError for media that are longer than a job may have."""
        if seconds > self._max_media:
            lasts, most = format_clock(seconds), format_clock(self._max_media)
            raise MediaError(self._path, f"lasts {lasts}, longer than {most}, the most that this server takes")


def _read_commands(commands: queue.Queue[dict[str, Any]], cancelled: threading.Event) -> None:
    for line in sys.stdin:
        command = json.loads(line)
        if "cancel" in command:
            cancelled.set()
        else:
            commands.put(command)
    os._exit(0)  # the server has ended; decode workers end when this process does
