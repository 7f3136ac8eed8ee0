"""The tour of a Python developer: public names only, in a program of its own, checked by a type checker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.media import Clips

PROGRAM = """
import sys
import avvp

assert not {"torch", "numpy", "rich", "pandas", "matplotlib"} & set(sys.modules), "import avvp is slow"
assert avvp.__version__ and set(avvp.__all__) <= set(dir(avvp))
bundle, good, bad, out = sys.argv[1:]

with avvp.load(bundle, device="cpu", threads=1, precision="fp32", compile=False) as parser:
    timeline = parser.parse(good, thresholds=0.0, start=0, end=2)
    features = parser.extract(good)
    results = dict(parser.parse([good, bad]))
    second = parser.parse_features(features, thresholds=0.0)
assert [type(result).__name__ for result in results.values()] == ["Timeline", "MediaError"]
assert len(repr(timeline)) < 2_000 and len(repr(features)) < 2_000
assert "<svg" in timeline._repr_html_()

timeline.save(f"{out}/events.json")
again = avvp.Timeline.load(f"{out}/events.json")
assert again.to_dict() == timeline.to_dict() == avvp.Timeline.from_dict(timeline.to_dict()).to_dict()
timeline.save(f"{out}/tiers.TextGrid")
timeline.plot(f"{out}/timeline.png")
table = timeline.to_dataframe()

frames, audio = [], []
with avvp.open_media(good) as media:
    for piece in media:
        frames.append(piece.frames)
        audio.append(piece.audio)
import numpy as np
arrays = avvp.MediaArrays(np.concatenate(frames), 8, np.concatenate(audio), 16_000, name="camera 1")
of_arrays = avvp.extract(arrays, weights=bundle, device="cpu")
assert np.array_equal(of_arrays.visual_2d, features.visual_2d)
try:
    avvp.parse(bad, weights=bundle)
except avvp.AVVPError as error:
    message = str(error)
print(__import__("json").dumps({
    "events": len(table), "seconds": sorted({event.offset for event in timeline.events}),
    "whole": len(second.events), "message": message,
}))
"""

TYPED = """
from collections.abc import Iterator
from pathlib import Path

import avvp
from avvp import MediaError, Timeline
from typing_extensions import assert_type

with avvp.load("demo", precision="bf16", compile=True) as parser:
    assert_type(parser, avvp.Parser)
    assert_type(parser.parse("video.mp4", thresholds=0.6, progress=True), Timeline)
    for source, result in parser.parse([Path("a.mp4"), Path("b.mp4")]):
        assert_type(result, Timeline | MediaError)
    for source, timeline in avvp.parse(["a.mp4"], weights="demo", errors="raise", device="cuda:0"):
        assert_type(timeline, Timeline)
        events: tuple[avvp.Event, ...] = timeline.events
        rows: int = len(timeline.to_dataframe())
    assert_type(parser.extract("video.mp4"), avvp.FeatureSet)
    assert_type(parser.labels, tuple[str, ...])
assert_type(Timeline.load("events.json"), Timeline)
assert_type(avvp.__version__, str)
picture: bytes = Timeline.load("events.json").plot("timeline.png", media="video.mp4").png
"""

WRONG = """
import avvp

avvp.parse(3)
avvp.load("demo", presicion="bf16")
avvp.parse("video.mp4", weights="demo", presicion="bf16")
avvp.Timeline.load("events.json").evnets
"""


def test_a_program_uses_public_names_only(clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("not a video")
    arguments = [str(path) for path in (tiny_bundle, clips.steady, bad, tmp_path)]
    command = [sys.executable, "-W", "error", "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    assert (answer["events"], answer["seconds"], answer["whole"]) == (9, [2.0], 9)
    assert answer["message"].startswith(f"{bad}: ")
    assert {path.name for path in tmp_path.iterdir()} == {"bad.mp4", "events.json", "tiers.TextGrid", "timeline.png"}


def check_types(program: str, folder: Path) -> tuple[int, list[int]]:
    """Number of errors of a program, and their lines, by the type checker in its standard mode."""
    script = folder / "program.py"
    script.write_text(program)
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard", "pythonVersion": "3.10"}')
    checker = Path(sys.executable).with_name("basedpyright")
    command = [checker, "--outputjson", "--pythonpath", sys.executable, "--project", folder]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=False).stdout)
    assert found["summary"]["filesAnalyzed"] == 1
    return found["summary"]["errorCount"], [one["range"]["start"]["line"] + 1 for one in found["generalDiagnostics"]]


@pytest.mark.full_size
def test_programs_are_checked_by_types(tmp_path: Path) -> None:
    (tmp_path / "typed").mkdir()
    (tmp_path / "wrong").mkdir()
    assert check_types(TYPED, tmp_path / "typed") == (0, [])
    assert set(check_types(WRONG, tmp_path / "wrong")[1]) == {4, 5, 6, 7}
