"""Command avvp search: search kept embeddings for what texts say."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from ....weights.manifest import OPEN_BUNDLE
from ...errors import SetupError
from ...text import escape, shorten
from ..options.command import (
    EXISTING_FILE,
    OUTPUT_FILE,
    OUTPUT_FOLDER,
    FiniteRange,
    argument,
    command,
    exit_1_on_error,
    exit_2_on_error,
    is_given,
    option,
)
from ..options.event_media import MediaFinder
from ..options.groups import MEDIA_OPTION, DecodeTimeoutOptions, DownloadOptions, MessageOptions

if TYPE_CHECKING:
    from ....weights.manifest import Bundle
    from ...embeddings.search.query import SearchSettings, Sense
    from ...embeddings.search.search import FoundMoment, SearchOutcome
    from ...embeddings.search.texts import LoadedTexts

_FORMS = ("text", "csv", "json")
_LISTED = 20  # failures
_WITHOUT = "moments without their video; name its folder with --media"


@dataclass(frozen=True, kw_only=True)
class MomentOptions(MessageOptions):
    """What is found."""

    heading: ClassVar[str] = "Moments"
    texts: tuple[str, ...] = field(
        metadata=option(
            "--text", multiple=True, metavar="TEXT", help="What to search for; INPUTs are all folders then. Repeatable."
        )
    )
    either: bool = field(metadata=option("--either", is_flag=True, help="Heard or seen, the default."))
    heard: bool = field(metadata=option("--heard", is_flag=True, help="In sounds alone."))
    seen: bool = field(metadata=option("--seen", is_flag=True, help="In pictures alone."))
    both: bool = field(metadata=option("--both", is_flag=True, help="In the sound and the picture of the same second."))
    together: bool = field(
        metadata=option("--all", is_flag=True, help="Moments that have all texts, in place of those of each text.")
    )
    top: int = field(
        metadata=option("--top", type=click.IntRange(1, 100_000), default=20, help="Most moments to list.")
    )
    min_z: float = field(
        metadata=option(
            "--min-z", type=FiniteRange(-100, 100), default=2.0, metavar="Z", help="Least z of the seconds of a moment."
        )
    )
    merge_gap: int = field(
        metadata=option(
            "--merge-gap", type=click.IntRange(0), default=1, metavar="SECONDS", help="Longest gap within a moment."
        )
    )
    background: Path | None = field(
        metadata=option(
            "--background",
            type=EXISTING_FILE,
            show_default="shipped",
            help="What texts are compared with: a TOML file.",
        )
    )
    exact: bool = field(
        metadata=option("--exact", is_flag=True, help="Compare every second, also where an index would be used.")
    )

    @property
    def sense(self) -> Sense:
        """Where texts are looked for. Raises click.UsageError for several of the options."""
        chosen: list[Sense] = []
        for name, given in (("either", self.either), ("heard", self.heard), ("seen", self.seen), ("both", self.both)):
            if given:
                chosen.append(name)  # pyright: ignore[reportArgumentType] - all are senses
        if len(chosen) > 1:
            raise click.UsageError(f"--{chosen[0]} and --{chosen[1]} exclude each other")
        return chosen[0] if chosen else "either"


@dataclass(frozen=True, kw_only=True)
class SearchOptions(MomentOptions, DecodeTimeoutOptions, DownloadOptions):
    """Options of avvp search."""

    heading: ClassVar[str] = "Results"
    inputs: tuple[str, ...] = field(metadata=argument(nargs=-1, metavar="[FOLDER]... TEXT..."))
    form: str | None = field(
        metadata=option(
            "-f",
            "--format",
            type=click.Choice(_FORMS),
            show_default="by the suffix of the output, else text",
            help="Format of the list.",
        )
    )
    output: Path | None = field(
        metadata=option("-o", "--output", type=OUTPUT_FILE, show_default="standard output", help="File for the list.")
    )
    html: Path | None = field(metadata=option("--html", type=OUTPUT_FILE, help="Page that plays the moments."))
    clips: Path | None = field(
        metadata=option("--clips", type=OUTPUT_FOLDER, help="Folder into which the moments are cut.")
    )
    media: Path | None = field(metadata=MEDIA_OPTION)
    pad: float = field(
        metadata=option(
            "--pad", type=FiniteRange(0), default=0.0, metavar="SECONDS", help="Time before and after cuts."
        )
    )
    overwrite: bool = field(
        metadata=option("--overwrite", is_flag=True, help="Replace existing files in the folder of --clips.")
    )
    embeddings: Path | None = field(
        metadata=option(
            "--embeddings",
            type=OUTPUT_FOLDER,
            show_default="in the user's cache",
            help="Folder of avvp parse --embeddings, searched where no FOLDER is named.",
        )
    )
    weights: str = field(
        metadata=option(
            "--weights", default=OPEN_BUNDLE, metavar="NAME|FOLDER", help="Bundle whose networks made the embeddings."
        )
    )


@command(
    SearchOptions,
    examples=(
        'avvp search events/ "glass breaking" --top 20',
        'avvp search "a dog on a beach" --seen --html found.html',
        'avvp search events/ "waves" "a child laughing" --all --clips cuts/ --media videos/',
        "avvp search events/ --text applause --heard -o found.csv",
    ),
    notes="z is how far the similarity of a second with the text lies above the mean of everyday things, in their"
    " standard deviations. It orders moments; it is no probability. The csv is read as events by other commands.",
)
def search(options: SearchOptions) -> int:
    """Search kept embeddings of videos for what texts say.

    FOLDERs are results of avvp parse --classes ... --output-dir; without one, all single files are searched that avvp
    parse --classes was run on. Each TEXT is compared with the sound and the picture of every second. No video is
    decoded for it.
    """
    from ...embeddings.search.query import SearchSettings

    with exit_2_on_error(debug=options.debug):
        folders, typed = _divide_inputs(options)
        settings = SearchSettings(options.sense, options.together, options.min_z, options.merge_gap, options.top)
        _check(options)
        bundle = _read_bundle(options, typed)
        texts = _load(bundle, folders, options)
        outcome = _search(folders, texts, settings, options)
        media = _find_media(outcome, options)
    failed = 0
    with exit_1_on_error(debug=options.debug):
        _write_list(outcome, settings, options)
        if options.html is not None:
            _write_page(outcome, settings, texts.query.texts, media, options)
    if options.clips is not None:
        failed = _cut(outcome, media, options)
    if not options.quiet:
        for note in outcome.notes:
            click.echo(escape(note), err=True)
    return 1 if failed else 0


def _divide_inputs(options: SearchOptions) -> tuple[list[Path], list[str]]:
    """Return the folders and the texts that the user typed.

    Without --text, what exists as a folder or has a slash is one; the others are texts.

    Raises:
        click.UsageError: there is no text, or a folder does not exist.
    """
    is_path = [bool(options.texts) or os.sep in item or _is_folder(item) for item in options.inputs]
    folders = [Path(item) for item, path in zip(options.inputs, is_path, strict=True) if path]
    texts = [*options.texts, *(item for item, path in zip(options.inputs, is_path, strict=True) if not path)]
    if folders and is_given("embeddings"):
        raise click.UsageError("--embeddings is the folder that is searched where no other is named")
    if not folders and options.embeddings is not None:
        folders = [options.embeddings]
    for folder in folders:
        if not _is_folder(folder):
            raise click.UsageError(
                f"{shorten(str(folder))}: no such folder; --text TEXT searches for a text with a slash"
            )
    if not texts:
        named = f", {escape(folders[-1])} is a folder" if folders else ""
        raise click.UsageError(f'name a text to search for{named}: avvp search FOLDER "glass breaking"')
    return folders, texts


def _is_folder(name: str | Path) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):  # no system has such a name
        return False


def _check(options: SearchOptions) -> None:
    """Check the outputs. Raises click.UsageError, SetupError, OutputError."""
    from ...files import check_folder_of
    from ...outputs.html.page import PAGE_SUFFIXES
    from ..options.event_outputs import check_suffix

    if options.html is not None:
        check_suffix("--html", options.html, PAGE_SUFFIXES)
    if options.media is not None and options.html is None and options.clips is None:
        raise click.UsageError("--media goes with --html or --clips")
    for name, flag in (("pad", "--pad"), ("overwrite", "--overwrite")):
        if options.clips is None and is_given(name):
            raise click.UsageError(f"{flag} goes with --clips")
    for path in (options.output, options.html):
        if path is not None:
            check_folder_of(path)
    if options.html is not None and options.output is not None and options.html.absolute() == options.output.absolute():
        raise SetupError(f"{escape(options.html)}: two results would be written to it")


def _read_bundle(options: SearchOptions, texts: Sequence[str]) -> Bundle:
    from ....weights.remote.bundles import load_bundle
    from ...embeddings.search.texts import with_texts

    background = None if options.background is None else str(options.background)
    return with_texts(load_bundle(options.weights, options.source()), texts, background)


def _load(bundle: Bundle, folders: Sequence[Path], options: SearchOptions) -> LoadedTexts:
    """Encode the texts. Raises SetupError before weights are downloaded if there are no embeddings."""
    from ...embeddings.search.run import list_embeddings
    from ...embeddings.search.texts import load_texts
    from ...features.compute_lanes import one_core
    from ..console import Console
    from ..missing_weights import provide_weights

    list_embeddings(folders)
    console = Console(quiet=options.quiet)
    provide_weights(bundle, options, console)
    with console, one_core():
        console.busy("loading networks")
        return load_texts(bundle, options.source())


def _search(
    folders: Sequence[Path], texts: LoadedTexts, settings: SearchSettings, options: SearchOptions
) -> SearchOutcome:
    from ...embeddings.search.run import search_folders
    from ..console import Console

    with Console(quiet=options.quiet) as console:
        return search_folders(
            folders, texts, settings, exact=options.exact, progress=console.count_progress("searching")
        )


def _find_media(outcome: SearchOutcome, options: SearchOptions) -> dict[FoundMoment, Path | None]:
    """Return the media of moments, as far as they are needed. Raises SetupError."""
    if options.html is None and options.clips is None:
        return {}
    from ...embeddings.store import user_folder
    from ...files import MEDIA_SUFFIXES, is_file
    from ...outputs.found.media import as_timeline

    if options.media is not None and not options.media.is_dir() and len({m.source for m in outcome.moments}) > 1:
        raise click.UsageError("--media: moments are in several videos; name their folder")
    finder, own = MediaFinder(options.media), user_folder().resolve()
    media: dict[FoundMoment, Path | None] = {}
    for moment in outcome.moments:
        stated = Path(moment.media)
        # What is in the user's own cache was written there by this program, when it read this file.
        if options.media is None and moment.source.resolve().parent == own and stated.suffix.lower() in MEDIA_SUFFIXES:
            media[moment] = stated if is_file(stated) else None
            continue
        try:
            media[moment] = finder.find(as_timeline(moment), moment.source)
        except ValueError:  # a path that no system has
            media[moment] = None
    if options.clips is not None and outcome.moments and not any(media.values()):
        raise SetupError("--clips: there are no videos of these moments; name their folder with --media")
    return media


def _write_list(outcome: SearchOutcome, settings: SearchSettings, options: SearchOptions) -> None:
    from ...files import make_folder_of, write_atomic
    from ...outputs.found.results import describe_count
    from ..options.event_outputs import print_bytes, print_written

    form = _form(options)
    content = _format(form, outcome, settings, options)
    if options.output is None:
        print_bytes(content)
    else:
        make_folder_of(options.output)
        write_atomic(options.output, content)
    if not options.quiet and (options.output is not None or form != "text"):
        click.echo(describe_count(outcome, settings), err=True)
    print_written(filter(None, [options.output]), quiet=options.quiet)


def _form(options: SearchOptions) -> str:
    suffix = "" if options.output is None else options.output.suffix.lower().removeprefix(".")
    return options.form or (suffix if suffix in _FORMS else "text")


def _format(form: str, outcome: SearchOutcome, settings: SearchSettings, options: SearchOptions) -> bytes:
    from ...outputs.found.results import render_outcome, write_csv, write_json
    from ..options.table_output import render_text

    if form == "csv":
        return write_csv(outcome)
    if form == "json":
        return write_json(outcome, settings)
    table, stream = render_outcome(outcome, settings), sys.stdout if options.output is None else None
    return render_text(lambda console: console.print(table), stream).encode("utf-8", "backslashreplace")


def _write_page(
    outcome: SearchOutcome,
    settings: SearchSettings,
    texts: Sequence[str],
    media: Mapping[FoundMoment, Path | None],
    options: SearchOptions,
) -> None:
    from ...files import make_folder_of
    from ...outputs.found.page import write_found_page
    from ..options.event_outputs import print_written

    assert options.html is not None
    make_folder_of(options.html)
    write_found_page(outcome, settings, texts, media, options.html, timeout=options.decode_timeout)
    print_written([options.html], quiet=options.quiet)
    if not options.quiet and (missing := sum(path is None for path in media.values())):
        click.echo(f"{missing} of {len(media)} {_WITHOUT}", err=True)


def _cut(outcome: SearchOutcome, media: Mapping[FoundMoment, Path | None], options: SearchOptions) -> int:
    """Cut the moments out of their media, with a list and a contact sheet; return how many failed."""
    from ...outputs.cuts.make_cuts import CutOptions, cut_suffix, open_cut_folder
    from ...outputs.cuts.plan import plan_cuts
    from ...outputs.found.media import as_matches, media_by_match
    from ..console import Console
    from ..options.event_outputs import refuse_inputs

    assert options.clips is not None
    with contextlib.ExitStack() as stack:
        with exit_2_on_error(debug=options.debug):
            found = media_by_match(media)
            suffixes = {path: cut_suffix(path, exact=False) for path in found.values()}
            cuts = plan_cuts(as_matches(outcome.moments), found, suffixes, pad=options.pad, merge=False)
            refuse_inputs([options.clips / cut.name for cut in cuts], found.values())
            chosen = CutOptions(overwrite=options.overwrite, timeout=options.decode_timeout)
            folder = stack.enter_context(open_cut_folder(options.clips, cuts, chosen))
        with exit_1_on_error(debug=options.debug), Console(quiet=options.quiet) as console:
            done = folder.write(console.count_progress("cutting"))
    causes = list(dict.fromkeys(str(error) for error in done.failures))
    for cause in causes[:_LISTED]:
        click.echo(f"Error: {cause}", err=True)
    if len(causes) > _LISTED:
        click.echo(f"Error: ... and {len(causes) - _LISTED} more", err=True)
    without = sum(path is None for path in media.values())
    if without:
        click.echo(f"Error: {without} of {len(media)} {_WITHOUT}", err=True)
    if not options.quiet:
        click.echo(f"{escape(options.clips)}: {len(done.done)} of {len(cuts)} cuts", err=True)
    return len(done.failures) + without
