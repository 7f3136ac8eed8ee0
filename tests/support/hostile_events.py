"""Files of events as strangers, broken programs and bad luck make them, and the commands that read them."""

from __future__ import annotations

import json
import resource
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.hostile_exchange import hostile_exchange
from support.hostile_parquet import hostile_parquet
from support.hostile_tables import hostile_tables
from support.hostile_tiers import hostile_tiers

MARKUP = "</script><script>alert(1)</script>\"'>&amp;<!--"
CONTROLS = 'a\x00\x01\x07\x08\x0b\x0c\x1b[31m\x7f\x85\u2028\u2029\ufeff\ufffe\t\n\r"z'
BIDI = "\u202etxt.exe\u2066\u200f\u200b\u0301"
DAY = 86_400.0

# Command -> its arguments; {file} is the file of events, {out} an empty folder, {data} annotations.
COMMANDS: dict[str, tuple[str, ...]] = {
    "convert to json": ("convert", "{file}", "-o", "{out}/x.json"),
    "convert to all": ("convert", "{file}", "-f", "all", "-o", "{out}/x"),
    "convert to a folder": ("convert", "{file}", "-f", "csv,eaf", "--output-dir", "{out}/many"),
    "convert to a data set": ("convert", "{file}", "--data-set", "{out}/data", "--split", "val", "--seconds", "10"),
    "report as a page": ("report", "{file}", "--html", "{out}/x.html", "--embed-video"),
    "report as a plot": ("report", "{file}", "--plot", "{out}/x.svg"),
    "evaluate": ("evaluate", "--timelines", "{folder}", "--annotations", "{data}", "--allow-missing"),
}


@dataclass(frozen=True)
class Ending:
    """How a command ended.

    Attributes:
        status: exit status.
        seconds: CPU time.
        error: what it printed on standard error.
    """

    status: int
    seconds: float
    error: str

    def problem(self, *, most_seconds: float) -> str:
        """Return what is wrong with it, an empty string for nothing."""
        if self.status not in {0, 1, 2}:
            return f"exit status {self.status}: {self.error[-300:]}"
        if "Traceback" in self.error or "internal error" in self.error or "Warning:" in self.error:
            return f"not a clear line: {self.error[-300:]}"
        errors = [line for line in self.error.splitlines() if line.startswith("Error: ")]
        if self.status and (len(errors) != 1 or len(errors[0]) > 6_000):
            return f"{len(errors)} lines of errors: {self.error[-300:]}"
        return f"{self.seconds:.1f} s" if self.seconds > most_seconds else ""


def arguments(command: str, file: Path, out: Path, data: Path) -> list[str]:
    """Return the arguments of one of `COMMANDS`. The file is the only one in its folder."""
    places = {"file": file, "folder": file.parent, "out": out, "data": data}
    return [part.format(**places) for part in COMMANDS[command]]


def write_annotations(folder: Path) -> Path:
    """Write annotations with one clip, called x, of ten seconds."""
    folder.mkdir()
    (folder / "AVVP_test_pd.csv").write_text("filename\tevent_labels\nx\tDog\n")
    for modality in ("audio", "visual"):
        (folder / f"AVVP_eval_{modality}.csv").write_text("filename\tonset\toffset\tevent_labels\nx\t0\t10\tDog\n")
    return folder


def hostile_events(size: int) -> dict[str, bytes]:
    """Make the files.

    Args:
        size: events, labels, levels or characters of those that have very many.

    Returns:
        Name with the suffix of its format -> content.
    """
    json_files = {f"{name}.events.json": content for name, content in _json_files(size).items()}
    return {
        **json_files, **hostile_tables(size), **hostile_tiers(size), **hostile_parquet(size),
        **hostile_exchange(size),
        "x.vtt": b"WEBVTT\n", "x.xyz": b"?",
    }  # fmt: skip


