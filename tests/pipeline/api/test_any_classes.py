"""`avvp.load(classes=...)`: any classes in Python."""

from __future__ import annotations

from pathlib import Path

import avvp
import pytest
from support.stand_in_teachers import TRUST, make_film, write_stand_ins


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", [("red", "low tone", 3), ("blue", "high tone", 3)])


def test_classes_without_a_bundle_mean_the_open_one(tmp_path: Path) -> None:
    for call in (avvp.load, lambda **options: avvp.parse(Path(__file__), **options)):
        with pytest.raises(avvp.WeightsError, match="clap"):
            call(classes=["red"], offline=True, weights_dir=tmp_path)


def test_an_open_bundle_without_classes_says_what_is_missing(bundle: Path) -> None:
    with pytest.raises(
        avvp.SetupError, match=r'finds the classes that you name: classes=\["dog barking", "applause"\]'
    ):
        avvp.load(bundle, trust_parts=[TRUST[1]])


def test_a_trained_bundle_with_classes_says_what_to_do() -> None:
    with pytest.raises(avvp.SetupError, match="are those that it was trained on"):
        avvp.load("demo", classes=["red"])
    with pytest.raises(ValueError, match="rule and background go with classes"):
        avvp.load("demo", rule="fixed")


def test_many_files_in_one_call(bundle: Path, film: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing")
    options = {"weights": bundle, "trust_parts": [TRUST[1]], "classes": "blue, low tone", "rule": "fixed"}
    results = dict(avvp.parse([film, broken], **options))
    assert isinstance(results[broken], avvp.MediaError)
    timeline = results[film]
    assert isinstance(timeline, avvp.Timeline)
    found = {(event.modality, event.label, event.onset, event.offset) for event in timeline.events}
    assert found == {("visual", "blue", 3, 6), ("audio", "low tone", 0, 3)}
    part = avvp.parse(film, start=4, **options)
    assert [(event.label, event.onset, event.offset) for event in part.events] == [("blue", 4, 6)]


def test_features_of_an_open_bundle_need_no_classes(bundle: Path, film: Path) -> None:
    features = avvp.extract(film, weights=bundle, trust_parts=[TRUST[1]])
    assert features.audio.shape == features.visual_2d.shape == (6, 32)


def test_the_parser_says_what_it_looks_for(bundle: Path, film: Path) -> None:
    with avvp.load(bundle, trust_parts=[TRUST[1]], classes=["red", "blue"]) as parser:
        assert parser.labels == ("red", "blue")
        assert parser.window == 60
        assert "2 classes" in repr(parser)
        assert parser.thresholds.audio_segment.tolist() == [0.9, 0.9]
        with pytest.raises(avvp.SetupError, match="it has no parser for this"):
            parser.attention(parser.extract(film))


def test_the_same_networks_look_for_other_classes(bundle: Path, film: Path) -> None:
    with avvp.load(bundle, trust_parts=[TRUST[1]], classes=["red"], rule="fixed") as parser:
        features = parser.extract(film)
        other = parser.with_classes(["blue", "high tone"], rule="fixed")
        assert other.labels == ("blue", "high tone")
        assert {event.label for event in parser.parse_features(features).events} == {"red"}
        assert {event.label for event in other.parse_features(features).events} == {"blue", "high tone"}
        assert {event.label for event in other.parse(film).events} == {"blue", "high tone"}
        with pytest.raises(avvp.SetupError, match="is named twice"):
            parser.with_classes(["a", "A"])
    with pytest.raises(avvp.ParserClosedError):
        other.parse_features(features)
    with avvp.load("demo") as trained, pytest.raises(avvp.SetupError, match="those that it was trained on"):
        trained.with_classes(["red"])


def test_a_file_with_thresholds_per_video_is_refused(bundle: Path, film: Path, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("[audio.video]\nred = 0.5\n")
    with (
        avvp.load(bundle, trust_parts=[TRUST[1]], classes=["red"]) as parser,
        pytest.raises(avvp.SetupError, match=r"t\.toml: audio\.video is not for classes by their names"),
    ):
        parser.parse(film, thresholds=tmp_path / "t.toml")
