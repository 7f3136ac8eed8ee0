"""Load a bundle, and parse or extract in one call: `avvp.load`, `avvp.parse`, `avvp.extract`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from ...weights.manifest import Bundle
from ...weights.messages import shown
from ...weights.source import DownloadProgress
from ..decode.container.media_file import open_media_file
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..errors import MediaError, SetupError
from ..features.compute_lanes import one_core
from ..features.extract import FeatureSet
from ..inference.bundle import LoadedBundle, load_networks, with_other_classes
from ..inference.extractors import load_extractors
from ..inference.similar_pictures import record_similar_pictures
from ..open_vocabulary.open_bundle import with_classes
from ..timeline import Timeline
from .arrays import MediaArrays
from .kept_files import KeptFiles
from .loading import Loading, LoadOptions, Weights
from .parser import Parser, ThresholdChoice
from .progress import ProgressCallback, follow
from .session import Errors, FeatureSession, unchanged
from .sources import Part, Source, check_sources, is_single, source_name

if TYPE_CHECKING:
    from typing_extensions import Unpack

_FOR_INSTANCE = 'classes=["dog barking", "applause"]'


def load(
    weights: Weights | None = None,
    *,
    profile: str | None = None,
    device: str = "auto",
    precision: str = "fp32",
    backend: str | None = None,
    compile: bool = False,
    threads: int | None = None,
    batch_size: int | None = None,
    workers: int | None = None,
    decoding: DecodeOptions = DEFAULT_OPTIONS,
    weights_dir: str | os.PathLike[str] | None = None,
    offline: bool = False,
    download_progress: DownloadProgress | None = None,
    trust_parts: Sequence[str] = (),
    classes: Sequence[str] | str | None = None,
    rule: str | None = None,
    background: str | None = None,
    embeddings: str | os.PathLike[str] | Literal[False] | None = None,
) -> Parser:
    """Load the networks of a bundle, to parse many files.

    Examples:
        >>> with avvp.load("demo") as parser:
        ...     timeline = parser.parse("video.mp4")
        >>> with avvp.load(classes=["dog barking", "applause"]) as parser:
        ...     timeline = parser.parse("video.mp4")

    Args:
        weights: name or folder of a bundle; None is `leap-llp`, or with `classes` the bundle `open`. `demo` ships with
            the package and knows generated clips alone.
        profile: under which files are decoded: `fast` or `clean-fast`, which approximate `clean` and `llp` with less
            work; timelines have a warning. None is that of the bundle.
        device: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.
        precision: of the feature networks: `fp32`, `tf32`, `bf16`, `fp16` or `int8`; `auto` is the faster of fp32 and
            bf16 on this machine, by a measurement of seconds that is remembered.
        backend: what computes the feature networks: `torch`, `openvino`, or `auto`, the fastest in the precision; None
            is torch, openvino for int8.
        compile: compile the feature networks by torch.compile, which takes a minute at first.
        threads: CPU threads of the networks; None is PyTorch's number in this thread, which stays as it is.
        batch_size: seconds of media in one batch; None is 1 on a CPU and 32 on a GPU. Memory grows with it.
        workers: files that are decoded at the same time in a call with several; None is what keeps the device busy.
        decoding: decoder, resampler and time limit.
        weights_dir: folder that is searched for weight files first.
        offline: never download; missing files are an error that lists their addresses.
        download_progress: called with the bytes so far and in total (None if unknown) while weights are downloaded.
        trust_parts: packages whose code the bundle may name by "module:Name", and so run.
        classes: of an open bundle, what to look for: names, or "@FILE", see `avvp parse --classes`.
        rule: how they are decided: `av2a`, `scope`, `fixed` or `ov-avel`; None is that of the file of classes, else
            `av2a`, or `ov-avel` for bundles that were trained with it.
        background: a file of what they are compared with besides each other, or "none"; None is the shipped one.
        embeddings: of an open bundle, folder in which those of files are kept, so that other classes decode nothing;
            None is one in the user's cache, False keeps none.

    Returns:
        A context manager; `close` releases the networks.

    Raises:
        SetupError: the device or the precision is unknown, weights do not fit their network, the profile does not
            approximate the bundle's, or classes are named for a trained bundle, or none for an open one.
        ValueError: the profile is unknown, a number is not positive, or the decoding options do not fit the profile.
        WeightsError: the bundle is unknown, or files are missing or damaged.
    """
    loading = Loading(
        profile, device, precision, backend, compile, threads, batch_size, workers, decoding, weights_dir, offline,
        download_progress, trust_parts, classes, rule, background, embeddings,
    )  # fmt: skip
    named = _with_parser(loading, weights)
    store = loading.store(named)
    networks = loading.networks(named)
    with one_core():
        bundle = record_similar_pictures(load_networks(named, **networks), decoding).compile_parser()

    def look_for(classes: Sequence[str] | str, background: str | None, **settings: str) -> LoadedBundle:
        with one_core():
            other = with_classes(named, classes, background=background, **settings)
            return with_other_classes(bundle, other, loading.source)

    session = loading.session(bundle.extractors)
    kept = None if store is None else KeptFiles(store, bundle.extractors)
    return Parser(bundle, session, look_for if named.is_open else None, kept)


@overload
def parse(
    source: Source,
    *,
    weights: Weights | None = ...,
    thresholds: ThresholdChoice | None = ...,
    start: float | None = ...,
    end: float | None = ...,
    progress: ProgressCallback | bool = ...,
    **options: Unpack[LoadOptions],
) -> Timeline: ...


@overload
def parse(
    source: Iterable[Source],
    *,
    weights: Weights | None = ...,
    thresholds: ThresholdChoice | None = ...,
    start: float | None = ...,
    end: float | None = ...,
    progress: ProgressCallback | bool = ...,
    errors: Literal["raise"],
    **options: Unpack[LoadOptions],
) -> Iterator[tuple[Source, Timeline]]: ...


@overload
def parse(
    source: Iterable[Source],
    *,
    weights: Weights | None = ...,
    thresholds: ThresholdChoice | None = ...,
    start: float | None = ...,
    end: float | None = ...,
    progress: ProgressCallback | bool = ...,
    errors: Errors = ...,
    **options: Unpack[LoadOptions],
) -> Iterator[tuple[Source, Timeline | MediaError]]: ...


def parse(
    source: Source | Iterable[Source],
    *,
    weights: Weights | None = None,
    thresholds: ThresholdChoice | None = None,
    start: float | None = None,
    end: float | None = None,
    progress: ProgressCallback | bool = False,
    errors: Errors = "return",
    **options: Unpack[LoadOptions],
) -> Timeline | Iterator[tuple[Source, Timeline]] | Iterator[tuple[Source, Timeline | MediaError]]:
    """Parse one file or arrays, or many of them.

    Examples:
        >>> timeline = avvp.parse("video.mp4")
        >>> for path, result in avvp.parse(Path("videos").glob("*.mp4"), progress=True):
        ...     if isinstance(result, avvp.MediaError):
        ...         print(result)  # this file cannot be decoded; the others go on
        ...     else:
        ...         result.save(f"{path}.json")

    The networks are loaded by this call and released with its result: load them once with `load` for several calls.
    While they compute one file, the next ones are decoded.

    Args:
        source: a media file or `MediaArrays`; or an iterable of them.
        weights: name or folder of a bundle, as for `load`.
        thresholds: one number in [0, 1] for all; `Thresholds`; or the path of a file of them, in place of those of the
            bundle.
        start: seconds on the file's clock, rounded down; None is that of the decoding options, else 0.
        end: where to stop, rounded up; None is that of the decoding options, else the end.
        progress: True for a bar on standard error; or a function that is called with `Progress`.
        errors: of many sources: `return` yields the MediaError of a file that cannot be decoded in place of its
            timeline and goes on; `raise` raises it.
        options: further arguments of `load`: device, precision, backend, threads, ...

    Returns:
        A timeline; for many sources an iterator over (source, timeline) in their order.

    Raises:
        MediaError: a file cannot be decoded; see `errors`.
        SetupError: device, precision or thresholds do not fit, or memory does not suffice.
        ValueError: a threshold, `start`, `end` or `errors` is out of range.
        WeightsError: the bundle is unknown, or files are missing or damaged.
    """
    _check_source(source)
    choices: dict[str, Any] = {"thresholds": thresholds, "start": start, "end": end, "progress": progress}
    if (kept := _parse_kept(source, weights, Loading(**options), **choices)) is not None:
        return kept
    parser = load(weights, **options)
    if is_single(source):
        with parser:
            return parser.parse(cast("Source", source), **choices)
    return _closing(parser, parser.parse(cast("Iterable[Source]", source), errors=errors, **choices))


@overload
def extract(
    source: Source,
    *,
    weights: Weights | None = ...,
    start: float | None = ...,
    end: float | None = ...,
    progress: ProgressCallback | bool = ...,
    **options: Unpack[LoadOptions],
) -> FeatureSet: ...


@overload
def extract(
    source: Iterable[Source],
    *,
    weights: Weights | None = ...,
    start: float | None = ...,
    end: float | None = ...,
    progress: ProgressCallback | bool = ...,
    errors: Literal["raise"],
    **options: Unpack[LoadOptions],
) -> Iterator[tuple[Source, FeatureSet]]: ...


@overload
def extract(
    source: Iterable[Source],
    *,
    weights: Weights | None = ...,
    start: float | None = ...,
    end: float | None = ...,
    progress: ProgressCallback | bool = ...,
    errors: Errors = ...,
    **options: Unpack[LoadOptions],
) -> Iterator[tuple[Source, FeatureSet | MediaError]]: ...


def extract(
    source: Source | Iterable[Source],
    *,
    weights: Weights | None = None,
    start: float | None = None,
    end: float | None = None,
    progress: ProgressCallback | bool = False,
    errors: Errors = "return",
    **options: Unpack[LoadOptions],
) -> FeatureSet | Iterator[tuple[Source, FeatureSet]] | Iterator[tuple[Source, FeatureSet | MediaError]]:
    """Extract the features of one file or arrays, or of many of them, without a parser.

    Args:
        source: a media file or `MediaArrays`; or an iterable of them.
        weights: name or folder of a bundle, whose extractors are used; its parser is neither loaded nor downloaded.
        start: as for `parse`.
        end: as for `parse`.
        progress: as for `parse`.
        errors: as for `parse`.
        options: further arguments of `load`.

    Returns:
        Features; for many sources an iterator over (source, features) in their order.

    Raises:
        MediaError: a file cannot be decoded; see `errors`.
        SetupError: device or precision do not fit, or memory does not suffice.
        ValueError: `start`, `end` or `errors` is out of range.
        WeightsError: the bundle is unknown, or files are missing or damaged.
    """
    _check_source(source)
    loading = Loading(**options)
    if loading.embeddings:
        raise ValueError("embeddings goes with load and parse: features are extracted anew, and not rounded")
    bundle = loading.bundle(weights)
    networks = loading.networks(bundle)
    with one_core():
        extractors = load_extractors(bundle, **networks)
    extractors = record_similar_pictures(extractors, loading.decoding)
    session = loading.session(extractors)
    choices: dict[str, Any] = {"part": Part(start, end), "progress": progress}
    if is_single(source):
        with session:
            return session.run(cast("Source", source), unchanged, **choices)
    return _closing(session, session.run_many(cast("Iterable[Source]", source), unchanged, errors=errors, **choices))


def _with_parser(loading: Loading, weights: Weights | None) -> Bundle:
    """Return the bundle of this name. Raises SetupError for an open one without classes."""
    named = loading.bundle(weights)
    try:
        named.check_has_classes()
    except ValueError as error:
        raise SetupError(f"{shown(named.name)} finds the classes that you name: {_FOR_INSTANCE}") from error
    return named


def _parse_kept(
    source: Source | Iterable[Source],
    weights: Weights | None,
    loading: Loading,
    *,
    thresholds: ThresholdChoice | None,
    start: float | None,
    end: float | None,
    progress: ProgressCallback | bool,
) -> Timeline | None:
    """Parse a single file whose embeddings are kept, without loading what would compute them; None for all others."""
    if not isinstance(source, str | os.PathLike):
        return None
    named = _with_parser(loading, weights)
    if loading.store(named) is None:
        return None
    found = loading.find_kept(named, loading.networks(named), Path(source), Part(start, end))
    if found is None:
        return None
    bundle, embeddings = found
    with follow(progress, 1) as reports, Parser(bundle, loading.session(bundle.extractors)) as parser:
        timeline = parser.parse_features(embeddings.features(), thresholds=thresholds)
        reports.finish(source_name(source), 1)
    return timeline


def _closing(resource: Parser | FeatureSession, results: Iterator[Any]) -> Iterator[Any]:
    """Yield results, and close what computes them at the end, also of an iteration that is given up."""
    try:
        yield from results
    finally:
        resource.close()


def _check_source(source: Source | Iterable[Source]) -> None:
    """Check what can be checked before weights are downloaded and loaded.

    Raises:
        MediaError: a single file cannot be opened.
        TypeError: the source is of another type.
    """
    check_sources(source)
    if isinstance(source, str | os.PathLike) and not isinstance(source, MediaArrays):
        os.close(open_media_file(Path(source)))
