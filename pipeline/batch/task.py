"""What a batch run computes. A task can be sent to other machines; each builds its own engine from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ...extractors.sampling import ALL_STREAMS, Stream
from ...weights.manifest import Bundle
from ...weights.parts import trusted_packages
from ...weights.source import ANYWHERE, DownloadProgress, WeightSource
from ..decode.options import DecodeOptions
from ..decode.process import available_cores
from ..devices import FP32, ComputePrecision
from ..embeddings.identity import stream_parameters
from ..errors import MediaError
from ..features.batch_memory import check_batch_memory
from ..features.npy_folders import join_frames
from ..inference.bundle import LoadedBundle
from ..inference.extractors import DeviceNetworks, LoadedExtractors
from ..inference.similar_pictures import record_similar_pictures
from ..precisions import QUANTIZED
from ..preprocess.worker_process import DecodeWorker
from .compute_workers import (
    batch_sizes,
    decode_workers,
    record_graphs,
    select_streams,
    thread_networks,
    torch_threads,
    warm_up,
)
from .engine import Engine
from .journal import Journal, hash_values
from .plan import OutputSpec
from .storage import Storage
from .work import PendingVideo, VideoJob, VideoOutputs

Rows = NDArray[np.float32]
_BLOCK_SECONDS = 512  # of features in memory at a time


class HasNetworks(Protocol):
    """Loaded networks: one entry per device, the first device's first; notes for the user of what computes them."""

    @property
    def networks(self) -> Sequence[DeviceNetworks]: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def notes(self) -> tuple[str, ...]: ...


Loaded = TypeVar("Loaded", bound=HasNetworks)


@dataclass(frozen=True)
class ComputeSettings:
    """How a machine computes. Of these, only `precision` and `decoding` influence the results.

    Attributes:
        decoding: decoder and time limit.
        device: `auto`, `cpu`, `cuda` or several GPUs (`cuda:0,cuda:1`).
        precision: of the feature networks.
        batch_size: seconds of video per batch; None is the device's default.
        threads: CPU cores for networks; None is all.
        workers: decode workers; None is what keeps the device busy.

    Raises:
        ValueError: `decoding` selects a part; batch runs decode whole files.
    """

    decoding: DecodeOptions
    device: str = "auto"
    precision: ComputePrecision = FP32
    batch_size: int | None = None
    threads: int | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if not self.decoding.part.is_whole:
            raise ValueError("batch runs decode whole files: start and end go with one file")


@dataclass(frozen=True)
class RunContext(Generic[Loaded]):
    """What all steps of a run share.

    Attributes:
        loaded: networks, of `Task.load`.
        specs: output name -> what is written, of `Task.output_specs`.
        storage: of outputs and journal.
    """

    loaded: Loaded
    specs: Mapping[str, OutputSpec]
    storage: Storage


@dataclass(frozen=True, kw_only=True)
class Task(ABC, Generic[Loaded]):
    """Networks to run on every video and outputs to write from their features."""

    settings: ComputeSettings
    source: WeightSource = ANYWHERE

    @property
    @abstractmethod
    def profile(self) -> str:
        """Name of the profile that files are decoded under."""

    @abstractmethod
    def load(self, progress: DownloadProgress | None = None) -> Loaded:
        """Load the networks onto this machine's devices. Raises SetupError, WeightsError."""

    def identify(self, progress: DownloadProgress | None = None) -> Loaded:
        """Load what a plan needs, and what makes outputs of kept ones: all networks, or fewer. Raises as `load`."""
        return self.load(progress)

    def complete(self, run: RunContext[Loaded], progress: DownloadProgress | None = None) -> RunContext[Loaded]:  # noqa: ARG002
        """Return the context with what `identify` has left out. Raises as `load`."""
        return run

    def as_computed(self, loaded: Loaded) -> Loaded:
        """Return networks that were loaded in any precision, described as the task's precision computes."""
        return loaded

    def for_other_machines(self) -> Task[Loaded]:
        """Return the same task with absolute paths, for processes that run in other folders."""
        return self

    def warnings(self, loaded: Loaded) -> tuple[str, ...]:  # noqa: ARG002 - most tasks have none
        """Return what users should know of all results of the task, whatever the video."""
        return ()

    @abstractmethod
    def output_specs(self, loaded: Loaded) -> dict[str, OutputSpec]:
        """Return what is written for each video, by output name."""

    @abstractmethod
    def path_templates(self, loaded: Loaded) -> dict[str, str]:
        """Return the path template of every file that such tasks write for a video, with any options, by output."""

    def start(self, loaded: Loaded, storage: Storage) -> RunContext[Loaded]:
        """Return the context of a run with loaded networks."""
        return RunContext(loaded, self.output_specs(loaded), storage)

    def compile(self, run: RunContext[Loaded]) -> RunContext[Loaded]:
        """Return the context with networks for many videos: what takes seconds, and is not done for a single one."""
        return run

    @abstractmethod
    def write_outputs(self, run: RunContext[Loaded], video: PendingVideo) -> VideoOutputs:
        """Write the outputs that the video's job asks for. Raises MediaError, OutputError."""

    def remake_outputs(self, run: RunContext[Loaded], job: VideoJob) -> VideoOutputs:
        """Write the outputs of a job from the one that it names as their source.

        Raises:
            DatasetError: the source is damaged.
            MediaError, OutputError: as of `write_outputs`.
        """
        raise NotImplementedError(f"{type(self).__name__} makes no output of another")

    def computed(self, run: RunContext[Loaded], job: VideoJob) -> VideoJob:
        """Return the job that makes the outputs of a job with a source, and the source again, from the input."""
        source = next(spec.source for name, spec in run.specs.items() if name in job.output_names)
        names = (*job.output_names, source)
        needed = {stream for name in names for stream in run.specs[name].streams}
        streams: tuple[Stream, ...] = tuple(stream for stream in ALL_STREAMS if stream in needed)
        return replace(job, streams=streams, output_names=names, source="")

    def check(self, run: RunContext[Loaded], *, overwrite: bool) -> None:
        """Before planning: raise SetupError where the storage holds results that do not fit this task's."""

    def prepare(self, run: RunContext[Loaded]) -> None:
        """Write what has to be in the storage before the first video."""

    def finalize(self, run: RunContext[Loaded], journal: Journal) -> str | None:
        """Write what is made of all videos, after the last; return a line for the user, if any.

        A shard does not call it: the same run without shards does, once all of them are done.
        """

    def describe_finalize(self) -> str:
        """Return what `finalize` writes, for users; empty where it writes nothing."""
        return ""

    def batch_sizes(self, device: torch.device) -> dict[Stream, int]:
        """Return the inputs in a batch of each stream."""
        return batch_sizes(device, self.settings.batch_size, self.profile)

    def engine(self, run: RunContext[Loaded], *, videos: int) -> Engine:
        """Build an engine; on a CPU, set PyTorch's number of threads for it.

        Args:
            run: of `start`, or of `compile`.
            videos: no more than this many are in progress, so no more decode workers are started.

        Raises:
            SetupError: a batch does not fit into memory.
        """
        settings = self.settings
        needed = {stream for spec in run.specs.values() for stream in spec.streams}
        networks = [select_streams(one, [s for s in one[1] if s in needed]) for one in run.loaded.networks]
        sizes = self.batch_sizes(run.loaded.device)
        cores = settings.threads or available_cores()
        if run.loaded.device.type == "cpu":
            torch.set_num_threads(torch_threads(cores))
        if settings.precision.compiled:
            warm_up(networks, sizes)
        of_threads = thread_networks([record_graphs(one, sizes) for one in networks], cores)
        if run.loaded.device.type == "cpu":
            for network in networks[0][1].values():
                network.expect_callers(len(of_threads))
        if not settings.precision.compiled:
            check_batch_memory(networks[0][1], sizes, threads=len(of_threads))
        return Engine(
            of_threads,
            sizes,
            partial(DecodeWorker, self.profile, settings.decoding),
            lambda video: self.write_outputs(run, video),
            workers=min(settings.workers or decode_workers(run.loaded.device, settings.threads), max(1, videos)),
        )


