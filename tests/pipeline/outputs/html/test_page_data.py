"""What Python puts into a page: the data of its script, its policy, and how much of it."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.extractors.mel import hertz_to_mel, mel_to_hertz
from avvp.pipeline.errors import SetupError
from avvp.pipeline.outputs.html.bands import media_bands
from avvp.pipeline.outputs.html.page import SaveTarget, render_page
from avvp.pipeline.outputs.html.page_data import page_data
from avvp.pipeline.outputs.html.summary import summarize
from avvp.pipeline.outputs.plots import film
from avvp.pipeline.outputs.plots.attention_maps import AttentionMaps
from avvp.pipeline.timeline import Event, SegmentProbabilities, Timeline
from PIL import Image
from support.media import ffmpeg, read_number


def dog(path: str = "clip.mp4", **options: Any) -> Timeline:
    """A timeline of one event."""
    return Timeline.of_events([Event("audio", "Dog", 1.0, 4.0, 0.8)], path=path, duration=10.0, **options)


def data_of(page: bytes) -> dict[str, Any]:
    """The data of a page's script."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.decode(), re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def policy_of(page: bytes) -> str:
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page.decode())
    assert found is not None
    return found[1]


def test_a_page_on_a_server_plays_and_saves_there() -> None:
    page = render_page(dog(), media_url="/media/7", save=SaveTarget("/timelines/7", "v1"))
    data = data_of(page)
    assert data["media"]["url"] == "/media/7"
    assert data["media"]["kind"] == "video"
    assert data["save"] == {"url": "/timelines/7", "version": "v1"}
    assert policy_of(page).endswith("; connect-src 'self'")


def test_a_page_that_saves_nowhere_may_connect_nowhere(tmp_path: Path) -> None:
    page = render_page(dog(), folder=tmp_path, media=tmp_path / "videos" / "a b.m4a")
    data = data_of(page)
    assert "save" not in data
    assert data["media"]["url"] == "videos/a%20b.m4a"
    assert data["media"]["kind"] == "audio"
    assert "connect-src" not in policy_of(page)
    assert policy_of(page).startswith("default-src 'none'")


def test_what_is_said_about_the_origin() -> None:
    provenance = {
        "program": "avvp", "version": "0.1.0", "bundle": "demo", "device": "cuda:0",
        "thresholds": {"audio": 0.5, "visual": 0.5},
    }  # fmt: skip
    data = page_data(replace(dog(), provenance=provenance))
    assert data["summary"] == "Parsed by avvp 0.1.0 with the bundle demo, threshold 0.50, on a GPU."


@pytest.mark.parametrize(
    ("provenance", "summary"),
    [
        ({}, ""),
        ({"thresholds": {"audio": 0.5}, "device": "cpu"}, ""),
        ({"program": "other"}, "Parsed by other."),
        ({"bundle": "mine", "thresholds": {"a": 0.125}}, "Parsed with the bundle mine, threshold 0.125."),
        ({"program": "p", "thresholds": {"a": 0.1, "b": 0.2}}, "Parsed by p, thresholds by class."),
        ({"program": "p", "thresholds": ["0.5"], "device": {}}, "Parsed by p."),
        ({"program": ["p"], "bundle": 3}, ""),
        ({"program": "a\nb\x1b[2J"}, "Parsed by a\\nb\\x1b[2J."),
        ({"program": "x" * 1000}, f"Parsed by {'x' * 60}...."),
    ],
)
def test_origins_of_strangers_are_said_on_one_short_line(provenance: dict[str, Any], summary: str) -> None:
    assert summarize(provenance) == summary


def test_drafts_are_found_by_everything_that_a_timeline_holds() -> None:
    timeline = dog()
    assert page_data(timeline)["hash"] == page_data(dog())["hash"]
    louder = replace(timeline.events[0], score=0.9)
    table = np.full((10, 1), 0.25, np.float32)
    with_tables = replace(timeline, probabilities=SegmentProbabilities(table, table, table, table))
    others = [
        replace(timeline, events=(louder,)),
        replace(timeline, provenance={"a": 1}),
        dog("other.mp4"),
        with_tables,
    ]
    hashes = {page_data(other)["hash"] for other in (timeline, *others)}
    assert len(hashes) == 5
    assert all(len(digest) == 64 for digest in hashes)


