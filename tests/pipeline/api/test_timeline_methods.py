"""What timelines do in programs and notebooks: files, mappings, tables, plots, HTML."""

from __future__ import annotations

import inspect
import json
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import avvp
import numpy as np
import pandas as pd
import pytest
from avvp.pipeline.outputs.formats.registry import FORMATS
from avvp.pipeline.presented import PRESENTERS, Picture, TimelineMethods, find_presenter
from matplotlib.figure import Figure

EVENTS = (
    avvp.Event("audio", "Dog", 0.0, 3.0, 0.9),
    avvp.Event("audio_visual", "Violin_fiddle", 1.0, 2.0, 0.75),
    avvp.Event("visual", "Dog", 4.0, 10.0, 0.5, comment="far away"),
)


@pytest.fixture
def timeline() -> avvp.Timeline:
    rng = np.random.default_rng(0)
    tables = avvp.SegmentProbabilities(*rng.random((4, 10, 2)).round(6).astype(np.float32))
    bare = avvp.Timeline.of_events(EVENTS, path="clips/one.mp4", duration=10.0)
    return replace(bare, probabilities=tables, provenance={"program": "avvp"}, warnings=("no more",))


@pytest.mark.parametrize("name", PRESENTERS)
def test_every_presenter_exists_and_takes_the_arguments_of_its_method(name: str) -> None:
    function = find_presenter(name)
    method = getattr(TimelineMethods, "_repr_html_" if name == "html" else name)
    own = [parameter for parameter in inspect.signature(function).parameters if parameter != "timeline"]
    assert own == [parameter for parameter in inspect.signature(method).parameters if parameter != "self"]


def test_json_keeps_everything(timeline: avvp.Timeline, tmp_path: Path) -> None:
    path = tmp_path / "one.events.json"
    assert timeline.save(path) == (path,)
    again = avvp.Timeline.load(path)
    assert again.events == timeline.events
    assert again.to_dict() == timeline.to_dict()
    assert again.probabilities is not None
    assert timeline.probabilities is not None
    np.testing.assert_allclose(again.probabilities.audio, timeline.probabilities.audio, atol=1e-6)
    timeline.save(path, probabilities=False)
    assert avvp.Timeline.load(path).probabilities is None
    assert avvp.Timeline.load(path).segments == 10


@pytest.mark.parametrize("name", [name for name, form in FORMATS.items() if form.is_readable])
def test_every_readable_format_is_saved_and_loaded(name: str, timeline: avvp.Timeline, tmp_path: Path) -> None:
    suffix = FORMATS[name].suffixes[0]
    files = timeline.save(tmp_path / f"one.{suffix}", format=name)
    assert len(files) == len(FORMATS[name].suffixes)
    assert all(file.is_file() for file in files)
    labels = {event.label.replace(" ", "_") for event in avvp.Timeline.load(files[0]).events}
    assert labels == {"Dog", "Violin_fiddle"}


def test_the_suffix_decides_and_unknown_ones_are_an_error(timeline: avvp.Timeline, tmp_path: Path) -> None:
    assert timeline.save(f"{tmp_path}/one.csv") == (tmp_path / "one.csv",)
    assert (tmp_path / "one.csv").read_text().startswith("file,modality,")
    written = timeline.save(tmp_path / "two.vtt")
    assert [path.name for path in written] == ["two.audio.vtt", "two.visual.vtt"]
    with pytest.raises(avvp.SetupError, match=r"no format has the suffix \.xlsx; known: .*json"):
        timeline.save(tmp_path / "one.xlsx")
    with pytest.raises(avvp.SetupError, match="unknown format 'xlsx'"):
        timeline.save(tmp_path / "one.xlsx", format="xlsx")
    assert timeline.save(tmp_path / "new" / "folder" / "one.json")[0].is_file()
    with pytest.raises(avvp.OutputError):
        timeline.save(tmp_path / "one.csv" / "one.json")


def test_files_of_several_timelines_are_read_by_load_all(tmp_path: Path) -> None:
    table = tmp_path / "all.csv"
    table.write_text("file,modality,label,onset,offset\na,audio,Dog,0,1\nb,audio,Dog,0,1\n")
    assert [timeline.name for timeline in avvp.Timeline.load_all(table)] == ["a", "b"]
    with pytest.raises(avvp.FormatError, match=r"holds 2 timelines; Timeline\.load_all reads them"):
        avvp.Timeline.load(table)
    with pytest.raises(avvp.FormatError):
        avvp.Timeline.load(tmp_path / "missing.json")


