"""`avvp extract`: folders of video to features, checked before any weights are loaded."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ..extractors.profiles import PROFILES, get_profile
from ..extractors.rates import STREAMS, Stream
from ..weights.manifest import DEFAULT_BUNDLE, load_bundle
from .cli_options import decode_timeout_option, decoder_option, running_options, starting, working
from .errors import SetupError, printable

if TYPE_CHECKING:
    from ..weights.manifest import Bundle
    from .console import Messages
    from .engine import Result
    from .extraction import ExtractionJob, Outcome, Plan
    from .journal import Journal

_SPEAK_EVERY = 10.0  # seconds, where there is no terminal to draw a bar on


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp extract clips/ -o feats/
  avvp extract archive/ --recursive --keep-tree -o feats/
  find . -name '*.mp4' | avvp extract --list - -o feats/ --weights untrained
  avvp extract clips/ -o feats/ --retry-failed

The same command again continues where it stopped. Exit status: 0 all well; 1 some input failed (named at the end and
in failures.csv); 2 wrong usage or a run that cannot start.""",
)
@click.argument("inputs", nargs=-1, metavar="[INPUT]...")
@click.option("--list", "listing", metavar="FILE", help="More inputs: a text or CSV file; '-' is standard input.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Folder for the features.")
@click.option("--recursive", is_flag=True, help="Also look in the folders below a folder.")
@click.option("--keep-tree", is_flag=True, help="Name outputs by their path below the folder, not by name alone.")
@click.option("--weights", default=DEFAULT_BUNDLE, show_default=True, metavar="NAME|FOLDER", help="Whose extractors.")
@click.option("--profile", type=click.Choice(sorted(PROFILES)), help="Instead of the one of the bundle.")
@click.option("--extractors", metavar="NAME,NAME", help="Only these of the bundle's extractors.")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    default="fp32",
    show_default=True,
    help="What the networks compute in; features are float32 in any case.",
)
@click.option("--batch-size", type=click.IntRange(1), help="Seconds of video at once; by default as the device likes.")
@click.option("--workers", type=click.IntRange(1), help="Decoding processes; by default as the device needs.")
@decoder_option
@decode_timeout_option
@click.option("--retry-failed", is_flag=True, help="Try again what failed before.")
@click.option("--overwrite", is_flag=True, help="Do everything anew, and replace files of other programs.")
@click.option("--verify", is_flag=True, help="Read every output that is there and compare its checksum.")
@click.option("--hash-inputs", is_flag=True, help="Know inputs by their content, not by path, size and time.")
@click.option("--fail-fast", is_flag=True, help="Stop at the first input that fails.")
@click.option(
    "--json-log", type=click.File("a", lazy=False), help="Append a JSON line for each finished file; '-' is stdout."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and why; compute nothing.")
@running_options
def extract(inputs: tuple[str, ...], **options: Any) -> int:
    """Turn each INPUT (a media file, a folder of them, a pattern) into feature files in the layout of LLP.

    Every finished file is journalled with checksums: a run that was interrupted, by whatever, is continued by the
    same command, and nothing is computed twice. Inputs that have changed, and outputs that are missing or damaged,
    are done again.
    """
    with starting(debug=options["debug"]):
        named = _name(inputs, options)
        bundle = _choose(options)
        options["output"].mkdir(parents=True, exist_ok=True)

    from .console import Messages  # noqa: PLC0415 - from here on, imports take seconds
    from .journal import Journal  # noqa: PLC0415
    from .run_folder import alone  # noqa: PLC0415

    messages = Messages(quiet=options["quiet"], verbose=False)
    with starting(debug=options["debug"]), alone(options["output"]):
        journal = Journal(options["output"])
        if journal.unreadable:
            messages.say(f"{journal.unreadable} lines of the journal cannot be read and are left out of account")
        try:
            return _extract(named, bundle, options, journal, messages)
        finally:
            journal.close()


def _name(inputs: Sequence[str], options: dict[str, Any]) -> dict[str, Path]:
    from .worklist import name_inputs, read_list  # noqa: PLC0415

    listed = read_list(options["listing"]) if options["listing"] is not None else []
    if not inputs and not listed:
        raise click.UsageError("no inputs: name files or folders, or a --list of them")
    if options["output"].exists() and not options["output"].is_dir():
        raise SetupError(f"{printable(options['output'])}: is not a folder")
    return name_inputs([*inputs, *listed], recursive=options["recursive"], keep_tree=options["keep_tree"])


def _choose(options: dict[str, Any]) -> Bundle:
    """The bundle, with the profile that was asked for."""
    from .seconds import check_decoder  # noqa: PLC0415

    bundle = load_bundle(options["weights"])
    if options["profile"] is not None:
        bundle = replace(bundle, profile=options["profile"])
    try:
        check_decoder(get_profile(bundle.profile), options["decoder"])
    except ValueError as error:
        raise SetupError(str(error)) from error
    return bundle


def _extract(
    named: dict[str, Path], bundle: Bundle, options: dict[str, Any], journal: Journal, messages: Messages
) -> int:
    from .bundle import load_extractors, resolve_device  # noqa: PLC0415
    from .decode_pool import DecodeOptions  # noqa: PLC0415
    from .engine import Engine  # noqa: PLC0415
    from .extraction import make_plan, run_plan, save_features  # noqa: PLC0415
    from .lanes import batch_sizes, check_precision, decode_workers, make_lanes  # noqa: PLC0415

    device = resolve_device(options["device"])
    dtype = check_precision(options["precision"], device)
    with messages:
        loaded = load_extractors(
            bundle,
            weights_dir=options["weights_dir"],
            offline=options["offline"],
            device=device,
            dtype=dtype,
            progress=messages.download,
        )
    job = _job(named, bundle, options, loaded)
    plan = make_plan(job, journal)
    if options["dry_run"]:
        _show_plan(plan)
        return 1 if plan.failed else 0
    teller = _Teller(messages, len(plan.todo), options["json_log"])
    engine = Engine(
        make_lanes({stream: loaded.extractors[stream] for stream in job.streams}, device, options["threads"]),
        batch_sizes(device, options["batch_size"]),
        DecodeOptions(bundle.profile, options["decoder"], options["decode_timeout"], debug=options["debug"]),
        lambda video: save_features(job, video),
        workers=min(options["workers"] or decode_workers(device), max(1, len(plan.todo))),
    )
    with working(debug=options["debug"]), messages, engine:
        outcome = run_plan(job, plan, journal, engine, teller)
    _summarize(outcome)
    return 1 if outcome.failures else 0


def _job(named: dict[str, Path], bundle: Bundle, options: dict[str, Any], loaded: Any) -> ExtractionJob:
    from .extraction import ExtractionJob, parameter_hashes  # noqa: PLC0415

    spec = loaded.spec
    streams: tuple[Stream, ...] = STREAMS
    if options["extractors"] is not None:
        chosen = [name.strip() for name in options["extractors"].split(",")]
        if unknown := [name for name in chosen if name not in spec.extractors]:
            raise SetupError(f"{bundle.name!r} has no extractor {unknown[0]!r}; it has {', '.join(spec.extractors)}")
        streams = tuple(stream for stream, name in zip(STREAMS, spec.extractors, strict=True) if name in chosen)
    precision, decoder = options["precision"], options["decoder"]
    parameters = parameter_hashes(spec, loaded.made_with, precision=precision, decoder=decoder)
    kept = ("overwrite", "retry_failed", "verify", "hash_inputs", "fail_fast")
    switches = {name: options[name] for name in kept}
    return ExtractionJob(named, options["output"], spec, streams, parameters, **switches)


class _Teller:
    """Shows how a run goes: a bar, or a line now and then; for programs, a JSON line for each file."""

    def __init__(self, messages: Messages, total: int, log: IO[str] | None) -> None:
        self._messages, self._total, self._log = messages, total, log
        self._started = self._spoken = time.monotonic()
        self._seconds = 0.0  # of media

    def __call__(self, result: Result, outcome: Outcome) -> None:
        if result.summary is not None:
            self._seconds += result.summary.facts.duration
        now, done = time.monotonic(), self._total - outcome.left
        if self._log is not None:
            click.echo(json.dumps(self._describe(result, outcome)), file=self._log)
        rate = f"{self._seconds / (now - self._started):.1f}x real time"
        failed = f", {len(outcome.failures)} failed" if outcome.failures else ""
        if self._messages.console.is_terminal:
            self._messages.show("extracting", done, self._total, f"{done}/{self._total} files, {rate}{failed}")
        elif now - self._spoken > _SPEAK_EVERY:
            self._spoken = now
            left = (now - self._started) / done * outcome.left
            self._messages.say(f"{done}/{self._total} files, {rate}{failed}, {left:.0f} s left")

    def _describe(self, result: Result, outcome: Outcome) -> dict[str, Any]:
        return {
            "id": result.work.id,
            "path": str(result.work.path),
            "status": "done" if result.cause is None else "failed",
            "cause": result.cause,
            "warnings": list(result.summary.warnings) if result.summary is not None else [],
            "media_seconds": result.summary.facts.duration if result.summary is not None else None,
            "seconds": round(result.seconds, 3),
            "left": outcome.left,
            "failed": len(outcome.failures),
        }


def _show_plan(plan: Plan) -> None:
    for decision in plan.todo:
        streams = ", ".join(decision.streams)
        click.echo(f"compute  {printable(decision.id)}  {streams}  ({decision.reason})")
    for decision in plan.failed:
        click.echo(f"failed   {printable(decision.id)}  {decision.reason} (--retry-failed tries again)")
    click.echo(f"{len(plan.todo)} to compute, {len(plan.done)} done before, {len(plan.failed)} failed before", err=True)


def _summarize(outcome: Outcome) -> None:
    """Name every failed input with its cause, at the end, where it is read."""
    left = f", {outcome.left} not tried" if outcome.left else ""
    counts = f"{outcome.done} done, {outcome.skipped} done before, {len(outcome.failures)} failed{left}"
    click.echo(counts, err=True)
    for path, cause in outcome.failures.values():
        click.echo(f"Error: {printable(path)}: {cause}", err=True)