@dataclass(frozen=True, kw_only=True)
class BundleTask(Task[Loaded]):
    """A task with the networks of a bundle."""

    bundle: Bundle

    loader: ClassVar[Callable[..., Any]]  # `bundle.load_networks` or `extractors.load_extractors`

    @property
    def profile(self) -> str:
        return self.bundle.profile

    def load(self, progress: DownloadProgress | None = None) -> Loaded:
        """Load the bundle's networks."""
        return self._load(progress)

    def _load(self, progress: DownloadProgress | None, **options: Any) -> Loaded:
        loaded = type(self).loader(
            self.bundle,
            source=replace(self.source, progress=progress),
            device=self.settings.device,
            precision=self.settings.precision,
            **options,
        )
        return record_similar_pictures(loaded, self.settings.decoding)

    def for_other_machines(self) -> BundleTask[Loaded]:
        """Return the task with absolute paths of bundle and weights, and the packages that are trusted here."""
        folder, trust = _absolute(self.source.folder), trusted_packages(self.source.trust)
        return replace(
            self,
            bundle=replace(self.bundle, root=_absolute(self.bundle.root)),
            source=replace(self.source, folder=folder, trust=trust),
        )

    def as_computed(self, loaded: Loaded) -> Loaded:
        """Return the networks with the specification of the features that other machines compute."""
        extractors: Any = loaded.extractors if isinstance(loaded, LoadedBundle) else loaded
        wanted = self.settings.precision
        precision = extractors.precision if extractors.precision.name in QUANTIZED else wanted
        spec = replace(extractors.spec, precision=precision.name, backend=precision.backend)
        described: Any = replace(extractors, spec=spec, precision=precision)
        if isinstance(loaded, LoadedBundle):
            described = replace(loaded, extractors=described)
        return described

    def stream_parameters(self, loaded: LoadedExtractors) -> dict[str, str]:
        """Return for each stream a hash of everything that determines its features."""
        parameters = stream_parameters(loaded, self.settings.decoding)
        return {stream: hash_values(values) for stream, values in parameters.items()}


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else path.absolute()


def per_second_features(video: PendingVideo, spec: FeatureSpec, *, frames: bool = False) -> Iterator[tuple[Rows, ...]]:
    """Yield blocks of features per second, (n, width) for each stream of a specification.

    Args:
        video: complete.
        spec: of its features.
        frames: put the frames of a second side by side, see `join_frames`; else take their mean, which suffices for
            parsers without `ParserConfig.needs_frames`.

    Yields:
        Blocks of the streams.

    Raises:
        MediaError: they have NaN or infinity.
    """
    blocks = (
        video.blocks(stream, _BLOCK_SECONDS * rate) for stream, rate in zip(spec.streams, spec.rates, strict=True)
    )
    for rows in zip(*blocks, strict=True):
        check_finite(video, *rows)
        yield tuple(join_frames(part, rate, frames=frames) for part, rate in zip(rows, spec.rates, strict=True))


def check_finite(video: PendingVideo, *arrays: Rows) -> None:
    """Raise MediaError for NaN and infinity, which damaged weights or half precision can produce."""
    if not all(np.isfinite(rows).all() for rows in arrays):
        raise MediaError(video.job.path, "its features are not finite", "not-finite")
