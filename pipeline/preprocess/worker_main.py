"""The program that decodes for a batch run: one process, file after file, without torch.

It reads commands from standard input, one JSON object a line: ``{"file": path, "streams": [...]}`` to decode,
``{"free": slot}`` when a slot of the shared memory has been read. It answers in the same way: ``{"slot": k, "arrays":
[[stream, count], ...]}`` for inputs that lie one behind the other in slot k, and at the end of a file ``{"summary":
...}`` or ``{"failed": cause}``, in between ``{"alive": true}``. When its input ends, it ends, and its decoder
with it.
"""

from __future__ import annotations

import json
import mmap
import os
import queue
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..decode.options import DecodeOptions
from ..decode.process import kill_all
from ..errors import MediaError
from ..text import escape
from .input_kinds import KINDS


class _Slots:
    """The shared memory, cut into slots of equal size."""

    def __init__(self, descriptor: int, size: int, free: queue.Queue[int]) -> None:
        self._memory = mmap.mmap(descriptor, 0)
        self._size, self._free = size, free
        self._slot: int | None = None
        self._filled = 0
        self._arrays: list[tuple[str, int]] = []

    def put(self, stream: str, inputs: NDArray[Any]) -> None:
        for one in inputs:
            if self._filled + one.nbytes > self._size:
                self.flush()
            if self._slot is None:
                self._slot = self._free.get()
            start = self._slot * self._size + self._filled
            self._memory[start : start + one.nbytes] = one.tobytes()
            self._filled += one.nbytes
            if self._arrays and self._arrays[-1][0] == stream:
                self._arrays[-1] = (stream, self._arrays[-1][1] + 1)
            else:
                self._arrays.append((stream, 1))

    def flush(self) -> None:
        if self._slot is not None:
            _send({"slot": self._slot, "arrays": self._arrays})
        self._slot, self._filled, self._arrays = None, 0, []


def main(descriptor: str, size: str, count: str, settings: str) -> None:
    """Run until standard input ends. settings: JSON of inputs (a key of `KINDS`), profile and options."""
    given = json.loads(settings)
    kind, profile, options = KINDS[given["inputs"]], given["profile"], DecodeOptions(**given["options"])
    free: queue.Queue[int] = queue.Queue()
    for slot in range(int(count)):
        free.put(slot)
    files: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_receive_commands, args=(free, files), daemon=True).start()
    slots = _Slots(int(descriptor), int(size), free)
    while True:
        work = files.get()
        try:
            formats = [form for stream, form in kind.formats.items() if stream in work["streams"]]
            inputs = kind.open(Path(work["file"]), formats, profile=profile, options=options, progress=_Heartbeat())
            for stream, reduced in inputs:
                slots.put(stream, reduced)
            slots.flush()
            summary = inputs.summary
            answer = {"rows": summary.rows, "facts": asdict(summary.facts), "warnings": summary.warnings}
            _send({"summary": answer})
        except MediaError as error:
            slots.flush()
            _send({"failed": error.cause})
        except Exception as error:  # a defect of ours must not cost the person the other files
            slots.flush()
            cause = f"internal error, please report it: {type(error).__name__}: {escape(error)}"
            traceback.print_exc()  # on standard error, which is shown with --debug
            _send({"failed": cause})


class _Heartbeat:
    """Tells, at most once a second, that decoding goes on: the published pictures of an hour come all at its end."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, _what: str, _done: float, _total: float | None) -> None:
        if time.monotonic() - self._last > 1:
            self._last = time.monotonic()
            _send({"alive": True})


def _receive_commands(free: queue.Queue[int], files: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        command = json.loads(line)
        if "free" in command:
            free.put(command["free"])
        else:
            files.put(command)
    kill_all()  # whoever asked is gone
    os._exit(0)


def _send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message, default=_plain) + "\n")
    sys.stdout.flush()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"cannot be told: {type(value).__name__}")
