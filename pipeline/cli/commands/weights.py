"""Commands avvp weights list, fetch, verify, path, push and quantize: weight files and bundles."""

from __future__ import annotations

import contextlib
import os
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ....weights.errors import WeightsError
from ....weights.locate import bundle_paths, find_file, search_folders, verify_file
from ....weights.manifest import WeightFile, list_bundles, list_files
from ....weights.messages import file_size
from ....weights.remote.bundles import load_bundle
from ....weights.remote.fetch import fetch_file
from ....weights.remote.hub import is_hub_address, parse_address
from ....weights.remote.missing import readable_url
from ....weights.source import WeightSource
from ...inference.content_checks import check_content
from ...text import escape
from ..options.command import (
    ANY_PATH,
    CONTEXT_SETTINGS,
    EXISTING_FILE,
    CommandOptions,
    argument,
    command,
    exit_1_on_error,
    exit_2_on_error,
    format_examples,
    option,
)
from ..options.completion import complete_weight_files
from ..options.groups import MessageOptions
from ..options.lazy_group import CommandGroup
from .quantize import quantize

if TYPE_CHECKING:
    from ..console import Console


_EXAMPLES = ("avvp weights list", "avvp weights fetch leap-llp", "avvp weights verify", "avvp weights path resnet152")


@click.group(cls=CommandGroup, context_settings=CONTEXT_SETTINGS, epilog=format_examples(_EXAMPLES))
def weights() -> None:
    """List, download, verify, find, share and quantize weight files and bundles."""


@dataclass(frozen=True, kw_only=True)
class WeightsDirOptions(CommandOptions):
    """Options of avvp weights list."""

    weights_dir: Path | None = field(
        metadata=option("--weights-dir", type=ANY_PATH, help="Folder to search first and to download to.")
    )


@command(WeightsDirOptions, name="list", examples=("avvp weights list",))
def list_command(options: WeightsDirOptions) -> int:
    """List bundles and files, with licence, source, and where they are on this machine."""
    known = list_files()
    click.echo("Bundles (for --weights):")
    for bundle in list_bundles().values():
        files = ", ".join(bundle.files) or "no files"
        size = sum(known[name].size for name in bundle.files if name in known)
        total = f" ({file_size(size)})" if size else ""
        click.echo(f"  {bundle.name}{total}\n      {bundle.description}\n      {files}")
    click.echo("Files:")
    for file in known.values():
        path = find_file(file, options.weights_dir)
        place = escape(path) if path else "not on this machine"
        click.echo(f"  {file.key}  {file.name}  {file_size(file.size)}  {place}")
        click.echo(f"      {file.source}\n      licence: {file.licence}\n      {_addresses(file)}")
    return 0


@dataclass(frozen=True, kw_only=True)
class FetchOptions(WeightsDirOptions):
    """Options of avvp weights fetch."""

    names: tuple[str, ...] = field(
        metadata=argument(nargs=-1, required=True, metavar="NAME...", shell_complete=complete_weight_files)
    )
    dry_run: bool = field(
        metadata=option("--dry-run", is_flag=True, help="Print what would be downloaded; download nothing.")
    )
    quiet: bool = field(metadata=option("-q", "--quiet", is_flag=True, help="No progress bar."))


@command(
    FetchOptions,
    examples=(
        "avvp weights fetch leap-llp",
        "avvp weights fetch cmbs --dry-run",
        "avvp weights fetch resnet152 --weights-dir weights/",
    ),
)
def fetch(options: FetchOptions) -> int:
    """Download and verify bundles or single files.

    NAME is a bundle, a file's key, a file name or hf://USER/REPOSITORY. Existing files are only verified. To resume an
    interrupted download, repeat the command.
    """
    from ..console import Console

    files = _named_files(options.names, options.weights_dir)
    if options.dry_run:
        _print_downloads(files, options.weights_dir)
        return 0
    console = Console(quiet=options.quiet)
    failed = False
    for file in files:
        try:
            click.echo(f"{file.name}: {_fetch(file, options.weights_dir, console)}")
        except WeightsError as error:
            click.echo(f"Error: {error}", err=True)
            failed = True
    return int(failed)


