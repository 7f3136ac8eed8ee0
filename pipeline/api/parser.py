"""Networks that are loaded once and parse many files: `avvp.load`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Literal, overload

from ...extractors.profiles import FeatureSpec
from ..descriptions import describe
from ..errors import MediaError, SetupError
from ..features.compute_lanes import one_core
from ..features.extract import FeatureSet
from ..inference.bundle import UNTRAINED_WARNING, LoadedBundle
from ..inference.other_profile import approximation_warning
from ..inference.parse_video import make_timeline
from ..inference.thresholds import Thresholds, check_per_second, read_thresholds
from ..open_vocabulary.network import OpenVocabulary
from ..outputs.plots.attention import check_explainable, explain_features
from ..outputs.plots.attention_maps import AttentionMaps
from ..text import escape
from ..timeline import Timeline
from .arrays import ARRAYS
from .kept_files import KeptFiles
from .progress import ProgressCallback
from .session import Errors, FeatureSession, run, unchanged
from .sources import Part, Source
from .workers import ParserClosedError

ThresholdChoice = Thresholds | float | str | PathLike[str]


class Parser:
    """The networks of a bundle, loaded once; a context manager. Made by `avvp.load`.

    Several threads may call one parser: files are decoded at the same time, the networks compute one batch at a time,
    and every result equals, bit for bit, that of a call alone. After `close`, every use is a ParserClosedError.
    """

    def __init__(
        self,
        bundle: LoadedBundle,
        session: FeatureSession,
        look_for: Callable[..., LoadedBundle] | None = None,
        kept: KeptFiles | None = None,
    ) -> None:
        """Use loaded networks; `avvp.load` does this.

        Args:
            bundle: extractors and parser.
            session: of its extractors.
            look_for: of an open bundle, returns its networks for other classes; called with these, the background, and
                settings of the rule.
            kept: features of files that are not computed again; None where none are kept.
        """
        self._bundle: LoadedBundle | None = bundle
        self._look_for, self._kept = look_for, kept
        self._session = session
        self._name = bundle.name

    def __enter__(self) -> Parser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._bundle is None:
            return f"Parser {escape(self._name)}, closed"
        lines = [
            f"device {self.device}, precision {self._loaded.extractors.precision}, {self._session.threads} CPU threads",
            f"features {', '.join(self.spec.extractors)}, profile {self.spec.profile}",
            f"{len(self.labels)} classes, windows of {self.window} s",
        ]
        warnings = [*filter(None, [self.warning]), *self._loaded.notes]
        return describe(f"Parser {escape(self.name)}", lines, warnings=warnings)

    @property
    def name(self) -> str:
        """Name of the bundle."""
        return self._name

    @property
    def labels(self) -> tuple[str, ...]:
        """The C classes that it predicts."""
        return self._loaded.parser.config.labels

    @property
    def device(self) -> str:
        """Device of the networks, such as `cpu` or `cuda:0`."""
        return str(self._loaded.device)

    @property
    def precision(self) -> str:
        """Precision of the feature networks, such as `fp32`; the parser computes in float32."""
        return self._loaded.extractors.precision.name

    @property
    def backend(self) -> str:
        """What the feature networks compute with: `torch` or `openvino`."""
        return self._loaded.extractors.precision.backend

    @property
    def spec(self) -> FeatureSpec:
        """Specification of the features."""
        return self._loaded.extractors.spec

    @property
    def window(self) -> int:
        """Seconds that the parser sees at once; longer videos are parsed in windows that overlap by half."""
        return self._loaded.parser.config.segments

    @property
    def thresholds(self) -> Thresholds:
        """Those that decide where none are given."""
        return self._loaded.thresholds

    @property
    def warning(self) -> str | None:
        """What users of its results have to know; None if there is nothing."""
        return UNTRAINED_WARNING if self._loaded.untrained else self._loaded.warning

    @overload
    def parse(
        self,
        source: Source,
        *,
        thresholds: ThresholdChoice | None = ...,
        start: float | None = ...,
        end: float | None = ...,
        progress: ProgressCallback | bool = ...,
    ) -> Timeline: ...

    @overload
    def parse(
        self,
        source: Iterable[Source],
        *,
        thresholds: ThresholdChoice | None = ...,
        start: float | None = ...,
        end: float | None = ...,
        progress: ProgressCallback | bool = ...,
        errors: Literal["raise"],
    ) -> Iterator[tuple[Source, Timeline]]: ...

    @overload
    def parse(
        self,
        source: Iterable[Source],
        *,
        thresholds: ThresholdChoice | None = ...,
        start: float | None = ...,
        end: float | None = ...,
        progress: ProgressCallback | bool = ...,
        errors: Errors = ...,
    ) -> Iterator[tuple[Source, Timeline | MediaError]]: ...

    def parse(
        self,
        source: Source | Iterable[Source],
        *,
        thresholds: ThresholdChoice | None = None,
        start: float | None = None,
        end: float | None = None,
        progress: ProgressCallback | bool = False,
        errors: Errors = "return",
    ) -> Timeline | Iterator[tuple[Source, Timeline]] | Iterator[tuple[Source, Timeline | MediaError]]:
        """Parse one file or arrays, or many of them while the next ones are decoded.

        Args:
            source: a media file or `MediaArrays`; or an iterable of them.
            thresholds: one number in [0, 1] for all; `Thresholds` of its classes; or the path of a file of them, in
                place of those of the bundle.
            start: seconds on the file's clock, rounded down; None is that of the decoding options, else 0.
            end: where to stop, rounded up; None is that of the decoding options, else the end.
            progress: True for a bar on standard error; or a function that is called with `Progress`.
            errors: of many sources: `return` yields the MediaError of a file that cannot be decoded in place of its
                timeline and goes on; `raise` raises it.

        Returns:
            A timeline; for many sources an iterator over (source, timeline) in their order.

        Raises:
            MediaError: a file cannot be decoded; see `errors`.
            ParserClosedError: the parser is closed.
            SetupError: the thresholds cannot be read, or memory does not suffice.
            ValueError: a threshold, `start`, `end` or `errors` is out of range, or the thresholds are of other classes.
        """
        finish = self._timelines(self._decide(thresholds))
        part = Part(start, end)
        return run(self._session, source, finish, part=part, progress=progress, errors=errors, kept=self._kept)

    @overload
    def extract(
        self,
        source: Source,
        *,
        start: float | None = ...,
        end: float | None = ...,
        progress: ProgressCallback | bool = ...,
    ) -> FeatureSet: ...

    @overload
    def extract(
        self,
        source: Iterable[Source],
        *,
        start: float | None = ...,
        end: float | None = ...,
        progress: ProgressCallback | bool = ...,
        errors: Literal["raise"],
    ) -> Iterator[tuple[Source, FeatureSet]]: ...

    @overload
    def extract(
        self,
        source: Iterable[Source],
        *,
        start: float | None = ...,
        end: float | None = ...,
        progress: ProgressCallback | bool = ...,
        errors: Errors = ...,
    ) -> Iterator[tuple[Source, FeatureSet | MediaError]]: ...

    def extract(
        self,
        source: Source | Iterable[Source],
        *,
        start: float | None = None,
        end: float | None = None,
        progress: ProgressCallback | bool = False,
        errors: Errors = "return",
    ) -> FeatureSet | Iterator[tuple[Source, FeatureSet]] | Iterator[tuple[Source, FeatureSet | MediaError]]:
        """Extract features, the inputs of the parser.

        Args:
            source: as for `parse`.
            start: as for `parse`.
            end: as for `parse`.
            progress: as for `parse`.
            errors: as for `parse`.

        Returns:
            Features; for many sources an iterator over (source, features) in their order.

        Raises:
            MediaError: a file cannot be decoded; see `errors`.
            ParserClosedError: the parser is closed.
        """
        return run(self._session, source, unchanged, part=Part(start, end), progress=progress, errors=errors)

    def parse_features(self, features: FeatureSet, *, thresholds: ThresholdChoice | None = None) -> Timeline:
        """Parse features that are already extracted, by `extract` of this bundle.

        Args:
            features: of one video.
            thresholds: as for `parse`.

        Returns:
            The timeline.

        Raises:
            ParserClosedError: the parser is closed.
            ValueError: the features have other specifications.
        """
        if differences := self.spec.differences(features.spec):
            raise ValueError(f"these features are of other extractors (parser / features): {'; '.join(differences)}")
        if self.spec.approximated_by(features.spec.profile):
            warning = approximation_warning(self.spec.profile, features.spec.profile)
            features = replace(features, warnings=(warning, *features.warnings))
        return self._timelines(self._decide(thresholds))(features)

    def with_classes(
        self, classes: Sequence[str] | str, *, rule: str | None = None, background: str | None = None
    ) -> Parser:
        """Make a parser with the same networks that looks for other classes. Only their sentences are computed.

        Examples:
            >>> with avvp.load(classes=["dog barking"]) as parser:
            ...     features = parser.extract("video.mp4")
            ...     rain = parser.with_classes(["rain", "thunder"]).parse_features(features)

        Args:
            classes: names, or "@FILE", as for `avvp.load`.
            rule: how they are decided; None as for `avvp.load`.
            background: a file of what they are compared with, or "none"; None is the shipped one.

        Returns:
            A parser that is closed with this one.

        Raises:
            ParserClosedError: the parser is closed.
            SetupError: its networks were trained for classes of their own, or these cannot be looked for.
        """
        loaded = self._loaded
        if self._look_for is None:
            raise SetupError(f"the classes of {escape(loaded.name)} are those that it was trained on")
        settings = {} if rule is None else {"name": rule}
        bundle = self._look_for(classes, background, **settings)
        return Parser(bundle, self._session, self._look_for, self._kept)

    def attention(self, features: FeatureSet) -> AttentionMaps:
        """Compute LEAP's attention over the seconds, for each class, block and modality.

        Args:
            features: of one video, by `extract`.

        Returns:
            Arrays, (blocks, C, T) each.

        Raises:
            ParserClosedError: the parser is closed.
            SetupError: the bundle's decoder is not LEAP.
        """
        loaded = self._loaded
        check_explainable(loaded.trained_parser)
        with self._session.computing():
            return explain_features(features, loaded.trained_parser, loaded.device)

    def close(self) -> None:
        """Release the networks and end the decode workers. Calls of other threads raise ParserClosedError."""
        self._session.close()
        self._bundle = None

    @property
    def _loaded(self) -> LoadedBundle:
        if (bundle := self._bundle) is None or self._session.is_closed:
            raise ParserClosedError
        return bundle

    def _decide(self, choice: ThresholdChoice | None) -> Thresholds:
        if isinstance(choice, Thresholds):
            choice.check_labels(self.labels)
            return choice
        if isinstance(choice, str | PathLike):
            tables = read_thresholds(Path(choice))
            if isinstance(self._loaded.parser, OpenVocabulary):
                check_per_second(tables, Path(choice))
            return self._loaded.thresholds.changed(tables)
        return self._loaded.thresholds.changed(segment=choice, video=choice)

    def _timelines(self, thresholds: Thresholds) -> Callable[[FeatureSet], Timeline]:
        loaded, session = self._loaded, self._session

        def make(features: FeatureSet) -> Timeline:
            with session.computing(), one_core():
                timeline = make_timeline(features, loaded, thresholds)
            in_memory = features.media is not None and features.media.format == ARRAYS
            return replace(timeline, media_is_known=False) if in_memory else timeline

        return make
