"""Main function of the decode worker: a process without torch that decodes one file after another.

It reads commands from standard input, one JSON object per line: ``{"file": path, "streams": [...], "start": 0.0, "end":
null}`` to decode a file or a part of it, ``{"free": slot}`` when the client has copied a slot of the shared memory. It
writes messages to standard output in the same format: ``{"slot": k, "arrays": [[stream, count], ...], "groups":
{stream: [[number, ...], ...]}}`` for inputs stored contiguously in slot k, and groups of inputs (each of the two may be
missing), at the end of a file ``{"summary": ...}`` or ``{"failed": cause, "timeout": false}``, and ``{"progress":
[stage, done, total]}`` in between. When standard input ends, the worker exits and kills its decoder.
"""

from __future__ import annotations

import json
import mmap
import os
import queue
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import get_profile
from ..decode.options import DecodeOptions
from ..decode.process import failure_message, kill_all
from .base import is_groups
from .input_kinds import KINDS

_PROGRESS_INTERVAL = 0.3  # seconds


class _Slots:
    """Shared memory, divided into slots of equal size."""

    def __init__(self, descriptor: int, size: int, free: queue.Queue[int]) -> None:
        self._memory = mmap.mmap(descriptor, 0)
        self._size, self._free = size, free
        self._slot: int | None = None
        self._filled = 0
        self._arrays: list[tuple[str, int]] = []
        self._groups: dict[str, list[list[int]]] = {}

    def put(self, stream: str, inputs: NDArray[Any]) -> None:
        """Copy inputs to the shared memory; send a slot when it is full, wait when no slot is free. Keep groups."""
        if is_groups(inputs):
            self._groups.setdefault(stream, []).extend(inputs.tolist())
            return
        for array in inputs:
            if self._filled + array.nbytes > self._size:
                self.flush()
            if self._slot is None:
                self._slot = self._free.get()
            start = self._slot * self._size + self._filled
            self._memory[start : start + array.nbytes] = array.tobytes()
            self._filled += array.nbytes
            if self._arrays and self._arrays[-1][0] == stream:
                self._arrays[-1] = (stream, self._arrays[-1][1] + 1)
            else:
                self._arrays.append((stream, 1))

    def flush(self) -> None:
        """Send the current slot and the groups, if there are any."""
        message: dict[str, Any] = {} if self._slot is None else {"slot": self._slot, "arrays": self._arrays}
        message |= {"groups": self._groups} if self._groups else {}
        if message:
            _send(message)
        self._slot, self._filled, self._arrays, self._groups = None, 0, [], {}


def main(descriptor: str, size: str, count: str, settings: str) -> None:
    """Decode files until standard input ends.

    Args:
        descriptor: number of an inherited descriptor of the shared memory.
        size: bytes of a slot.
        count: number of slots.
        settings: JSON object with `profile` and `options` (fields of `DecodeOptions`).
    """
    decoded = json.loads(settings)
    profile, options = decoded["profile"], DecodeOptions(**decoded["options"])
    kind = KINDS[get_profile(profile).inputs]
    free: queue.Queue[int] = queue.Queue()
    for slot in range(int(count)):
        free.put(slot)
    files: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_receive_commands, args=(free, files), daemon=True).start()
    slots = _Slots(int(descriptor), int(size), free)
    while True:
        command = files.get()
        try:
            path = Path(command["file"])
            formats = [kind.formats[stream] for stream in kind.formats if stream in command["streams"]]
            part = replace(options, start=command["start"], end=command["end"])
            reader = kind.reader(path, formats, profile=profile, options=part, progress=_Progress())
            for stream, inputs in reader:
                slots.put(stream, inputs)
            slots.flush()
            _send({"summary": asdict(reader.summary)})
        except Exception as error:  # a bug must not stop the other files
            slots.flush()
            _send(failure_message(error))


class _Progress:
    """Progress callback that reports a few times per second: profile llp builds all inputs after the last frame."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def __call__(self, stage: str, done: float, total: float | None) -> None:
        if time.monotonic() - self._last > _PROGRESS_INTERVAL:
            self._last = time.monotonic()
            _send({"progress": [stage, done, total]})


def _receive_commands(free: queue.Queue[int], files: queue.Queue[dict[str, Any]]) -> None:
    for line in sys.stdin:
        command = json.loads(line)
        if "free" in command:
            free.put(command["free"])
        else:
            files.put(command)
    kill_all()  # the client has exited
    os._exit(0)


def _send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message, default=_to_json) + "\n")
    sys.stdout.flush()


def _to_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")