def limit_memory(size: int) -> None:
    """Limit the address space of this process to `size` bytes more than it has, so that what needs more fails."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + size
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def timed(run: Any, *command: str) -> Ending:
    """Run a command by a function that returns exit status and errors, and time it."""
    started = time.process_time()
    status, error = run(*command)
    return Ending(status, time.process_time() - started, error)


def event(label: Any = "Dog", onset: Any = 0, offset: Any = 1, modality: Any = "audio", **more: Any) -> dict[str, Any]:
    return {"modality": modality, "label": label, "onset": onset, "offset": offset, **more}


def document(events: Sequence[Any] = (event(),), **more: Any) -> bytes:
    return json.dumps({"events": list(events), **more}).encode()


def media(**facts: Any) -> bytes:
    return document(media=facts)


def _json_files(size: int) -> Mapping[str, bytes]:
    one = [[0.5]]
    tables = {"audio": one, "visual": one, "audio_video": one, "visual_video": one}
    names = [f"class {number}" for number in range(size)]
    deep = json.loads("[" * 60 + "]" * 60)
    return {
        "empty": b"",
        "null": b"null",
        "binary": bytes(range(256)) * 16,
        "utf-16": document().decode().encode("utf-16"),
        "no_events": b'{"media": {}}',
        "events_are_text": b'{"events": "abc"}',
        "cut": document([event()] * 10)[:-20],
        "deep_lists": b'{"events": ' + b"[" * size * 10,
        "deep_objects": b'{"events": [], "provenance": ' + b'{"a": ' * size * 10,
        "deep_provenance": b'{"events": [], "provenance": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}",
        "deep_in_limits": document(provenance={"a": deep}, media={"path": "x", "other": deep}),
        "key_twice": b'{"events": [], "media": {"path": "a.mp4", "path": "/etc/passwd"}}',
        "label_surrogate": document([event("\udc80\ud800")]),
        "label_long": document([event("x" * size * 50)]),
        "label_of_a_list": document([event([[]])]),
        "label_markup": document([event(MARKUP)], labels=[MARKUP], media={"path": f"{MARKUP}.mp4"}, warnings=[MARKUP]),
        "label_controls": document([event(CONTROLS)], warnings=[CONTROLS], provenance={CONTROLS: CONTROLS}),
        "label_bidi": document([event(BIDI, modality="visual")], media={"path": f"{BIDI}.mp4"}),
        "label_empty": document([event(""), event(" ")]),
        "label_math": document([event("$\\frac{1}{0}$ %s {0} @DATA@")]),
        "labels_many": document(labels=["Dog", *names * 5]),
        "labels_long": document(labels=["Dog", *("x" * 900 + name for name in names[:2_000])]),
        "labels_twice": document(labels=["Dog", "Dog"]),
        "labels_numbers": document(labels=[1, 2]),
        "modality_list": document([event(modality=["audio"])]),
        "modality_long": document([event(modality="x" * size * 10)]),
        "times_huge": document([event(onset=0, offset=10**399)]),
        "times_digits": document([event(offset="?")]).replace(b'"?"', b"9" * size),
        "times_exponent": b'{"events": [{"modality": "audio", "label": "a", "onset": 0, "offset": 1e999}]}',
        "times_nan": b'{"events": [{"modality": "audio", "label": "a", "onset": NaN, "offset": 1}]}',
        "times_tiny": document([event(onset=5e-324, offset=1e-323)]),
        "times_text": document([event(onset="0", offset="1_0")]),
        "times_true": document([event(onset=False, offset=True)]),
        "path_surrogate": media(path="a\ud800b.mp4"),
        "path_long": media(path="x" * 5_000),
        "path_name_long": media(path="x" * 250 + ".mp4"),
        "path_up": media(path="../../secret.mp4"),
        "path_absolute": media(path="/etc/passwd"),
        "path_dots": media(path=".."),
        "path_null": media(path="a\0b.mp4"),
        "path_list": media(path=["a", "b"]),
        "path_script": media(path="javascript:alert(1)//.mp4"),
        "path_network": media(path="//host/share/x.mp4"),
        "path_newline": media(path="a\nb\x1b[2J.mp4"),
        "media_is_a_list": document(media=[1]),
        "duration_huge": media(duration=1e308),
        "duration_negative": media(duration=-1),
        "duration_text": media(duration="10"),
        "duration_integer": media(duration=10**399),
        "segments_many": document(labels=["Dog"], media={"path": "a.mp4", "duration": 1.0, "segments": 20_000_000}),
        "segments_of_a_day": media(duration=1.0, segments=86_400),
        "day_of_many_labels": document([event(offset=DAY)], labels=["Dog", *names[: min(size, 9_999)]]),
        "days_of_labels": document([event(name, 0, DAY) for name in names[:10_000]]),
        "day_of_seconds": document([event("Dog", t, t + 0.5) for t in range(min(size, 86_400))]),
        "nested": document([event(name, t, 2 * size - t, "visual") for t, name in enumerate(names[:10_000])]),
        "same_time": document([event("Dog", 0, 1)] * size),
        "both_over_many": document(
            [event("Dog", t, t + 0.5) for t in range(min(size, 80_000) // 2)]
            + [event("Dog", 0, DAY - t / size, "audio_visual") for t in range(size // 2)]
        ),
        "events_too_many": b'{"events": [' + b",".join([b"{}"] * size * 20) + b"]}",
        "values_too_many": b'{"events": [], "x": [' + b",".join([b"1"] * size * 50) + b"]}",
        "segments_ragged": document(labels=["Dog"], segments={**tables, "audio": [[0.5], [0.5, 1]]}),
        "segments_huge": document(labels=["Dog"], segments={**tables, "audio": [[1e300]]}),
        "segments_integer": document(labels=["Dog"], segments={**tables, "audio": [[10**399]]}),
        "segments_text": document(labels=["Dog"], segments={**tables, "audio": [["x"]]}),
        "segments_unknown": document(labels=["Dog"], segments={**tables, "x" * size: one}),
        "segments_is_a_list": document(segments=[1]),
        "segments_long": document(labels=["Dog"], segments=dict.fromkeys(tables, one * 86_401)),
        "warnings_many": document(warnings=["w"] * size),
        "warnings_nested": document(warnings=[{"a": [1]}]),
        "warnings_long": document(warnings=["w" * size * 10]),
        "steps_many": document(processing=[{"step": "refine"}] * size),
        "steps_wrong": document(processing=[{"step": "refine", "merge_gap": 10**399, "classes": [1]}]),
        "steps_text": document(processing=["x"]),
        "thresholds_huge": document(provenance={"thresholds": {"audio_segment": 10**399}}),
        "thresholds_nested": document(provenance={"thresholds": {"audio_segment": {"Dog": [1]}}}),
        "provenance_markup": document(provenance={MARKUP: MARKUP}, media={"path": "x", MARKUP: [MARKUP]}),
    }  # fmt: skip
