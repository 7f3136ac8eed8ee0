"""Command avvp serve: parse and correct videos in the browser."""

from __future__ import annotations

import contextlib
import os
import socket
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import click

from ...errors import SetupError
from ...inference.other_profile import with_profile
from ...precisions import TORCH
from ...text import escape
from ..calibrated_run import check_quantized
from ..missing_weights import provide_weights
from ..options.batch_options import PrecisionOptions
from ..options.command import (
    EXISTING_FILE,
    EXISTING_FOLDER,
    OUTPUT_FOLDER,
    FiniteRange,
    argument,
    command,
    exit_2_on_error,
    is_given,
    option,
)
from ..options.embedding_options import EmbeddingOptions
from ..options.groups import (
    BUNDLE_OPTION,
    PROFILE_OPTION,
    THRESHOLD_OPTION,
    THRESHOLDS_OPTION,
    DecodeTimeoutOptions,
    DownloadOptions,
    RunningOptions,
)
from ..options.open_options import OpenOptions
from ..parse_options import require_parser

if TYPE_CHECKING:
    from ....weights.manifest import Bundle
    from ...serve.access import Access
    from ...serve.jobs.desk import DeskSettings
    from ...serve.server import ServerSettings

TOKEN_VARIABLE = "AVVP_SERVE_TOKEN"  # noqa: S105 - the name of a variable
KEY_VARIABLE = "LABEL_STUDIO_API_KEY"
_EXTRA = "avvp serve needs FastAPI and uvicorn: pip install 'avvp[serve]'"


@dataclass(frozen=True, kw_only=True)
class ServeOptions(
    OpenOptions, EmbeddingOptions, PrecisionOptions, DecodeTimeoutOptions, DownloadOptions, RunningOptions
):
    """Options of avvp serve."""

    heading: ClassVar[str] = "Options"
    folder: Path | None = field(metadata=argument(required=False, type=EXISTING_FOLDER, metavar="[FOLDER]"))
    results: Path = field(
        metadata=option(
            "-o",
            "--output-dir",
            type=OUTPUT_FOLDER,
            default="avvp-serve",
            help="Folder for timelines, their history, and files that are sent.",
        )
    )
    weights: str = field(metadata=BUNDLE_OPTION)
    profile: str | None = field(metadata=PROFILE_OPTION)
    threshold: float | None = field(metadata=THRESHOLD_OPTION)
    thresholds: Path | None = field(metadata=THRESHOLDS_OPTION)
    host: str = field(
        metadata=option(
            "--host",
            default="127.0.0.1",
            metavar="ADDRESS",
            help="Address to listen on; any that other machines reach needs a token.",
        )
    )
    port: int = field(
        metadata=option("--port", type=click.IntRange(0, 65_535), default=9090, help="Port; 0 is any that is free.")
    )
    token_file: Path | None = field(
        metadata=option(
            "--token-file",
            type=EXISTING_FILE,
            show_default=f"${TOKEN_VARIABLE}; else a new one where it is needed",
            help="File with the token that clients must send.",
        )
    )
    allow_hosts: tuple[str, ...] = field(
        metadata=option(
            "--allow-host",
            multiple=True,
            metavar="NAME",
            help="Further name under which the server is reached: of a proxy, or host.docker.internal.",
        )
    )
    label_studio: str | None = field(
        metadata=option(
            "--label-studio",
            metavar="URL",
            help=f"Label Studio whose media may be fetched, with the access token in ${KEY_VARIABLE}.",
        )
    )
    max_upload: int = field(
        metadata=option(
            "--max-upload", type=click.IntRange(1), default=4096, metavar="MIB", help="Largest file that is taken."
        )
    )
    max_hours: float = field(
        metadata=option(
            "--max-hours",
            type=FiniteRange(0, 24, min_open=True),
            default=4,
            metavar="HOURS",
            help="Longest media that are parsed.",
        )
    )


@command(
    ServeOptions,
    examples=(
        "avvp serve videos/ --weights demo",
        "avvp serve videos/ -o corrections/ --port 0",
        'avvp serve videos/ --classes "dog barking, applause"',
        "avvp serve videos/ --host 0.0.0.0 --token-file token.txt",
        "avvp serve videos/ --label-studio http://localhost:8080",
    ),
    notes="Ctrl-C ends the server. Jobs that are waiting then, or running, are run by the next one with the same"
    " --output-dir.",
)
def serve(options: ServeOptions) -> int:
    """Parse and correct videos in the browser; a JSON API, and a backend of Label Studio.

    Files of FOLDER can be chosen on the start page, others are dropped on it. Timelines are corrected on their page and
    saved with a history. With --classes, the page takes other classes for the next videos. The same addresses are a
    JSON API, described at /openapi.json, and an ML backend of Label Studio.
    """
    with exit_2_on_error(debug=options.debug):
        name, named = options.find_bundle(options.weights, options.source())
        bundle = options.with_classes(with_profile(named, options.profile))
        require_parser(bundle)
        options.check_embeddings(bundle)
        check_quantized(bundle, options)
        _check_extra()
        token = _token(options)

        from ...serve.server import listen
        from ...serve.server import serve as run_server
        from ..console import Console

        settings = _server_settings(options, bundle, token)
        with listen(options.host, options.port) as listening:
            provide_weights(bundle, options, Console(quiet=options.quiet))
            _say(options, f"loading {bundle.name}")
            port = listening.getsockname()[1]

            def announce(access: Access, unreadable: int, choice: str) -> None:
                if choice:
                    _say(options, choice)
                _announce(options, port, access, token, unreadable)

            with contextlib.suppress(KeyboardInterrupt):  # the way to end it
                run_server(
                    listening,
                    settings,
                    _desk_settings(options, name, bundle),
                    announce=announce,
                    report=lambda error: _report(options, error),
                )
    _say(options, "ended")
    return 0