def test_classes_are_worded_and_those_of_the_model_counted() -> None:
    table = np.full((10, 1), 0.25, np.float32)
    timeline = Timeline.of_events([], path="a.mp4", duration=10.0, labels=("Vacuum_cleaner", "my own"))
    data = page_data(replace(timeline, probabilities=SegmentProbabilities(table, table, table, table)))
    assert data["classes"] == 1
    assert data["labels"] == ["Vacuum_cleaner", "my own"]
    assert data["words"] == {"Vacuum_cleaner": "Vacuum cleaner", "my own": "My own"}
    assert page_data(timeline)["classes"] == 2


def test_comments_follow_the_events_that_have_one() -> None:
    events = [Event("audio", "Dog", 0.0, 1.0, 0.5), Event("audio", "Dog", 2.0, 3.0, 0.5, "a\nb")]
    data = page_data(Timeline.of_events(events, path="a.mp4", duration=10.0))
    assert data["events"] == [[0, 0, 0.0, 1.0, 0.5], [0, 0, 2.0, 3.0, 0.5, "a\nb"]]


def made_up_attention(seconds: int = 3) -> AttentionMaps:
    """Two blocks of classes b, a; the largest weight is 0.8."""
    weights = np.zeros((2, 2, seconds), np.float32)
    weights[1, 0, 2], weights[0, 1, 0] = 0.8, 0.2
    return AttentionMaps(("b", "a"), weights, weights, weights, weights * np.float32(0.5))


def test_attention_is_scaled_and_in_the_order_of_the_classes() -> None:
    timeline = Timeline.of_events([], path="a.mp4", duration=3.0, labels=("a", "b", "added"))
    data = data_of(render_page(timeline, attention=made_up_attention()))["attention"]
    assert data["labels"] == ["a", "b"]
    assert data["max"] == pytest.approx(0.8)
    tables = [[list(base64.b64decode(block[name])) for name in ("audio", "visual")] for block in data["blocks"]]
    assert tables[0][0] == [64, 0, 0, 0, 0, 0]  # 0.2 / 0.8 of 255
    assert tables[1] == [[0, 0, 0, 0, 0, 255], [0, 0, 0, 0, 0, 128]]


@pytest.mark.parametrize(("labels", "seconds"), [(("a", "c"), 3), (("a", "b"), 4)])
def test_attention_on_another_video_is_refused(labels: tuple[str, ...], seconds: int) -> None:
    timeline = Timeline.of_events([], path="a.mp4", duration=3.0, labels=labels)
    with pytest.raises(SetupError, match="attention has"):
        render_page(timeline, attention=made_up_attention(seconds))


