"""Parsing many files: each on its own, so that one bad file does not stop the others."""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .bundle import LoadedBundle
from .errors import AVVPError, OutputError, printable
from .export import to_json
from .files import write_atomic
from .media_inputs import Progress
from .parse import parse_video
from .process import DEFAULT_TIMEOUT
from .thresholds import Thresholds
from .timeline import Timeline

STDOUT = Path("-")


@dataclass(frozen=True)
class ParseJob:
    """What to parse and where the results go: inputs and outputs go together, `STDOUT` is standard output."""

    inputs: Sequence[Path]
    outputs: Sequence[Path]
    bundle: LoadedBundle
    thresholds: Thresholds
    decoder: str = "auto"
    batch_size: int = 4
    timeout: float = DEFAULT_TIMEOUT
    segments: bool = False  # the per-second probabilities go into the output, too


@dataclass
class Outcome:
    """What became of a job. `failures` maps each failed input to its cause, in one line."""

    done: int = 0
    failures: dict[Path, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Hooks:
    """How a job tells of itself while it runs."""

    progress: Callable[[Path], Progress | None] = lambda _: None
    finished: Callable[[Path, Timeline, float], None] = lambda *_: None  # input, result, seconds it took
    failed: Callable[[Path, str], None] = lambda *_: None


def run_job(job: ParseJob, hooks: Hooks, *, debug: bool = False) -> Outcome:
    """Parse every input and write every result.

    An input that fails, for whatever reason, is recorded and the next one taken. With `debug`, the traceback goes to
    standard error as well.
    """
    outcome = Outcome()
    for path, output in zip(job.inputs, job.outputs, strict=True):
        started = time.monotonic()
        try:
            timeline = parse_video(
                path,
                weights=job.bundle,
                thresholds=job.thresholds,
                decoder=job.decoder,
                batch_size=job.batch_size,
                timeout=job.timeout,
                progress=hooks.progress(path),
            )
            _deliver(to_json(timeline, segments=job.segments), output)
        except AVVPError as error:
            cause = str(error).removeprefix(f"{printable(path)}: ")
            failure: Exception = error
        except Exception as error:  # a defect of ours must not cost the person the other files
            cause = f"internal error, please report it: {type(error).__name__}: {printable(error)} (--debug shows more)"
            failure = error
        else:
            outcome.done += 1
            with contextlib.suppress(OSError):  # a terminal that is gone must not cost the person the other files
                hooks.finished(path, timeline, time.monotonic() - started)
            continue
        outcome.failures[path] = cause
        with contextlib.suppress(OSError):
            if debug:
                traceback.print_exception(failure)
            hooks.failed(path, cause)
    return outcome


def _deliver(content: bytes, output: Path) -> None:
    if output != STDOUT:
        write_atomic(output, content)
        return
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except OSError as error:
        raise OutputError(f"standard output cannot be written: {error.strerror}") from error
