"""Files of events by strangers: every command ends soon, in little memory, with one line; readers take linear time."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.pipeline.errors import FormatError
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from support import hostile_run
from support.hostile_events import COMMANDS, Ending, hostile_events

SECONDS = 5.0  # CPU time of a command
FILES = 170  # at least


def test_every_command_ends_with_one_line(tmp_path: Path) -> None:
    """In a process of its own, whose memory is limited. `benchmarks/hostile.py` runs all commands on larger files."""
    program = [sys.executable, hostile_run.__file__, str(tmp_path), "300", "10"]
    process = subprocess.run(program, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    endings = [json.loads(line) for line in process.stdout.splitlines()]
    problems = [
        (name, command, problem)
        for name, command, *values in endings
        if (problem := Ending(*values).problem(most_seconds=SECONDS))
    ]
    assert not problems
    assert len({name for name, *_ in endings}) == len(hostile_events(1)) >= FILES
    counts = Counter(command for _, command, *_ in endings)
    assert set(counts) == set(COMMANDS)
    assert {0, 2} <= {status for _, _, status, *_ in endings} <= {0, 1, 2}


def _grid(text: str) -> str:
    return f'File type = "ooTextFile"\nObject class = "TextGrid"\n{text}'


def _csv(text: str) -> str:
    return f"modality,label,onset,offset\n{text}"


def _eaf(text: str) -> str:
    return f"<ANNOTATION_DOCUMENT>{text}</ANNOTATION_DOCUMENT>"


def _clip(address: str) -> str:
    return f'{{"OTIO_SCHEMA": "Clip.1", "media_reference": {{"target_url": "{address}"}}}}'


def _chapter(title: str) -> str:
    return f";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=1\ntitle={title}"


# Suffix and a text of about n characters.
TEXTS: dict[str, tuple[str, Callable[[int], str]]] = {
    "digits": ("TextGrid", lambda n: _grid("1" * n)),
    "digits and a quote": ("TextGrid", lambda n: _grid("1" * n + '"')),
    "digits and quotes": ("TextGrid", lambda n: _grid('1"' * (n // 2))),
    "signs": ("TextGrid", lambda n: _grid("-" * n)),
    "quotes": ("TextGrid", lambda n: _grid('"' * (n | 1))),
    "doubled quotes": ("TextGrid", lambda n: _grid('"a' + '""' * (n // 2))),
    "open strings": ("TextGrid", lambda n: _grid('"a""b' * (n // 5))),
    "open flags": ("TextGrid", lambda n: _grid("<a" * (n // 2))),
    "blanks": ("TextGrid", lambda n: _grid(" \n" * (n // 2))),
    "cells": ("csv", lambda n: _csv(f"audio{',' * n}\n")),
    "quoted cells": ("csv", lambda n: _csv('audio,"' + '""' * (n // 2) + '",0,1\n')),
    "open quote": ("csv", lambda n: _csv('audio,"' + "\n," * (n // 2))),
    "header": ("csv", lambda n: '"' * n + "\n1\n"),
    "separator": ("csv", lambda n: " " * (n // 2) + "sep=;" + " ;" * (n // 4) + "x\n"),
    "number": ("csv", lambda n: _csv(f"audio,Dog,0,{'1' * n}x\n")),
    "beyond ASCII": ("csv", lambda n: "\udce9\udcff" * (n // 2) + "\n"),
    "runs beyond ASCII": ("csv", lambda n: "a\udce9\n" * (n // 3)),
    "odd zeros": ("csv", lambda n: "a\0" * (n // 2)),
    "rows": ("eval_audio.csv", lambda n: "filename\tonset\toffset\tevent_labels\n" + "x\t0\t1\tDog\n" * (n // 10)),
    "tabs": ("audio.txt", lambda n: "\t" * n),
    "lines": ("audio.txt", lambda n: "\\\n" * (n // 2)),
    "deep": ("json", lambda n: '{"events":' + "[" * n),
    "escapes": ("json", lambda n: '{"events": [], "x": "' + "\\u0041" * (n // 6) + '"}'),
    "integer": ("json", lambda n: '{"events": ' + "1" * n),
    "blanks in JSON": ("json", lambda n: '{"events": [' + " " * n),
    "elements": ("eaf", lambda n: _eaf("<a/>" * (n // 4))),
    "open elements": ("eaf", lambda n: "<a>" * (n // 3)),
    "attributes": ("eaf", lambda n: "<a" + "".join(f" a{i}=''" for i in range(n // 8)) + "/>"),
    "long attribute": ("eaf", lambda n: f"<a b='{'x' * n}'/>"),
    "long name": ("eaf", lambda n: f"<{'a' * n}/>"),
    "references": ("eaf", lambda n: _eaf("&amp;" * (n // 5))),
    "declaration": ("eaf", lambda n: f"<?xml version='1.0' encoding{' ' * n}"),
    "regions": ("label-studio.json", lambda n: '[{"data": {}, "annotations": [' + "{}," * (n // 3)),
    "address": ("label-studio.json", lambda n: f'[{{"data": {{"video": "{"/local-files/" * (n // 13)}"}}}}]'),
    "children": ("otio", lambda n: '{"OTIO_SCHEMA": "Timeline.1", "children": [' + "{}," * (n // 3) + "{}]}"),
    "media": ("otio", lambda n: f'{{"OTIO_SCHEMA": "Timeline.1", "children": [{_clip("%41" * (n // 3))}]}}'),
    "segments": ("audio.activitynet.json", lambda n: '{"results": {"x": [' + "1," * (n // 2) + "1]}}"),
    "fields": ("audio.rttm", lambda n: "SPEAKER" + " x" * (n // 2)),
    "other lines": ("audio.rttm", lambda n: "x\n" * (n // 2)),
    "selections": ("selections.txt", lambda n: "Begin Time (s)\tEnd Time (s)\tClass\n" + "1\t1\tx\n" * (n // 6)),
    "table number": ("selections.txt", lambda n: "Begin Time (s)\tEnd Time (s)\t" + ".Table.1" * (n // 8)),
    "silent clips": ("audio.dcase.tsv", lambda n: "filename\tonset\toffset\tevent_label\n" + "x\t\t\t\n" * (n // 5)),
    "backslashes": ("ffmetadata.txt", lambda n: _chapter("\\" * n)),
    "escaped newlines": ("ffmetadata.txt", lambda n: _chapter("\\\n" * (n // 2))),
    "equal signs": ("ffmetadata.txt", lambda n: _chapter("=" * n)),
    "no value": ("ffmetadata.txt", lambda n: ";FFMETADATA1\n" + "a" * n),
    "events of a title": ("ffmetadata.txt", lambda n: _chapter("a (both), " * (n // 10))),
    "almost events": ("ffmetadata.txt", lambda n: _chapter(" (both) " * (n // 8))),
    "comment": ("eaf", lambda n: f"<!--{'-a' * (n // 2)}"),
}
SMALL = 250_000  # characters
ATTEMPTS = 4
MOST = 3.2  # times longer for twice as many characters: 2 if linear, 4 if quadratic


@pytest.mark.parametrize("name", TEXTS)
def test_reading_takes_linear_time(name: str, tmp_path: Path) -> None:
    suffix, make = TEXTS[name]
    path = tmp_path / f"x.{suffix}"

    def seconds(size: int) -> float:
        path.write_bytes(make(size).encode("utf-8", "surrogateescape"))
        gc.disable()  # it looks at everything that other tests have left in memory
        started = time.process_time()
        try:
            read_events(path)
        except FormatError as error:
            assert len(str(error)) < 1_000
        finally:
            gc.enable()
        return time.process_time() - started

    seconds(1_000)  # imports
    small, large = seconds(SMALL), seconds(2 * SMALL)
    for _ in range(ATTEMPTS):  # other processes take time, too
        if large < 0.1 or large < MOST * small:
            return
        small, large = min(small, seconds(SMALL)), min(large, seconds(2 * SMALL))
    assert large < MOST * small


def test_every_readable_format_is_among_the_hostile_files() -> None:
    names = hostile_events(1)
    for form in FORMATS.values():
        assert not form.is_readable or any(name.endswith(form.suffixes[0]) for name in names), form.name