def _check_extra() -> None:
    """Raise SetupError where the packages of the extra are not installed."""
    try:
        import fastapi
        import python_multipart
        import uvicorn
    except ImportError as error:
        raise SetupError(f"{_EXTRA} ({error.name} is missing)") from error
    assert fastapi and python_multipart and uvicorn


def _token(options: ServeOptions) -> str | None:
    """Return the token: of the file, else of the environment, else a new one where other machines reach the server."""
    from ....weights.unicode import TextError
    from ...serve.access import new_token, token_fault
    from ...serve.hosts import is_loopback
    from ...text_files import read_text

    where, token = f"${TOKEN_VARIABLE}", os.environ.get(TOKEN_VARIABLE)
    if options.token_file is not None:
        where = escape(options.token_file)
        try:
            token = read_text(options.token_file).text.strip()
        except TextError as error:
            raise SetupError(f"{where}: {error}") from error
    if token is not None:
        if fault := token_fault(token):
            raise SetupError(f"{where}: {fault}")
        return token
    return None if is_loopback(options.host) else new_token()


def _server_settings(options: ServeOptions, bundle: Bundle, token: str | None) -> ServerSettings:
    from ...serve.label_studio_media import LabelStudioHost
    from ...serve.server import ServerSettings

    label_studio = None
    if options.label_studio is not None:
        label_studio = LabelStudioHost.parse(options.label_studio, os.environ.get(KEY_VARIABLE, "").strip())
    return ServerSettings(
        host=options.host,
        port=options.port,
        token=token,
        allowed_hosts=options.allow_hosts,
        label_studio=label_studio,
        title=f"{bundle.name}: {bundle.description}" if bundle.description else bundle.name,
    )


def _desk_settings(options: ServeOptions, name: str, bundle: Bundle) -> DeskSettings:
    from ...serve.jobs.desk import DeskSettings
    from ...serve.jobs.engine import EngineSettings

    store = options.embedding_store(bundle)
    engine = EngineSettings(
        weights=name,
        weights_dir=None if options.weights_dir is None else str(options.weights_dir),
        device=options.device,
        threads=options.threads,
        profile=options.profile,
        precision=None if options.precision == "fp32" and not is_given("precision") else options.precision,
        backend=None if options.backend == TORCH and not is_given("backend") else options.backend,
        threshold=options.threshold,
        thresholds=None if options.thresholds is None else str(options.thresholds),
        decode_timeout=options.decode_timeout,
        max_media=options.max_hours * 3600,
        debug=options.debug,
        trust=options.source().trust,
        vocabulary=_vocabulary(bundle, options),
        embeddings=None if store is None else str(store.folder.absolute()),
    )
    return DeskSettings(
        results=options.results, media=options.folder, max_upload=options.max_upload << 20, engine=engine
    )


def _vocabulary(bundle: Bundle, options: ServeOptions) -> Mapping[str, Any] | None:
    """Return what an open bundle looks for, None for a trained one. Raises SetupError."""
    if bundle.classes is not None or "classes" not in bundle.parser:
        return bundle.classes
    from ....weights.locate import bundle_paths
    from ...open_vocabulary.open_bundle import read_classes

    paths, _ = bundle_paths(bundle, options.weights_dir)
    return read_classes(bundle, f"@{paths[bundle.parser['classes']]}").to_dict()


def _announce(options: ServeOptions, port: int, access: Access, token: str | None, unreadable: int) -> None:
    """Print the addresses of the server, also with --quiet: they are its result."""
    host = socket.gethostname() if options.host in {"0.0.0.0", "::"} else options.host  # noqa: S104 - compared only
    host = f"[{host}]" if ":" in host else host
    address = f"http://{host}:{port}/"
    lines = [f"open {address}"]
    if token is not None:
        lines = [f"open {address}login/{access.code} (signs in one browser)"]
        if options.token_file is None and TOKEN_VARIABLE not in os.environ:
            lines.append(f"token for other clients: {token}")
    for line in lines:
        click.echo(line)
    if unreadable:
        _say(options, f"{unreadable} lines of the journal cannot be read: no file is removed while they are there")


def _report(options: ServeOptions, error: Exception) -> None:
    """Print an error that is a bug; the server goes on."""
    if options.debug:
        traceback.print_exception(error)
    text = f"{type(error).__name__}: {escape(error)}"
    click.echo(f"Error: internal error, please report it (--debug shows where): {text}", err=True)


def _say(options: ServeOptions, text: str) -> None:
    if not options.quiet:
        click.echo(text, err=True)