def noisy_minute(folder: Path) -> Path:
    """A minute whose pictures and sound are noise: nothing is larger."""
    path = folder / "noise.mp4"
    video = ("-f", "lavfi", "-i", "nullsrc=s=128x72:r=5:d=60,geq=random(1)*255:random(2)*255:random(3)*255")
    sound = ("-f", "lavfi", "-i", "anoisesrc=d=60:a=0.5:r=16000")
    ffmpeg(*video, *sound, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", path)
    return path


def test_film_and_sound_of_a_minute_add_60_kb_at_most(tmp_path: Path) -> None:
    timeline = Timeline.of_events([Event("audio", "Dog", 1.0, 4.0, 0.8)], path="noise.mp4", duration=60.0)
    media = noisy_minute(tmp_path)
    with_bands, without = (render_page(timeline, media=media, bands=bands) for bands in (True, False))
    assert 30_000 < len(with_bands) - len(without) <= 60_000
    data = data_of(with_bands)
    assert (data["film"]["count"], data["film"]["step"], data["film"]["columns"]) == (60, 1.0, 20)
    assert len(base64.b64decode(data["wave"]["peaks"])) == 2 * 2400
    assert (data["mel"]["width"], data["mel"]["height"], data["mel"]["step"]) == (1200, 64, 0.05)
    assert data["warnings"] == []


def image_of(url: str) -> np.ndarray:
    assert url.startswith("data:image/jpeg;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))))


def test_tiles_are_the_frames_of_their_seconds(clips: Any) -> None:
    """24 numbered frames a second: tile k shows the frame at k + 1/2 seconds, 24 k + 12, or one of two before it."""
    data = data_of(render_page(Timeline.of_events([], path="a.mp4", duration=3.5), media=clips.steady))
    film = data["film"]
    assert {key: film[key] for key in ("count", "columns", "step", "width", "height")} == {
        "count": 4, "columns": 4, "step": 1.0, "width": 48, "height": 36,
    }  # fmt: skip
    tiles = image_of(film["url"]).reshape(36, 4, 48, 3).swapaxes(0, 1)
    numbers = [read_number(tile) for tile in tiles]
    assert [12 - numbers[0], 36 - numbers[1], 60 - numbers[2]] == pytest.approx([1, 1, 1], abs=1)
    assert numbers[3] == numbers[2]  # after the end, the last one stays


def test_long_media_are_sampled_at_key_frames(tmp_path: Path) -> None:
    """Colours of 30 s each over two minutes; 85 tiles of 1.41 s."""
    sources = [f"color={name}:s=64x36:r=2:d=30" for name in ("red", "lime", "blue", "white")]
    inputs = [part for source in sources for part in ("-f", "lavfi", "-i", source)]
    ffmpeg(*inputs, "-filter_complex", "concat=n=4", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10",
           tmp_path / "long.mp4")  # fmt: skip
    film = media_bands(tmp_path / "long.mp4", 120.0)[0]["film"]
    assert film["count"] == 85
    assert film["step"] == pytest.approx(120 / 85)
    image = image_of(film["url"]).astype(int)
    for index, colour in ((0, (254, 0, 0)), (30, (0, 255, 0)), (55, (0, 0, 254)), (84, (255, 255, 255))):
        row, column = divmod(index, film["columns"])
        assert np.abs(image[row * 36 + 18, column * 64 + 32] - colour).max() < 12, index


def test_peaks_and_spectrogram_follow_the_sound(tmp_path: Path) -> None:
    """A second of silence, a second of a sine of 440 Hz at a quarter of full scale."""
    path = tmp_path / "late.wav"
    ffmpeg("-f", "lavfi", "-i", "aevalsrc=if(gte(t\\,1)\\,0.25*sin(2*PI*440*t)):s=44100:d=2", path)
    bands, warnings = media_bands(path, 2.0)
    assert warnings == []
    assert bands.keys() == {"wave", "mel"}
    peaks = np.frombuffer(base64.b64decode(bands["wave"]["peaks"]), np.int8).reshape(-1, 2)
    assert len(peaks) == 80
    assert np.abs(peaks[:39]).max() == 0
    assert np.abs(peaks[41:, 0] + 32).max() <= 1  # 0.25 * 127
    assert np.abs(peaks[41:, 1] - 32).max() <= 1
    grey = image_of(bands["mel"]["url"]).astype(int)
    assert grey.shape == (64, 40)
    assert grey[:, :18].max() < 40
    loudest = 63 - grey[:, 30].argmax()  # rows from low to high frequency
    centres = mel_to_hertz(np.linspace(hertz_to_mel(125), hertz_to_mel(7500), 66)[1:-1])
    assert abs(loudest - np.abs(centres - 440).argmin()) <= 1


def test_media_that_cannot_be_decoded_leave_out_the_bands(tmp_path: Path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(2000))
    assert media_bands(tmp_path / "broken.mp4", 10.0) == ({}, [])
    assert media_bands(tmp_path / "gone.mp4", 10.0) == ({}, [])


def test_a_decoder_that_hangs_is_a_warning_of_the_page(
    clips: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(film, "MAX_FILM_SECONDS", -1)
    page = render_page(dog(), folder=tmp_path, media=clips.steady)
    data = data_of(page)
    assert data["warnings"] == [f"the film is left out: {clips.steady}: its frames could not be decoded within -1 s"]
    assert "film" not in data
    assert "wave" in data
