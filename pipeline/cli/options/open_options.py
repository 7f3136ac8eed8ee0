"""Options of commands that find any classes by their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import click

from ....weights.manifest import DEFAULT_BUNDLE, OPEN_BUNDLE
from ...open_vocabulary.vocabulary import RULE_NAMES
from .command import CommandOptions, is_given, option

if TYPE_CHECKING:
    from ....weights.manifest import Bundle
    from ....weights.source import WeightSource

_RULE_FLAGS = {"rule": "--rule", "background": "--background", "published_audio": "--published-audio"}


@dataclass(frozen=True, kw_only=True)
class OpenOptions(CommandOptions):
    """The classes that are looked for, by their names."""

    heading: ClassVar[str] = "Any classes"
    classes: str | None = field(
        metadata=option(
            "--classes",
            metavar="NAME,...|@FILE",
            help=f"Find these classes, by their names; without --weights by the bundle {OPEN_BUNDLE}.",
        )
    )
    rule: str | None = field(
        metadata=option(
            "--rule", type=click.Choice(RULE_NAMES), show_default=RULE_NAMES[0], help="How --classes are decided."
        )
    )
    background: str | None = field(
        metadata=option(
            "--background",
            metavar="FILE|none",
            show_default="shipped",
            help="What --classes are compared with besides each other.",
        )
    )
    published_audio: bool = field(
        metadata=option(
            "--published-audio", is_flag=True, help="With --rule av2a, one sound for each window, as its program."
        )
    )

    def find_bundle(self, weights: str | None, source: WeightSource) -> tuple[str, Bundle]:
        """Find the bundle of --weights, or the open one where classes are named and no bundle for them is.

        Args:
            weights: of the option; one that is set for good counts for --classes if it is open.
            source: where it may come from.

        Returns:
            Its name, as the user or the program names it, and the bundle.

        Raises:
            WeightsError: there is none.
        """
        from ....weights.remote.bundles import load_bundle

        name = weights or DEFAULT_BUNDLE
        bundle = load_bundle(name, source)
        if self.classes is None or is_given("weights") or bundle.is_open:
            return name, bundle
        return OPEN_BUNDLE, load_bundle(OPEN_BUNDLE, source)

    def rule_flags(self) -> list[str]:
        """Return the flags that are given beside --classes."""
        return [flag for name, flag in _RULE_FLAGS.items() if is_given(name)]

    def labels(self) -> tuple[str, ...] | None:
        """Return the names of --classes, None where there are none. Raises SetupError if they cannot be read."""
        if self.classes is None:
            return None
        from ...open_vocabulary.classes import read_vocabulary

        return read_vocabulary(self.classes, background="none").labels

    def with_classes(self, bundle: Bundle, otherwise: Sequence[str] | None = None) -> Bundle:
        """Return a bundle that looks for the classes of --classes.

        Args:
            bundle: of --weights.
            otherwise: names of classes where there is no --classes; None leaves the bundle as it is.

        Raises:
            click.UsageError: another option needs --classes.
            SetupError: the bundle has been trained for classes of its own, or a file of classes cannot be read.
        """
        rule = {
            name: value
            for name, value in (("name", self.rule), ("published_audio", self.published_audio or None))
            if value is not None
        }
        classes = otherwise if self.classes is None else self.classes
        if classes is None:
            if flags := self.rule_flags():
                raise click.UsageError(f"{flags[0]} goes with --classes")
            return bundle
        from ...open_vocabulary.open_bundle import with_classes

        found = with_classes(bundle, classes, background=self.background, **rule)
        assert found.classes is not None
        if self.published_audio and found.classes["rule"]["name"] != RULE_NAMES[0]:
            raise click.UsageError(f"--published-audio goes with --rule {RULE_NAMES[0]}")
        return found