def test_mappings_are_json_and_lead_back(timeline: avvp.Timeline) -> None:
    document = json.loads(json.dumps(timeline.to_dict()))
    assert avvp.Timeline.from_dict(document).to_dict() == timeline.to_dict()
    assert "segments" not in timeline.to_dict(probabilities=False)
    assert avvp.Timeline.from_dict({"events": []}).events == ()
    with pytest.raises(ValueError, match='a list "events"'):
        avvp.Timeline.from_dict({})


def test_a_dataframe_has_a_row_for_each_event(timeline: avvp.Timeline) -> None:
    table = timeline.to_dataframe()
    assert list(table.columns) == ["modality", "label", "onset", "offset", "duration", "score", "comment"]
    assert table["duration"].tolist() == [3.0, 1.0, 6.0]
    assert table.iloc[2].to_dict() == {
        "modality": "visual", "label": "Dog", "onset": 4.0, "offset": 10.0, "duration": 6.0, "score": 0.5,
        "comment": "far away",
    }  # fmt: skip
    empty = avvp.Timeline.of_events([], path="quiet.mp4").to_dataframe()
    assert (len(empty), list(empty.dtypes[2:6])) == (0, ["float64"] * 4)
    assert pd.concat([table, empty])["score"].mean() == pytest.approx((0.9 + 0.75 + 0.5) / 3)


def test_without_pandas_the_error_names_the_extra(timeline: avvp.Timeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(avvp.SetupError, match=r"needs pandas; install it with: pip install 'avvp\[pandas\]'"):
        timeline.to_dataframe()


def test_a_plot_is_a_picture_and_a_file(timeline: avvp.Timeline, tmp_path: Path) -> None:
    picture = timeline.plot(tmp_path / "plots" / "timeline.svg")
    assert isinstance(picture, Picture)
    assert picture.png.startswith(b"\x89PNG")
    assert picture._repr_png_() is picture.png
    with pytest.raises(avvp.MediaError, match="no such file"):
        timeline.plot(media=tmp_path / "missing.mp4")
    assert len(repr(picture)) < 80
    assert "Violin fiddle" in (tmp_path / "plots" / "timeline.svg").read_text()
    with pytest.raises(ValueError, match="unknown plot format"):
        timeline.plot(tmp_path / "timeline.gif")


def test_a_plot_on_axes_has_a_row_for_each_modality_and_class(timeline: avvp.Timeline) -> None:
    axes = Figure().subplots()
    assert timeline.plot(ax=axes) is axes
    rows = [label.get_text() for label in axes.get_yticklabels()]
    assert rows == ["Dog (audio)", "Violin fiddle (audio)", "Dog (visual)", "Violin fiddle (visual)"]
    assert axes.get_xlim() == (0, 10)
    assert len(axes.collections) == 4
    with pytest.raises(ValueError, match="neither path nor media"):
        timeline.plot("timeline.png", ax=axes)  # pyright: ignore[reportCallIssue, reportArgumentType]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes |= {name for name, _ in attrs}


def test_notebooks_show_a_drawing(timeline: avvp.Timeline) -> None:
    page = timeline._repr_html_()
    root = ET.fromstring(page)  # noqa: S314 - our own text
    assert root.findtext("div/b") == "one"
    bars = [bar.findtext("title") for bar in root.iter("rect") if bar.find("title") is not None]
    assert bars == [
        "Dog, 0 to 3 s, 0.90",
        "Violin fiddle, 1 to 2 s, 0.75",
        "Dog, 4 to 10 s, 0.50",
        "Violin fiddle, 1 to 2 s, 0.75",
    ]
    assert "no more" in page
    assert "no events" in avvp.Timeline.of_events([], path="quiet.mp4")._repr_html_()


def test_hostile_names_are_text_and_the_drawing_is_bounded() -> None:
    attack = '"><script>alert(1)</script><img src=x onerror=alert(1)>\x1b[2J'
    events = [avvp.Event("audio", f"{attack}{n % 300}", float(n), n + 0.5, 0.5) for n in range(20_000)]
    timeline = avvp.Timeline.of_events(events, path=f"{attack}.mp4")
    page = replace(timeline, warnings=(attack * 1_000,) * 100)._repr_html_()
    tags = _Tags()
    tags.feed(page)
    assert tags.seen == {"div", "b", "svg", "rect", "text", "title"}
    assert not {name for name in tags.attributes if name.startswith("on") or name in {"src", "href"}}
    assert len(page) < 1_000_000
    assert "\x1b" not in page
    assert "http" not in page
    assert "not drawn: 260 more rows, 18,000 more events" in page
