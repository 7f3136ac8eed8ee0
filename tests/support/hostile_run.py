"""Run commands on hostile files of events in this process, and print how each ended.

    python hostile_run.py FOLDER SIZE SHARE

Every file is read by the first two of `COMMANDS`, and by one of each SHARE of the others, in turn. The memory of the
process is limited to 1 GB more than it has after its imports.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import traceback
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from support.hostile_events import COMMANDS, arguments, hostile_events, limit_memory, timed, write_annotations

MEMORY = 1 << 30  # bytes
ALWAYS = 2  # commands


def main() -> None:
    folder, size, share = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    import matplotlib.figure  # noqa: F401 - before memory is limited
    from avvp.pipeline.cli.main import avvp as program
    from avvp.pipeline.evaluation import evaluate_timelines  # noqa: F401
    from avvp.pipeline.outputs.plots import timeline  # noqa: F401

    def run(*command: str) -> tuple[int, str]:
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            try:
                status = program.main(list(command), standalone_mode=False) or 0
            except click.ClickException as error:
                error.show()
                status = error.exit_code
            except BaseException:  # what the interpreter would print
                traceback.print_exc()
                status = 1
        return status, errors.getvalue()

    data, files = write_annotations(folder / "annotations"), hostile_events(size)
    limit_memory(MEMORY)
    for number, (name, content) in enumerate(files.items()):
        (folder / "in").mkdir()
        file = folder / "in" / ("x.events.json" if name.endswith(".events.json") else name)
        file.write_bytes(content)
        for index, command in enumerate(COMMANDS):
            if index < ALWAYS or (number + index) % share == 0:
                out = folder / "out"
                out.mkdir()
                ending = timed(run, *arguments(command, file, out, data))
                record = name, command, ending.status, ending.seconds, ending.error
                sys.stdout.write(json.dumps(record) + "\n")
                shutil.rmtree(out)
        shutil.rmtree(folder / "in")


if __name__ == "__main__":
    main()
