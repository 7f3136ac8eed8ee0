"""Thresholds and rules of a bundle are obeyed: parsing, batch runs, exports, cards; options come before them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import avvp
import numpy as np
import pytest
from avvp.models.files.checkpoint import dump_checkpoint, load_checkpoint
from avvp.models.localizers.localizer import EventLocalizer
from avvp.models.parser import AVParser, restore_parser
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.thresholds import DecisionRule, Thresholds
from avvp.pipeline.sharing.push import plan_upload
from avvp.pipeline.timeline import SegmentProbabilities, all_events
from avvp.weights.remote.hub import parse_address
from support.bundles import LABELS, copy_bundle
from support.command import Result
from support.media import Clips

Run = Callable[..., Result]
CMPAE: dict[str, Any] = {"video_filter": "own", "segment_threshold": 0.25, "video_threshold": 0.45}


def change_parser(folder: Path, **settings: object) -> Path:
    """Write the parser of a bundle again, with other settings of its decision."""
    path = folder / "parser.safetensors"
    checkpoint = load_checkpoint(path)
    assert isinstance(checkpoint.parser, AVParser)
    assert not isinstance(checkpoint.parser, EventLocalizer)
    parser = restore_parser(replace(checkpoint.parser.config, **settings), checkpoint.parser.state_dict())
    path.write_bytes(dump_checkpoint(parser, dict(checkpoint.feature_spec), {}))
    return folder


def with_file(folder: Path, content: str) -> Path:
    (folder / "thresholds.toml").write_text(content)
    description = (folder / "bundle.toml").read_text()
    (folder / "bundle.toml").write_text(
        description.replace('"parser.safetensors" }', '"parser.safetensors", thresholds = "thresholds.toml" }')
    )
    return folder


@pytest.fixture
def bundle(tmp_path: Path, tiny_bundle: Path) -> Path:
    return change_parser(copy_bundle(tiny_bundle, tmp_path / "cmpae"), **CMPAE)


def parsed(result: Result) -> dict[str, Any]:
    assert result.status == 0, result.err
    return json.loads(result.out)


def expected_events(document: dict[str, Any], thresholds: Thresholds) -> list[tuple[str, str, float, float]]:
    tables = SegmentProbabilities(
        **{name: np.array(rows, np.float32) for name, rows in document["segments"].items() if name != "labels"}
    )
    events = all_events(thresholds.decide(tables), tables, LABELS)
    return [(event.modality, event.label, event.onset, event.offset) for event in events]


def events_of(document: dict[str, Any]) -> list[tuple[str, str, float, float]]:
    return [(event["modality"], event["label"], event["onset"], event["offset"]) for event in document["events"]]


def test_the_configuration_decides_where_no_option_is_given(run: Run, bundle: Path, clips: Clips) -> None:
    document = parsed(run("parse", clips.blink, "--weights", bundle, "--segments", "-o", "-"))
    thresholds = replace(Thresholds.uniform(LABELS, 0.25, 0.45), rule=DecisionRule("own"))
    assert document["provenance"]["thresholds"] == thresholds.to_dict()
    assert document["provenance"]["rule"] == {"video_filter": "own", "strict": False}
    assert events_of(document) == expected_events(document, thresholds)
    asked = parsed(run("parse", clips.blink, "--weights", bundle, "--video-threshold", "0.6", "-o", "-"))
    assert asked["provenance"]["thresholds"] == Thresholds.uniform(LABELS, 0.25, 0.6).to_dict()
    asked = parsed(run("parse", clips.blink, "--weights", bundle, "--threshold", "0.6", "-o", "-"))
    assert asked["provenance"]["thresholds"] == Thresholds.uniform(LABELS, 0.6, 0.6).to_dict()


def test_a_file_of_the_bundle_comes_before_the_configuration(
    run: Run, bundle: Path, clips: Clips, tmp_path: Path
) -> None:
    with_file(bundle, "[visual.video]\nDog = 0.7\n")
    thresholds = parsed(run("parse", clips.blink, "--weights", bundle, "-o", "-"))["provenance"]["thresholds"]
    assert thresholds["visual_video"] == {"Dog": 0.7, "Speech": 0.45, "Violin_fiddle": 0.45}
    assert thresholds["visual_segment"] == 0.25
    (tmp_path / "mine.toml").write_text("[visual.video]\nSpeech = 0.1\n")
    thresholds = parsed(
        run("parse", clips.blink, "--weights", bundle, "--thresholds", tmp_path / "mine.toml", "-o", "-")
    )["provenance"]["thresholds"]
    assert thresholds["visual_video"] == {"Dog": 0.7, "Speech": 0.1, "Violin_fiddle": 0.45}
    with avvp.load(bundle) as parser:
        assert parser.thresholds.visual_video.tolist() == [0.7, 0.45, 0.45]
        timeline = parser.parse(clips.blink)
        assert timeline.provenance["thresholds"]["visual_video"]["Dog"] == 0.7
        timeline = parser.parse(clips.blink, thresholds=0.3)
        assert timeline.provenance["thresholds"] == Thresholds.uniform(LABELS, 0.3, 0.3).to_dict()
        assert timeline.provenance["rule"]["video_filter"] == "own"


def test_a_batch_run_is_repeated_when_the_rule_changes(run: Run, bundle: Path, clips: Clips, tmp_path: Path) -> None:
    out = tmp_path / "out"
    batch = ("parse", clips.blink, "--weights", bundle, "--output-dir", out)
    assert run(*batch).status == 0
    first = json.loads((out / f"{clips.blink.stem}.events.json").read_text())
    assert first["provenance"]["thresholds"]["audio_segment"] == 0.25
    with_file(bundle, "[audio.segment]\ndefault = 0.9\n")
    assert run(*batch).status == 0
    second = json.loads((out / f"{clips.blink.stem}.events.json").read_text())
    assert second["provenance"]["thresholds"]["audio_segment"] == 0.9


def test_exports_state_the_rule(run: Run, bundle: Path, tmp_path: Path) -> None:
    with_file(bundle, "[visual.video]\nDog = 0.7\n")
    assert run("export", bundle, "-f", "torch", "--parser-only", "-o", tmp_path / "out").status == 0
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["rule"] == {"video_filter": "own", "strict": False}
    assert about["thresholds"]["visual_video"]["Dog"] == 0.7
    change_parser(bundle, video_filter="pooled", strict_thresholds=True)
    assert run("export", bundle, "-f", "torch", "--parser-only", "--overwrite", "-o", tmp_path / "out").status == 0
    about = json.loads((tmp_path / "out" / "export.json").read_text())
    assert about["rule"] == {"video_filter": "pooled", "strict": True}
    assert [item["name"] for item in about["networks"]["parser"]["outputs"]][-1] == "video_probs"


def test_model_info_and_page_name_the_decision(run: Run, bundle: Path, clips: Clips, tmp_path: Path) -> None:
    said = run("model-info", "--weights", bundle, "-f", "markdown").out
    assert "at least 0.25, and the video's, of the same modality, at least 0.45" in " ".join(said.split())
    assert (
        run("parse", clips.blink, "--weights", bundle, "--html", tmp_path / "p.html", "-o", tmp_path / "e").status == 0
    )
    page = (tmp_path / "p.html").read_text()
    assert '"rule":{"video_filter":"own","strict":false}' in page.replace(" ", "")
    assert "thresholds 0.25 per second, 0.45 per video" in page


def test_model_info_names_the_file_of_thresholds(run: Run, bundle: Path) -> None:
    assert "replaces these thresholds" not in run("model-info", "--weights", bundle).out
    shown = run("model-info", "--weights", with_file(bundle, "[visual.video]\ndefault = 0.6\n")).out
    assert "The bundle's thresholds.toml replaces these thresholds." in shown


def test_thresholds_are_uploaded_and_named_on_the_card(bundle: Path) -> None:
    with_file(bundle, "[visual.video]\nDog = 0.7\n")
    with plan_upload(str(bundle), parse_address("hf://alice/parser")) as upload:
        assert upload.files["thresholds.toml"] == bundle / "thresholds.toml"
        assert 'thresholds = "thresholds.toml"' in upload.texts["bundle.toml"].replace('"thresholds" =', "thresholds =")
        card = upload.texts["README.md"]
    assert "at least 0.25" in card
    assert "thresholds by class in a file of the bundle" in card
    (bundle / "thresholds.toml").write_text("[")
    with (
        pytest.raises(SetupError, match="not a readable file of thresholds"),
        plan_upload(str(bundle), parse_address("hf://alice/parser")),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[visual.video]\nCat = 0.7\n", "unknown class 'Cat'; known: Dog"),
        ("[visual.video]\nDog = 2\n", "is 2, not a number from 0 to 1"),
        ("[", "not a readable thresholds file"),
    ],
)
def test_a_file_that_is_no_thresholds(run: Run, bundle: Path, clips: Clips, content: str, message: str) -> None:
    with_file(bundle, content)
    result = run("parse", clips.blink, "--weights", bundle, "-o", "-")
    assert result.status == 2
    assert message in result.err


def test_only_toml_is_a_file_of_thresholds(run: Run, bundle: Path, clips: Clips) -> None:
    description = (bundle / "bundle.toml").read_text()
    (bundle / "bundle.toml").write_text(description.replace('"parser.safetensors" }', '"p", thresholds = "t.json" }'))
    result = run("parse", clips.blink, "--weights", bundle, "-o", "-")
    assert (result.status, "expected a file with the suffix .toml" in result.err) == (2, True)