def _print_downloads(files: list[WeightFile], weights_dir: Path | None) -> None:
    """Print where files are, or would come from, and how much would be downloaded."""
    missing = [file for file in files if find_file(file, weights_dir) is None]
    for file in files:
        path = find_file(file, weights_dir)
        place = f"already at {escape(path)}" if path else f"{file_size(file.size)} from {_addresses(file)}"
        click.echo(f"{file.name}: {place}")
        if path is None:
            click.echo(f"  licence: {file.licence}")
    folders = dict.fromkeys(escape(file.folder or search_folders(weights_dir)[0]) for file in missing)
    into = f" into {', '.join(folders)}" if folders else ""
    click.echo(f"would download {file_size(sum(file.size for file in missing))}{into} (nothing is downloaded now)")


def _addresses(file: WeightFile) -> str:
    return ", ".join(map(readable_url, file.urls)) or "shipped with the program"


def _fetch(file: WeightFile, weights_dir: Path | None, console: Console) -> str:
    if existing := find_file(file, weights_dir):
        return f"already at {escape(existing)}, sha256 {verify_file(file, existing)}"
    with console:
        path, digest = fetch_file(file, weights_dir, progress=console.download_progress)
    return f"saved to {escape(path)}, {file_size(file.size)}, sha256 {digest}"


@dataclass(frozen=True, kw_only=True)
class VerifyOptions(WeightsDirOptions):
    """Options of avvp weights verify."""

    names: tuple[str, ...] = field(
        metadata=argument(nargs=-1, metavar="[NAME]...", shell_complete=complete_weight_files)
    )


@command(VerifyOptions, examples=("avvp weights verify", "avvp weights verify leap-llp"))
def verify(options: VerifyOptions) -> int:
    """Verify sizes and hashes of weight files.

    Files of parsers, of localizers and without a published hash are also verified by their content, those of the visual
    networks by the features of torchvision's networks. Without NAME, all files on this machine are verified.
    """
    failed = checked = 0  # checked: of the files that are not shipped
    for file in _named_files(options.names, options.weights_dir) if options.names else list_files().values():
        path = find_file(file, options.weights_dir)
        if path is None:
            click.echo(f"{file.name}: not on this machine", err=not options.names)
            failed += bool(options.names)
            continue
        checked += bool(file.urls)
        try:
            digest = verify_file(file, path)
            proof = check_content(file, path)
            click.echo(f"{file.name}: ok, {proof} (sha256 {digest})")
        except WeightsError as error:
            click.echo(f"Error: {error}", err=True)
            failed += 1
    if not checked and not options.names:
        click.echo(
            "no downloaded weight files on this machine; avvp weights fetch leap-llp gets the default ones", err=True
        )
    return int(failed > 0)


@dataclass(frozen=True, kw_only=True)
class PathOptions(WeightsDirOptions):
    """Options of avvp weights path."""

    name: str | None = field(metadata=argument(required=False, shell_complete=complete_weight_files))


@command(PathOptions, examples=("avvp weights path", "avvp weights path resnet152"))
def path(options: PathOptions) -> int:
    """Print the path of a weight file.

    Without NAME, the folders that are searched are printed in order.
    """
    if options.name is None:
        for folder in search_folders(options.weights_dir):
            click.echo(os.fsencode(folder))  # exact, for programs that read it
        return 0
    status = 0
    for file in _named_files((options.name,), options.weights_dir):
        existing = find_file(file, options.weights_dir)
        if existing:
            click.echo(os.fsencode(existing))
        else:
            click.echo(f"{file.name}: not on this machine", err=True)
        status |= existing is None
    return int(status)


@dataclass(frozen=True, kw_only=True)
class PushOptions(MessageOptions):
    """Options of avvp weights push."""

    run: str = field(metadata=argument(metavar="RUN"))
    address: str = field(metadata=argument(metavar="hf://USER/REPOSITORY[@BRANCH][/FOLDER]"))
    private: bool = field(metadata=option("--private", is_flag=True, help="Make the repository a private one."))
    licence: str | None = field(
        metadata=option(
            "--licence", "--license", metavar="ID", help="Licence of the weights, such as mit or cc-by-4.0."
        )
    )
    scores: tuple[Path, ...] = field(
        metadata=option(
            "--scores",
            multiple=True,
            type=EXISTING_FILE,
            help="Scores for the model card, of 'avvp evaluate --weights RUN -f json'; repeatable.",
        )
    )
    message: str = field(metadata=option("-m", "--message", default="", help="Message of the commit."))
    replace_card: bool = field(
        metadata=option("--replace-card", is_flag=True, help="Replace a README.md that the repository has.")
    )
    dry_run: bool = field(
        metadata=option("--dry-run", is_flag=True, help="Print the files and the model card; send nothing.")
    )


