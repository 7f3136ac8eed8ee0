"""What a batch run computes, in a form that can be sent to other machines: each makes its own engine of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ...extractors.sampling import FRAMES_PER_SEGMENT, STREAMS, Stream
from ...weights.manifest import Bundle
from ...weights.source import ANYWHERE, DownloadProgress, WeightSource
from ..decode.options import DecodeOptions
from ..decode.resampling import DEFAULT_RESAMPLER
from ..devices import FP32, ComputePrecision
from ..errors import MediaError
from ..inference.bundle import DeviceNetworks, LoadedExtractors
from ..preprocess.worker_process import DecodeWorker
from .compute_workers import batch_sizes, decode_workers, on_device, split_compute_threads, warm_up
from .engine import Engine
from .journal import Journal, hash_values
from .plan import OutputSpec
from .storage import Storage
from .work import PendingVideo, VideoOutputs

Rows = NDArray[np.float32]
_SECONDS_AT_ONCE = 512  # in memory while rows are read
_PARAMETERS_VERSION = 1  # grows when the same parameters make other features


class HasNetworks(Protocol):
    """What a task has loaded: networks by device, the first device's first."""

    @property
    def networks(self) -> Sequence[DeviceNetworks]: ...

    @property
    def device(self) -> torch.device: ...


Loaded = TypeVar("Loaded", bound=HasNetworks)


@dataclass(frozen=True)
class ComputeSettings:
    """How a machine computes. Only `precision` and `decoding` are part of what the results are."""

    decoding: DecodeOptions
    device: str = "auto"
    precision: ComputePrecision = FP32
    batch_size: int | None = None  # seconds of video
    threads: int | None = None
    workers: int | None = None  # decoding processes


@dataclass(frozen=True, kw_only=True)
class Task(ABC, Generic[Loaded]):
    """Networks, and what is made with them of each video."""

    settings: ComputeSettings
    source: WeightSource = ANYWHERE

    inputs: ClassVar[str] = "networks"  # what files are decoded for, a key of `input_kinds.KINDS`

    @property
    @abstractmethod
    def profile(self) -> str:
        """Name of the profile that files are decoded under."""

    @abstractmethod
    def load(self, progress: DownloadProgress | None = None) -> Loaded:
        """The networks on this machine's devices. Raises SetupError, WeightsError."""

    def for_other_machines(self) -> Task[Loaded]:
        """The same task for programs that run in other folders."""
        return self

    @abstractmethod
    def products(self, loaded: Loaded) -> dict[str, OutputSpec]:
        """What is made of each video."""

    @abstractmethod
    def make(
        self, loaded: Loaded, products: Mapping[str, OutputSpec], storage: Storage, video: PendingVideo
    ) -> VideoOutputs:
        """Make the products that the video's work asks for."""

    def check(self, loaded: Loaded, storage: Storage, *, overwrite: bool) -> None:
        """Before the plan is made. Raises SetupError where the storage holds what does not go with the results."""

    def prepare(self, loaded: Loaded, storage: Storage) -> None:
        """Before the first video."""

    def finalize(
        self, loaded: Loaded, products: Mapping[str, OutputSpec], storage: Storage, journal: Journal
    ) -> str | None:
        """After the last video; returns what the person should know of it."""

    def batch_sizes(self, device: torch.device) -> dict[Stream, int]:
        """Inputs of each stream in a batch."""
        return batch_sizes(device, self.settings.batch_size)

    def engine(self, loaded: Loaded, products: Mapping[str, OutputSpec], storage: Storage, *, videos: int) -> Engine:
        """An engine for at most so many videos at a time."""
        settings, needed = self.settings, {stream for product in products.values() for stream in product.streams}
        streams: list[Stream] = [stream for stream in STREAMS if stream in needed]
        networks = [on_device(one, streams) for one in loaded.networks]
        compute_threads = split_compute_threads(networks, settings.threads)
        sizes = self.batch_sizes(loaded.device)
        if settings.precision.compiled:
            warm_up(networks, sizes)
        return Engine(
            compute_threads,
            sizes,
            partial(DecodeWorker, self.profile, settings.decoding, inputs=self.inputs),
            lambda video: self.make(loaded, products, storage, video),
            workers=min(settings.workers or decode_workers(loaded.device, settings.threads), max(1, videos)),
        )


@dataclass(frozen=True, kw_only=True)
class BundleTask(Task[Loaded]):
    """With the networks of a bundle."""

    bundle: Bundle

    loader: ClassVar[Callable[..., Any]]  # `bundle.load_networks` or `bundle.load_extractors`

    @property
    def profile(self) -> str:
        return self.bundle.profile

    def load(self, progress: DownloadProgress | None = None) -> Loaded:
        return type(self).loader(
            self.bundle,
            source=replace(self.source, progress=progress),
            device=self.settings.device,
            precision=self.settings.precision,
        )

    def for_other_machines(self) -> BundleTask[Loaded]:
        root, folder = self.bundle.root, self.source.folder
        return replace(
            self,
            bundle=replace(self.bundle, root=None if root is None else root.absolute()),
            source=replace(self.source, folder=None if folder is None else folder.absolute()),
        )

    def stream_parameters(self, loaded: LoadedExtractors) -> dict[str, str]:
        """For each stream a hash of everything that decides what its features are."""
        spec, settings = loaded.spec, self.settings
        common = {
            "version": _PARAMETERS_VERSION,
            "profile": [spec.profile, spec.profile_version],
            "precision": settings.precision.name,
            "decoder": settings.decoding.decoder,
        }
        if settings.precision.compiled:
            common["compiled"] = True
        resampler = settings.decoding.resampler
        # Omitted where it is the default, so that journals from before the option existed stay valid.
        of_stream: dict[str, dict[str, Any]] = {
            "audio": {} if resampler == DEFAULT_RESAMPLER else {"resampler": resampler}
        }
        extractors = dict(zip(STREAMS, spec.extractors, strict=True))
        return {
            stream: hash_values(
                {**common, **of_stream.get(stream, {}), "extractor": extractors[stream], "weights": weights}
            )
            for stream, weights in loaded.weight_ids.items()
        }


def per_second_features(video: PendingVideo) -> Iterator[tuple[Rows, Rows, Rows]]:
    """Features by second, (n, A), (n, V), (n, S), some hundred seconds at a time: the frames of a second averaged.

    That changes nothing that a parser computes. Raises MediaError for features that are not finite.
    """
    at_once: dict[Stream, int] = {
        stream: _SECONDS_AT_ONCE * (FRAMES_PER_SEGMENT if stream == "visual_2d" else 1) for stream in STREAMS
    }
    for audio, frames, clips in zip(*(video.blocks(stream, at_once[stream]) for stream in STREAMS), strict=True):
        check_finite(video, audio, frames, clips)
        yield audio, frames.reshape(len(audio), FRAMES_PER_SEGMENT, -1).mean(axis=1), clips


def check_finite(video: PendingVideo, *rows: Rows) -> None:
    """Raises MediaError for infinity and NaN, which damaged weights or half precision make."""
    if not all(np.isfinite(some).all() for some in rows):
        raise MediaError(video.work.path, "its features are not finite")
