"""`avvp weights`: what exists, what is here, is it genuine, get it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...weights.errors import WeightsError
from ...weights.fetch import fetch_file
from ...weights.locate import find_file, readable_url, search_folders, verify_file
from ...weights.manifest import WeightFile, list_bundles, list_files

if TYPE_CHECKING:
    from .console import Console

_weights_dir = click.option(
    "--weights-dir", type=click.Path(path_type=Path), help="Folder to look in first, and to download to."
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def weights() -> None:
    """Weight files and bundles: list, fetch, verify, find.

    \b
    Examples:
      avvp weights list
      avvp weights fetch leap-llp
      avvp weights verify
      avvp weights path resnet152
    """


@weights.command("list")
@_weights_dir
def list_command(weights_dir: Path | None) -> None:
    """List bundles and files, with licence, source, and whether they are on this machine."""
    click.echo("Bundles (for --weights):")
    for bundle in list_bundles().values():
        files = ", ".join(bundle.files) or "no files"
        click.echo(f"  {bundle.name}\n      {bundle.description}\n      {files}")
    click.echo("Files:")
    for file in list_files().values():
        found = find_file(file, weights_dir)
        click.echo(f"  {file.key}  {file.name}  {file.mib:.1f} MiB  {found or 'not on this machine'}")
        click.echo(
            f"      {file.source}\n      licence: {file.licence}\n      {', '.join(map(readable_url, file.urls))}"
        )


@weights.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@_weights_dir
@click.option("-q", "--quiet", is_flag=True, help="No progress bar.")
def fetch(names: tuple[str, ...], weights_dir: Path | None, quiet: bool) -> int:
    """Download the files of a bundle, or single files, and verify them. What is there already is only verified.

    An interrupted download is continued by the same command.
    """
    from .console import Console

    console = Console(quiet=quiet, verbose=False)
    failed = False
    for file in _named_files(names):
        try:
            click.echo(f"{file.name}: {_fetch(file, weights_dir, console)}")
        except WeightsError as error:
            click.echo(f"Error: {error}", err=True)
            failed = True
    return int(failed)


def _fetch(file: WeightFile, weights_dir: Path | None, console: Console) -> str:
    if found := find_file(file, weights_dir):
        return f"already at {found}, sha256 {verify_file(file, found)}"
    with console:
        path, digest = fetch_file(file, weights_dir, progress=console.download)
    return f"saved to {path}, sha256 {digest}"


@weights.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@_weights_dir
def verify(names: tuple[str, ...], weights_dir: Path | None) -> int:
    """Check sizes and hashes; without a published hash, the content. Without NAME, all files that are here."""
    failed = checked = 0
    for file in _named_files(names) if names else list_files().values():
        found = find_file(file, weights_dir)
        if found is None:
            click.echo(f"{file.name}: not on this machine", err=not names)
            failed += bool(names)
            continue
        checked += 1
        try:
            digest = verify_file(file, found)
            proof = PROOFS[file.key](found) if file.key in PROOFS else "matches the published hash"
            click.echo(f"{file.name}: ok, {proof} (sha256 {digest})")
        except WeightsError as error:
            click.echo(f"Error: {error}", err=True)
            failed += 1
    if not checked and not names:
        click.echo("no weight files on this machine; avvp weights fetch leap-llp gets the default ones", err=True)
    return int(failed > 0)


def _prove_vggish(path: Path) -> str:
    """The published answers of the genuine network. Raises WeightsError where it gives others."""
    from ...extractors.registry import build_extractor
    from ...weights.load import read_state_dict
    from ..inference.vggish_check import TOLERANCES, check_vggish

    try:
        differences = check_vggish(build_extractor("vggish", read_state_dict(path)))
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    wrong = [name for name, difference in differences.items() if not difference <= TOLERANCES[name]]
    shown = ", ".join(f"{name} differs by {difference:.2g}" for name, difference in differences.items())
    if wrong:
        raise WeightsError(f"{path}: does not give the published answers ({shown}): it is not the pretrained VGGish")
    return f"gives the published answers ({shown})"


def _prove_leap(path: Path) -> str:
    """That the file holds every tensor of the published parser. Raises WeightsError where it does not."""
    import torch

    from ...models.labels import LLP_LABELS
    from ...models.published import load_published
    from ...weights.load import read_state_dict

    try:
        load_published(read_state_dict(path), family="leap", label_embeddings=torch.zeros(len(LLP_LABELS), 300))
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from error
    return "holds every tensor of the published MM-Pyr + LEAP; no hash is published"


PROOFS = {"vggish": _prove_vggish, "leap_llp": _prove_leap}


@weights.command()
@click.argument("name", required=False)
@_weights_dir
def path(name: str | None, weights_dir: Path | None) -> int:
    """Print where a file is or, without NAME, the folders that are searched, in order."""
    if name is None:
        for folder in search_folders(weights_dir):
            click.echo(folder)
        return 0
    status = 0
    for file in _named_files((name,)):
        found = find_file(file, weights_dir)
        click.echo(found or f"{file.name}: not on this machine", err=found is None)
        status |= found is None
    return int(status)


def _named_files(names: tuple[str, ...]) -> list[WeightFile]:
    """The files that keys, file names and bundle names stand for. Raises UsageError for anything else."""
    files, bundles = list_files(), list_bundles()
    chosen: dict[str, WeightFile] = {}
    for name in names:
        if name in bundles and (root := bundles[name].root) is not None:
            missing = [file for file in bundles[name].files if not (root / file).is_file()]
            if missing:
                raise click.UsageError(
                    f"{name} is shipped with the program, but {missing[0]} is not there: reinstall it"
                )
            click.echo(f"{name}: shipped with the program, in {root}")
        elif name in bundles:
            chosen |= {key: files[key] for key in bundles[name].files}
        elif matches := [file for file in files.values() if name in {file.key, file.name}]:
            chosen |= {file.key: file for file in matches}
        else:
            raise click.UsageError(f"unknown name {name!r}; known: {', '.join([*bundles, *files])}")
    return list(chosen.values())
