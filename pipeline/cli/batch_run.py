"""What commands share that work on many files: their options, and the run itself."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from ..errors import SetupError
from ..text import printable
from .options import Command, decode_timeout_option, decoder_option, working

if TYPE_CHECKING:
    from ..batch.engine import Result, Work
    from ..batch.plan import BatchJob, Outcome, Plan
    from ..batch.storage import Storage
    from ..batch.task import Settings, Task
    from .console import Messages

_SPEAK_EVERY = 10.0  # seconds, where there is no terminal to draw a bar on
_RAY_ONLY = ("address", "actors", "cpus_per_actor", "gpus_per_actor")

_NETWORK_OPTIONS = (  # not for every network
    decoder_option,
    click.option(
        "--compile", is_flag=True, help="Compile the networks with torch.compile: minutes first, then faster."
    ),
)
_ENGINE_OPTIONS = (
    click.option(
        "--precision",
        type=click.Choice(["fp32", "tf32", "bf16", "fp16"]),
        default="fp32",
        show_default=True,
        help="What the networks compute in; results are float32 in any case.",
    ),
    click.option(
        "--batch-size", type=click.IntRange(1), help="Seconds of video at once; by default as the device likes."
    ),
    decode_timeout_option,
    click.option("--list", "listing", metavar="FILE", help="More inputs: a text or CSV file; '-' is standard input."),
    click.option("--keep-tree", is_flag=True, help="Name outputs by their path below the folder, not by name alone."),
    click.option("--workers", type=click.IntRange(1), help="Decoding processes; by default as the device needs."),
    click.option("--retry-failed", is_flag=True, help="Try again what failed before."),
    click.option("--overwrite", is_flag=True, help="Do everything anew, and replace files of other programs."),
    click.option("--verify", is_flag=True, help="Read every output that is there and compare its checksum."),
    click.option("--hash-inputs", is_flag=True, help="Know inputs by their content, not by path, size and time."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first input that fails."),
    click.option(
        "--json-log", type=click.File("a", lazy=False), help="Append a JSON line for each finished file; '-' is stdout."
    ),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and why; compute nothing."),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="This machine, or a Ray cluster.",
    ),
    click.option(
        "--address", metavar="HOST:PORT", help="Of the Ray cluster; by default RAY_ADDRESS, or a new one here."
    ),
    click.option("--actors", type=click.IntRange(1), help="Ray: engines in the cluster; by default as many as fit."),
    click.option("--cpus-per-actor", type=click.IntRange(1), help="Ray: cores of each; by default all of a node's."),
    click.option("--gpus-per-actor", type=click.FloatRange(0), help="Ray: GPUs of each, 0.5 for half of one."),
)
_LOCAL_TOO = (
    "listing", "keep_tree", "workers", "compile", "retry_failed", "overwrite", "verify", "hash_inputs", "fail_fast",
    "json_log", "dry_run", "engine",
)  # fmt: skip
BATCH_NAMES = _LOCAL_TOO + _RAY_ONLY


def batch_options(command: Command) -> Command:
    """What every command has that runs a bundle's networks on many files."""
    return _add(_add(command, _ENGINE_OPTIONS), _NETWORK_OPTIONS)


def engine_options(command: Command) -> Command:
    """What every command has that works on many files; to `read_settings` it says `decoder` and `compile` itself."""
    return _add(command, _ENGINE_OPTIONS)


def _add(command: Command, options: Sequence[Callable[[Command], Command]]) -> Command:
    for option in reversed(options):
        command = option(command)
    return command


def name_all(inputs: Sequence[str], options: Mapping[str, Any]) -> dict[str, Path]:
    """Every input by its id. Raises UsageError for none, SetupError for names that lead nowhere or clash."""
    from .inputs import name_inputs, read_list

    on_ray = options["engine"] == "ray"
    for name in ("threads",) if on_ray else _RAY_ONLY:
        if options[name] is not None:
            hint = "is for this machine; on a cluster, use --cpus-per-actor" if on_ray else "goes with --engine ray"
            raise click.UsageError(f"--{name.replace('_', '-')} {hint}")
    listed = read_list(options["listing"]) if options["listing"] is not None else []
    if not inputs and not listed:
        raise click.UsageError("no inputs: name files or folders, or a --list of them")
    return name_inputs([*inputs, *listed], recursive=options["recursive"], keep_tree=options["keep_tree"])


def read_settings(profile: str, options: Mapping[str, Any]) -> Settings:
    """How each machine computes. Raises SetupError for a decoder that cannot serve the profile."""
    from ...extractors.profiles import get_profile
    from ..batch.task import Settings
    from ..decode.per_second import check_decoder
    from ..devices import Arithmetic
    from ..preprocess.worker_process import DecodeOptions

    try:
        check_decoder(get_profile(profile), options["decoder"])
    except ValueError as error:
        raise SetupError(str(error)) from error
    return Settings(
        DecodeOptions(profile, options["decoder"], options["decode_timeout"], debug=options["debug"]),
        options["device"],
        Arithmetic(options["precision"], options["compile"]),
        options["batch_size"],
        options["threads"],
        options["workers"],
    )


