"""Options about the media of a command: which part is parsed, and how addresses are downloaded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from ...clock import parse_time
from .command import EXISTING_FILE, OUTPUT_FOLDER, CommandOptions, option

if TYPE_CHECKING:
    from ...decode.options import DecodeOptions
    from ...download.fetch import FetchOptions

_HEADING = "Media"


class ClockTime(click.ParamType):
    """A time in a file: seconds, m:ss or h:mm:ss."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the seconds."""
        if isinstance(value, float | int):
            return float(value)
        try:
            return parse_time(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@dataclass(frozen=True, kw_only=True)
class PartOptions(CommandOptions):
    """Which part of a file is parsed."""

    heading: ClassVar[str] = _HEADING
    start: float | None = field(
        metadata=option(
            "--start", type=ClockTime(), metavar="TIME", help="Parse from here: seconds, m:ss or h:mm:ss, rounded down."
        )
    )
    end: float | None = field(
        metadata=option(
            "--end", type=ClockTime(), metavar="TIME", help="Parse up to here, rounded up to whole seconds."
        )
    )

    def select(self, decoding: DecodeOptions) -> DecodeOptions:
        """Add the part to options of decoding. Raises click.UsageError for a part that is none."""
        try:
            return replace(decoding, start=self.start or 0.0, end=self.end)
        except ValueError as error:
            raise click.UsageError(f"--start and --end: {error}") from error


@dataclass(frozen=True, kw_only=True)
class CookieOptions(CommandOptions):
    """With which cookies sites are asked, and for which size."""

    heading: ClassVar[str] = _HEADING
    cookies: Path | None = field(
        metadata=option(
            "--cookies",
            type=EXISTING_FILE,
            help="Cookies for downloads, in Netscape's format; without it none are sent.",
        )
    )
    max_height: int = field(
        metadata=option(
            "--max-height",
            type=click.IntRange(1, 10_000),
            default=720,
            metavar="PIXELS",
            help="Download video of at most this height, where a site offers several.",
        )
    )

    def fetch_options(self) -> FetchOptions:
        """Return how addresses are downloaded."""
        from ...download.fetch import FetchOptions

        return FetchOptions(max_height=self.max_height, cookies=self.cookies)


@dataclass(frozen=True, kw_only=True)
class WebOptions(CookieOptions):
    """How an address that is an input is downloaded."""

    heading: ClassVar[str] = _HEADING
    keep_download: Path | None = field(
        metadata=option(
            "--keep-download",
            type=OUTPUT_FOLDER,
            show_default="delete it",
            help="Folder in which a downloaded file stays.",
        )
    )