@command(
    PushOptions,
    examples=(
        "avvp weights push runs/leap hf://alice/leap-birds --licence cc-by-4.0 --dry-run",
        "avvp weights push runs/leap hf://alice/leap-birds --private",
        "avvp-parse --weights hf://alice/leap-birds video.mp4",
    ),
    notes="The token is that of 'hf auth login', or HF_TOKEN. HF_ENDPOINT names another hub than huggingface.co.",
)
def push(options: PushOptions) -> int:
    """Upload a run or a bundle to a Hugging Face hub, with a model card.

    RUN is the folder of a run or a bundle. Uploaded are bundle.toml, the weight files of that folder that it names, and
    README.md: a model card of what the files say and of scores that were measured.
    """
    with contextlib.ExitStack() as lock:  # no training changes the files until they are sent
        with exit_2_on_error(debug=options.debug):
            from ...sharing.model_card import CARD_FILE, check_licence
            from ...sharing.push import plan_upload
            from ...sharing.push import push as push_upload

            address = parse_address(options.address)
            licence = None if options.licence is None else check_licence(options.licence)
            upload = lock.enter_context(plan_upload(options.run, address, licence=licence, scores=options.scores))
        if options.dry_run:
            click.echo(f"would be sent to {escape(address)} (nothing is sent now):")
        if options.dry_run or not options.quiet:
            sizes = {**{name: len(text.encode()) for name, text in upload.texts.items()}}
            sizes |= {name: file.stat().st_size for name, file in upload.files.items()}
            for name, size in sizes.items():
                click.echo(f"  {escape(address.path(name))}  {file_size(size)}", err=not options.dry_run)
        if options.dry_run:
            click.echo(f"\n{CARD_FILE}, the model card:\n\n{upload.texts[CARD_FILE]}", nl=False)
            return 0
        with exit_1_on_error(debug=options.debug):
            pushed = push_upload(
                upload,
                private=options.private,
                message=options.message,
                replace_card=options.replace_card,
                show_progress=not options.quiet and sys.stderr.isatty(),
            )
    if pushed.kept_card and not options.quiet:
        click.echo(f"note: {CARD_FILE} of the repository is kept; --replace-card replaces it", err=True)
    click.echo(f"pushed to {escape(pushed.page)}")
    if not options.quiet:
        click.echo(f"  avvp-parse --weights {replace(address, revision=pushed.commit)} video.mp4", err=True)
    return 0


for subcommand in (list_command, fetch, verify, path, push, quantize):
    weights.add_command(subcommand)


def _named_files(names: tuple[str, ...], weights_dir: Path | None) -> list[WeightFile]:
    """Return the files of keys, file names, bundle names and addresses of a hub.

    Raises:
        click.UsageError: a name is unknown.
        StartError: a bundle of a hub cannot be read.
    """
    files, bundles = list_files(), list_bundles()
    named: dict[str, WeightFile] = {}
    for name in names:
        if name in bundles and (root := bundles[name].root) is not None:
            missing = [file for file in bundles[name].files if not (root / file).is_file()]
            if missing:
                raise click.UsageError(
                    f"{name} is shipped with the program, but {missing[0]} is not there: reinstall it"
                )
            click.echo(f"{name}: shipped with the program, in {escape(root)}")
        elif name in bundles:
            named |= {key: files[key] for key in bundles[name].files}
        elif is_hub_address(name):
            with exit_2_on_error(debug=False):
                bundle = load_bundle(name, WeightSource(weights_dir))
                bundle_paths(bundle, weights_dir)  # refuses one that lacks a file
            published = {key: files[key] for key in bundle.files if key in files}
            named |= published | {f"{bundle.name}/{key}": file for key, file in bundle.downloads.items()}
        elif matches := [file for file in files.values() if name in {file.key, file.name}]:
            named |= {file.key: file for file in matches}
        else:
            raise click.UsageError(f"unknown name {name!r}; known: {', '.join([*bundles, *files])}")
    return list(named.values())