def run_batch(
    task: Task[Any], named: Mapping[str, Path], storage: Storage, options: Mapping[str, Any], messages: Messages
) -> int:
    """Load, plan, run, tell; returns the exit status. Raises what the person can mend before anything is done."""
    from ..batch.journal import Journal
    from ..batch.plan import BatchJob, make_plan, run_plan

    journal = Journal(storage)
    if journal.unreadable:
        messages.say(f"{journal.unreadable} lines of the journal cannot be read and are left out of account")
    on_ray = options["engine"] == "ray"
    with messages:
        loaded = (_on_cpu(task) if on_ray else task).load(messages.download)
    products = task.products(loaded)
    task.check(loaded, storage, overwrite=options["overwrite"])
    kept = ("overwrite", "retry_failed", "verify", "hash_inputs", "fail_fast")
    job = BatchJob(named, storage, products, **{name: options[name] for name in kept})
    plan = make_plan(job, journal)
    if options["dry_run"]:
        _show_plan(plan)
        return 1 if plan.failed else 0
    teller, runner = Teller(messages, len(plan.todo), options["json_log"]), _Idle()
    if plan.todo:
        runner = _ray(task, job, options) if on_ray else task.engine(loaded, products, storage, videos=len(plan.todo))
    with runner, working(debug=options["debug"]):
        with messages, contextlib.closing(journal):
            task.prepare(loaded, storage)
            outcome = run_plan(job, plan, journal, runner, teller)
        _summarize(outcome)
        if note := task.conclude(loaded, products, storage, journal):
            messages.say(note)
    return 1 if outcome.failures else 0


class _Idle(contextlib.AbstractContextManager["_Idle"]):
    """Runs nothing."""

    at_once = 1

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, works: Iterable[Work]) -> Iterator[Result]:
        """Nothing was asked for."""
        assert not list(works)
        return iter(())


def _on_cpu(task: Task[Any]) -> Task[Any]:
    """For the machine that only plans: the networks are loaded to know what they are."""
    from ..devices import PLAIN

    return replace(task, settings=replace(task.settings, device="cpu", arithmetic=PLAIN))


def _ray(task: Task[Any], job: BatchJob, options: Mapping[str, Any]) -> Any:
    from ..batch.ray_engine import RayEngine

    return RayEngine(
        task,
        job.products,
        job.storage.where,
        address=options["address"],
        actors=options["actors"],
        cpus=options["cpus_per_actor"],
        gpus=options["gpus_per_actor"],
    )


class Teller:
    """Shows how a run goes: a bar, or a line now and then; for programs, a JSON line for each file."""

    def __init__(self, messages: Messages, total: int, log: IO[str] | None) -> None:
        self._messages, self._total, self._log = messages, total, log
        self._started = self._spoken = time.monotonic()
        self._seconds = 0.0  # of media

    def __call__(self, result: Result, outcome: Outcome) -> None:
        if result.made is not None:
            self._seconds += result.made.media["duration"]
        if self._log is not None:
            click.echo(json.dumps(self._describe(result, outcome)), file=self._log)
        with contextlib.suppress(OSError):  # a terminal that is gone must not cost the person the other files
            self._show(result, outcome)

    def _show(self, result: Result, outcome: Outcome) -> None:
        messages, now, done = self._messages, time.monotonic(), self._total - outcome.left
        if result.made is not None and result.made.note:
            messages.say(f"{result.work.id}: {result.made.note}")
        if result.made is not None:
            media = result.made.media
            messages.note(
                f"{result.work.path}: {media['format']}, frames by {media['decoder']}:"
                f" {media['frames_decoded']} decoded, {media['frames_damaged']} damaged; {result.seconds:.1f} s"
            )
        rate = f"{self._seconds / (now - self._started):.1f}x real time"
        failed = f", {len(outcome.failures)} failed" if outcome.failures else ""
        if messages.console.is_terminal:
            messages.show("working", done, self._total, f"{done}/{self._total} files, {rate}{failed}")
        elif now - self._spoken > _SPEAK_EVERY:
            self._spoken = now
            left = (now - self._started) / done * outcome.left
            messages.say(f"{done}/{self._total} files, {rate}{failed}, {left:.0f} s left")

    def _describe(self, result: Result, outcome: Outcome) -> dict[str, Any]:
        made = result.made
        return {
            "id": result.work.id,
            "path": str(result.work.path),
            "status": "failed" if made is None else "done",
            "cause": result.cause,
            "warnings": [] if made is None else list(made.warnings),
            "media_seconds": None if made is None else made.media["duration"],
            "seconds": round(result.seconds, 3),
            "left": outcome.left,
            "failed": len(outcome.failures),
        }


def _show_plan(plan: Plan) -> None:
    for decision in plan.todo:
        products = ", ".join(decision.products)
        click.echo(f"compute  {printable(decision.id)}  {products}  ({decision.reason})")
    for decision in plan.failed:
        click.echo(f"failed   {printable(decision.id)}  {decision.reason} (--retry-failed tries again)")
    click.echo(f"{len(plan.todo)} to compute, {len(plan.done)} done before, {len(plan.failed)} failed before", err=True)


def _summarize(outcome: Outcome) -> None:
    """Name every failed input with its cause, at the end, where it is read."""
    left = f", {outcome.left} not tried" if outcome.left else ""
    with contextlib.suppress(OSError):
        click.echo(
            f"{outcome.done} done, {outcome.skipped} done before, {len(outcome.failures)} failed{left}", err=True
        )
        for path, cause in outcome.failures.values():
            click.echo(f"Error: {printable(path)}: {cause}", err=True)
