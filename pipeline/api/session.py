"""Extractors on one device with decode workers: features of files and arrays, one or many. Thread-safe."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from weakref import finalize

import torch

from ...extractors.profiles import get_profile
from ..batch.compute_workers import decode_workers, file_batches
from ..decode.container.media_facts import DecodeProgress
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions, check_options
from ..errors import MediaError, SetupError
from ..features.compute_lanes import ComputeLanes, LanesClosedError
from ..features.extract import FeatureComputation, FeatureSet, decode_inputs
from ..inference.extractors import LoadedExtractors
from ..preprocess.media_summary import MediaSummary
from .arrays import MediaArrays, of_arrays, written
from .kept_files import KeptFiles
from .progress import FileProgress, ProgressCallback, follow
from .sources import Part, Source, check_sources, is_single, source_name
from .workers import DecodeAhead, ParserClosedError, Put, WorkerPool

Errors = Literal["return", "raise"]
Output = TypeVar("Output")

_ERRORS = ("return", "raise")


class FeatureSession:
    """Extractors that stay loaded. Threads decode at the same time, and share the networks."""

    def __init__(
        self,
        extractors: LoadedExtractors,
        *,
        decoding: DecodeOptions,
        batch_size: int | None,
        threads: int | None,
        workers: int | None,
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            extractors: on one device.
            decoding: decoder, resampler and time limit.
            batch_size: seconds of media in one batch; None is what suits the device.
            threads: CPU threads of the networks; None is PyTorch's number in this thread.
            workers: files that are decoded at the same time in a call with several; None is what keeps the device
                busy.

        Raises:
            SetupError: there are several devices.
            ValueError: a number is not positive, or the decoding options do not fit the profile.
        """
        for name, number in (("batch_size", batch_size), ("threads", threads), ("workers", workers)):
            if number is not None and number < 1:
                raise ValueError(f"{name} is {number}, expected at least 1")
        check_options(get_profile(extractors.spec.profile), decoding)
        if decoding.decoder != DEFAULT_OPTIONS.decoder:
            from ..decode.readers import check_decoder

            check_decoder(decoding.decoder)
        if len(extractors.networks) > 1:
            raise SetupError("a parser is on one device; load one for each device, or use avvp parse --output-dir")
        self._extractors: LoadedExtractors | None = extractors
        self.spec = extractors.spec
        self.decoding = decoding
        self.threads = threads or torch.get_num_threads()
        self._workers = workers or decode_workers(extractors.device, threads)
        self._batches = file_batches(extractors, cores=self.threads, seconds=batch_size)
        self._compute_lock = threading.Lock()
        self._pool = WorkerPool()
        self._finalizer = finalize(self, _end, self._pool, self._batches.lanes)

    def __enter__(self) -> FeatureSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def extractors(self) -> LoadedExtractors:
        """The extractors. Raises ParserClosedError after `close`."""
        if (extractors := self._extractors) is None:
            raise ParserClosedError
        return extractors

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return not self._finalizer.alive

    def close(self) -> None:
        """Release the extractors and end the decode workers; calls in progress raise ParserClosedError."""
        self._finalizer()
        self._extractors = None

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Hold what computes outside of lanes, with this session's CPU threads; the caller's come back after.

        Raises RuntimeError in a process that was forked: nobody would release what another thread held at that moment.
        """
        self._pool.check_process()
        with self._compute_lock:
            before = torch.get_num_threads()
            if before == self.threads:
                yield
                return
            torch.set_num_threads(self.threads)
            try:
                yield
            finally:
                torch.set_num_threads(before)

    def run(
        self,
        source: Source,
        finish: Callable[[FeatureSet], Output],
        *,
        part: Part,
        progress: ProgressCallback | bool,
        kept: KeptFiles | None = None,
    ) -> Output:
        """Compute the features of one source, and a result from them.

        Args:
            source: a path or arrays.
            finish: computes the result.
            part: of the file.
            progress: as for `progress.follow`.
            kept: features of files that are not computed again; None where none are kept.

        Returns:
            The result.

        Raises:
            MediaError: the file cannot be decoded.
            ParserClosedError: the session is closed.
        """
        self._check_open()
        decoding = part.apply(self.decoding)
        with follow(progress, 1) as reports:
            name = source_name(source)

            def extract() -> FeatureSet:
                computation = self._computation()
                with computation.cancelling():
                    summary = self._decode(
                        source,
                        lambda stream, inputs: computation.add(stream, inputs.copy()),
                        computation,
                        decoding,
                        reports.of_decoding(name, 1),
                    )
                    return self._finish(computation, source, summary, decoding, reports.of_decoding(name, 1))

            key, features = (None, None) if kept is None else kept.find(source, decoding)
            if features is None:
                features = extract()
                if kept is not None:
                    kept.keep(features, source, key, decoding)
            output = finish(features)
            reports.finish(name, 1)
        return output

    def run_many(
        self,
        sources: Iterable[Source],
        finish: Callable[[FeatureSet], Output],
        *,
        part: Part,
        progress: ProgressCallback | bool,
        errors: Errors,
        kept: KeptFiles | None = None,
    ) -> Iterator[tuple[Source, Output | MediaError]]:
        """Compute features and results of many sources, in their order.

        While the networks compute one file, the next ones are decoded.

        Args:
            sources: paths and arrays; taken from the iterable as they are needed, a few ahead.
            finish: computes a result, in the thread of the caller.
            part: of every file.
            progress: as for `progress.follow`.
            errors: `return`: a file that cannot be decoded yields its MediaError; `raise`: it raises it.
            kept: as for `run`.

        Returns:
            An iterator over (source, result).

        Raises:
            ValueError: `errors` is neither.
            ParserClosedError: the session is closed.
        """
        if errors not in _ERRORS:
            raise ValueError(f"errors is {errors!r}, expected one of {', '.join(_ERRORS)}")
        self._check_open()
        return self._run_many(sources, finish, part.apply(self.decoding), progress, errors, kept=kept)

    def _run_many(
        self,
        sources: Iterable[Source],
        finish: Callable[[FeatureSet], Output],
        decoding: DecodeOptions,
        progress: ProgressCallback | bool,
        errors: Errors,
        *,
        kept: KeptFiles | None,
    ) -> Iterator[tuple[Source, Output | MediaError]]:
        files = len(sources) if isinstance(sources, Sized) else None
        waiting: deque[_Ahead | _Kept] = deque()
        started = enumerate(sources, 1)
        try:
            with follow(progress, files) as reports:
                while True:
                    while len(waiting) < self._workers and (entry := next(started, None)) is not None:
                        waiting.append(self._start(entry[1], entry[0], decoding, reports, kept))
                    if not waiting:
                        return
                    ahead = waiting.popleft()
                    try:
                        output: Output | MediaError = finish(self._read(ahead, decoding, reports, kept))
                    except MediaError as error:
                        reports.finish(source_name(ahead.source), ahead.number, failed=True)
                        if errors == "raise":
                            raise
                        output = error
                    else:
                        reports.finish(source_name(ahead.source), ahead.number)
                    finally:
                        ahead.close()
                    yield ahead.source, output
        finally:
            for ahead in waiting:
                ahead.close()

    def _start(
        self,
        source: Source,
        number: int,
        decoding: DecodeOptions,
        reports: FileProgress,
        kept: KeptFiles | None,
    ) -> _Ahead | _Kept:
        self._check_open()
        if not is_single(source):
            raise TypeError(f"{type(source).__name__} is neither a path nor MediaArrays")
        key, features = (None, None) if kept is None else kept.find(source, decoding)
        if features is not None:
            return _Kept(source, number, features)
        computation, progress = self._computation(), reports.of_decoding(source_name(source), number)
        decode = partial(self._decode, source, computation=computation, decoding=decoding, progress=progress)
        return _Ahead(source, number, key, computation, DecodeAhead(decode))

    def _read(
        self, ahead: _Ahead | _Kept, decoding: DecodeOptions, reports: FileProgress, kept: KeptFiles | None
    ) -> FeatureSet:
        """Return the features of a source that `_start` has started."""
        if isinstance(ahead, _Kept):
            return ahead.features
        progress = reports.of_decoding(source_name(ahead.source), ahead.number)
        with ahead.computation.cancelling(), _noticing_closed_lanes():
            summary = ahead.file.read(ahead.computation.add)
            features = self._finish(ahead.computation, ahead.source, summary, decoding, progress)
        if kept is not None:
            kept.keep(features, ahead.source, ahead.key, decoding)
        return features

    def _computation(self) -> FeatureComputation:
        with self.computing():  # it may try the networks, to learn how much memory they need
            return FeatureComputation(
                self.extractors.by_name,
                profile=self.extractors.spec.profile,
                device=self.extractors.device,
                batches=self._batches,
                computing=self.computing,
            )

    def _decode(
        self,
        source: Source,
        put: Put,
        computation: FeatureComputation,
        decoding: DecodeOptions,
        progress: DecodeProgress | None,
    ) -> MediaSummary:
        if isinstance(source, MediaArrays):
            with written(source) as path:
                try:
                    return of_arrays(source, self._decode(path, put, computation, decoding, progress))
                except MediaError as error:
                    raise type(error)(Path(source.name), error.cause, error.category) from error
        return decode_inputs(
            Path(source),
            computation.formats,
            put,
            profile=self.extractors.spec.profile,
            decoding=decoding,
            progress=progress,
            lend=self._pool.lend,
        )

    def _finish(
        self,
        computation: FeatureComputation,
        source: Source,
        summary: MediaSummary,
        decoding: DecodeOptions,
        progress: DecodeProgress | None,
    ) -> FeatureSet:
        with _noticing_closed_lanes():
            features = computation.finish(
                Path(source_name(source)), summary, resampler=decoding.resampler, progress=progress
            )
        return replace(features, spec=self.spec)  # which says how the networks compute

    def _check_open(self) -> None:
        if self.is_closed:
            raise ParserClosedError


@dataclass(frozen=True, eq=False)
class _Ahead:
    """A source that is being decoded."""

    source: Source
    number: int
    key: str | None  # of its embeddings
    computation: FeatureComputation
    file: DecodeAhead

    def close(self) -> None:
        """Stop decoding."""
        self.file.close()


@dataclass(frozen=True, eq=False)
class _Kept:
    """A source whose features are kept."""

    source: Source
    number: int
    features: FeatureSet

    def close(self) -> None:
        """Do nothing: nothing was started."""


@contextlib.contextmanager
def _noticing_closed_lanes() -> Iterator[None]:
    """Raise ParserClosedError where another thread has closed the session meanwhile."""
    try:
        yield
    except LanesClosedError as error:
        raise ParserClosedError from error


def _end(pool: WorkerPool, lanes: ComputeLanes | None) -> None:
    """End the workers and the lanes of a session; those of a process that forks remain its own."""
    if pool.close() and lanes is not None:
        lanes.close()


def run(
    session: FeatureSession,
    source: Source | Iterable[Source],
    finish: Callable[[FeatureSet], Output],
    *,
    part: Part,
    progress: ProgressCallback | bool,
    errors: Errors,
    kept: KeptFiles | None = None,
) -> Any:
    """Run one source or many; arguments and results as for `FeatureSession.run` and `FeatureSession.run_many`."""
    check_sources(source)
    if not is_single(source):
        sources = cast("Iterable[Source]", source)
        return session.run_many(sources, finish, part=part, progress=progress, errors=errors, kept=kept)
    return session.run(cast("Source", source), finish, part=part, progress=progress, kept=kept)


def unchanged(features: FeatureSet) -> FeatureSet:
    """Return features as they are: the `finish` of an extraction."""
    return features
