"""OV-AVEL's fine-tuned baseline, from films to a bundle that finds classes that it was not trained on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import avvp
import numpy as np
import pytest
import torch
from avvp.models.files.checkpoint import load_adapter
from avvp.models.open.adapter import AdapterConfig, TemporalAdapter
from avvp.pipeline.cli.commands.serve import _vocabulary
from avvp.pipeline.inference.open_network import adapt_features
from avvp.pipeline.open_vocabulary.rule_registry import RULES
from avvp.pipeline.open_vocabulary.similarities import Similarities
from avvp.pipeline.open_vocabulary.vocabulary import RuleSettings, Vocabulary
from avvp.pipeline.serve.jobs.classes import other_vocabulary
from avvp.pipeline.sharing.model_card import format_card
from avvp.weights.manifest import read_bundle
from avvp.weights.remote.hub import HubAddress
from support.command import Result
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

Run = Callable[..., Result]
SEEN = ("red low tone", "blue high tone")  # what the stand-ins see and hear, under one name
UNSEEN = "green middle tone"
FILMS = {
    "t1": ("train", SEEN[0], [(None, None, 3), ("red", "low tone", 7)]),
    "t2": ("train", SEEN[1], [("blue", "high tone", 6), (None, None, 4)]),
    "t3": ("train", SEEN[0], [("red", "high tone", 5), ("blue", "low tone", 5)]),  # never the same: background
    "v1": ("val", SEEN[0], [("red", "low tone", 5), (None, None, 5)]),
    "v2": ("val", UNSEEN, [(None, None, 4), ("green", "middle tone", 6)]),
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films, annotations in the form of OV-AVEBench, and a bundle of the stand-ins."""
    folder = tmp_path_factory.mktemp("desk")
    for name in ("films", "annotations"):
        (folder / name).mkdir()
    write_stand_ins(folder / "stand-ins")
    rows, seconds = ["split,cls_name,cls_type,vid_name"], {}
    for name, (split, label, scenes) in FILMS.items():
        make_film(folder / "films" / f"{name}.mp4", scenes)
        colour, pitch = label.split(" ", 1)
        active = [int((seen, heard) == (colour, pitch)) for seen, heard, length in scenes for _ in range(length)]
        rows.append(f"{split},{label},{'open' if label == UNSEEN else 'close'},{name}")
        seconds[name] = {"category": label, "label": str(active)}
    (folder / "annotations/ovave_dataset_meta.csv").write_text("\n".join(rows) + "\n")
    (folder / "annotations/ovavel_dataset_anno.json").write_text(json.dumps(seconds))
    return folder


@pytest.fixture
def trained(run: Run, desk: Path) -> Path:
    """A run of the recipe on the films; made once."""
    if not (desk / "run").exists():
        bundle = ("--weights", desk / "stand-ins", *TRUST, "--device", "cpu")
        assert run("extract", desk / "films", *bundle, "-o", desk / "features").status == 0
        result = run("train", *options(desk), "--epochs", "6", "-o", desk / "run")
        assert result.status == 0, result.err
        assert "mean of accuracy, segment and event: seen" in result.err
    return desk / "run"


def options(desk: Path) -> tuple[object, ...]:
    data = ("--annotations", desk / "annotations", "--features", desk / "features")
    recipe = ("--recipe", "ov-avel", "--set", "training.learning_rate=1e-3", "--set", "objective.scale=10")
    return (*data, *recipe, "--extractors", desk / "stand-ins", *TRUST, "--device", "cpu")


def test_the_run_is_an_open_bundle(trained: Path) -> None:
    bundle = read_bundle(trained)
    assert bundle.is_open
    assert bundle.is_adapted
    assert bundle.parser == {"checkpoint": "best.safetensors", "classes": "classes.toml"}
    adapter, spec, record = load_adapter(trained / "best.safetensors")
    assert adapter.config.labels == (SEEN[1], UNSEEN, SEEN[0])  # those of all splits, sorted
    assert adapter.config.trained == (SEEN[1], SEEN[0])
    assert adapter.config.segments == 10
    assert spec["profile"] == "clip-clap"
    assert set(record["validation"]) == {"seen", "unseen", "total"}


def test_it_finds_the_classes_of_its_annotations(run: Run, desk: Path, trained: Path, tmp_path: Path) -> None:
    found = parse(run, desk, trained, tmp_path)
    expected = {(m, UNSEEN, 4.0, 10.0) for m in ("audio", "visual", "audio_visual")}
    assert found["events"] == expected
    about = found["document"]["provenance"]["open_vocabulary"]
    assert about["rule"]["name"] == "ov-avel"
    assert (about["background"]["name"], about["background"]["entries"]) == ("other", 1)
    assert found["document"]["warnings"] == []  # that nobody chose the thresholds is said of networks without training


def test_it_finds_any_class_by_its_name(run: Run, desk: Path, trained: Path, tmp_path: Path) -> None:
    """No name of these was in the annotations; "green" alone is no sound, so that nothing is heard and seen."""
    found = parse(run, desk, trained, tmp_path, "--classes", "a green car with a middle tone, elephant")
    assert {event[1] for event in found["events"]} == {"a green car with a middle tone"}
    assert not parse(run, desk, trained, tmp_path, "--classes", "violet, elephant")["events"]
    with avvp.load(trained, trust_parts=[TRUST[1]], classes=["a green car with a middle tone"], device="cpu") as parser:
        events = parser.parse(desk / "films/v2.mp4").events
    assert {(event.modality, event.onset, event.offset) for event in events} == {
        (modality, 4, 10) for modality in ("audio", "visual", "audio_visual")
    }


def test_another_rule_is_obeyed_and_other_classes_have_that_of_the_training(
    run: Run, desk: Path, trained: Path, tmp_path: Path
) -> None:
    named = ("--classes", "a green car with a middle tone")
    for rule, options in {"av2a": ("--rule", "av2a"), "ov-avel": ()}.items():
        about = parse(run, desk, trained, tmp_path, *named, *options)["document"]["provenance"]["open_vocabulary"]
        assert (about["rule"]["name"], about["background"]["name"]) == (rule, "other")
    (tmp_path / "a.toml").write_text("[rule]\nname = 'av2a'\n[[class]]\nlabel = 'a'\n")
    found = parse(run, desk, trained, tmp_path, "--classes", f"@{tmp_path / 'a.toml'}", "--background", "none")
    about = found["document"]["provenance"]["open_vocabulary"]
    assert (about["rule"]["name"], about["background"]["name"]) == ("av2a", "none")
    with avvp.load(trained, trust_parts=[TRUST[1]], device="cpu") as parser:
        other = parser.with_classes(["a green car with a middle tone"])
        timeline = other.parse(desk / "films/v2.mp4")
    about = timeline.provenance["open_vocabulary"]
    assert (about["rule"]["name"], about["background"]["name"]) == ("ov-avel", "other")
    assert {(event.onset, event.offset) for event in timeline.events} == {(4, 10)}


def test_a_server_compares_other_classes_as_the_training(trained: Path) -> None:
    served = _vocabulary(read_bundle(trained), SimpleNamespace(weights_dir=None))  # pyright: ignore[reportArgumentType]
    assert served is not None
    other = other_vocabulary(("a",), served)
    assert (other.rule.name, other.background_name, other.labels) == ("ov-avel", "other", ("a",))


def parse(run: Run, desk: Path, bundle: Path, tmp_path: Path, *named: object) -> dict[str, Any]:
    target = tmp_path / "e.json"
    result = run("parse", desk / "films/v2.mp4", "--weights", bundle, *TRUST, "--device", "cpu", *named, "-o", target)
    assert result.status == 0, result.err
    document = json.loads(target.read_text())
    events = {(e["modality"], e["label"], e["onset"], e["offset"]) for e in document["events"]}
    return {"document": document, "events": events}


def test_a_run_is_resumed(run: Run, desk: Path, trained: Path, tmp_path: Path) -> None:
    first = run("train", *options(desk), "--epochs", "1", "-o", tmp_path / "run")
    assert first.status == 0, first.err
    result = run("train", "-o", tmp_path / "run", "--resume", "--epochs", "6", *TRUST, "--device", "cpu")
    assert result.status == 0, result.err
    one, other = (load_adapter(folder / "last.safetensors").adapter for folder in (trained, tmp_path / "run"))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.usefixtures("trained")
def test_what_it_is_not_for(run: Run, desk: Path, tmp_path: Path) -> None:
    data = ("--annotations", desk / "annotations", "--features", desk / "features", "--recipe", "ov-avel")
    result = run("train", *data, "--extractors", "demo", "-o", tmp_path / "run")
    assert result.status == 2
    assert "bundle 'demo' has no text encoders; name an open one, such as open" in result.err
    result = run("train", *data, "--label-embeddings", "one-hot", "-o", tmp_path / "run")
    assert (result.status, "takes the sentences of its classes: leave out --label-emb" in result.err) == (2, True)
    result = run("train-teacher", *data, "-o", tmp_path / "run")
    assert (result.status, "recipe ov-avel is for avvp train, not for avvp train-teacher" in result.err) == (2, True)


def test_long_videos_are_computed_in_windows() -> None:
    """A second in the middle of a window of its own, far from others, has the same embedding as alone in a window."""
    torch.manual_seed(0)
    config = AdapterConfig(labels=("a",), audio_dim=8, visual_dim=8, attention_dim=4, feedforward_dim=8, segments=4)
    adapter = TemporalAdapter(config, torch.randn(2, 16)).eval()
    rows = np.random.default_rng(1).standard_normal((10, 8)).astype(np.float32)
    found = adapt_features(adapter, {"audio": rows, "visual": rows[:, ::-1].copy()}, "cpu")["audio"]
    windows = [adapter.adapt("audio", torch.from_numpy(rows[start : start + 4])[None])[0] for start in (0, 2, 4, 6)]
    second_5 = torch.stack([windows[1][3], windows[2][1]]).mean(dim=0).detach().numpy()
    np.testing.assert_allclose(found[5], second_5, rtol=1e-5)
    np.testing.assert_allclose(found[0], windows[0][0].detach().numpy(), rtol=1e-5)


def similarities(**changes: object) -> Similarities:
    """Two seconds, three entries of which two are classes: the second second is nearest to the background."""
    angles = np.deg2rad([[0, 40, 90], [0, 40, 90]])
    audio, visual = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    texts = {"audio": audio, "visual": visual}
    seconds = np.deg2rad([10.0, 80.0])
    rows = np.stack([np.cos(seconds), np.sin(seconds)], axis=-1)
    made = Similarities.of({"audio": rows, "visual": rows}, texts, 2)
    return made.of_streams(**changes) if changes else made  # pyright: ignore[reportArgumentType]


@pytest.fixture
def thresholds() -> Iterator[dict[str, np.ndarray]]:
    yield {modality: np.full(2, 0.5) for modality in ("audio", "visual")}


def test_the_rule_by_hand(thresholds: dict[str, np.ndarray]) -> None:
    """Where both cosines are equal, their root is the cosine: of 10 and 80 degrees, from least to most."""
    made, rule, settings = similarities(), RULES["ov-avel"], RuleSettings(name="ov-avel")
    scores = rule.score(made, settings)
    first, second = np.cos(np.deg2rad([[10, 30, 80], [80, 40, 10]]))
    expected = [
        [1, (first[1] - first[2]) / (first[0] - first[2])],
        [0, (second[1] - second[0]) / (second[2] - second[0])],
    ]
    np.testing.assert_allclose(scores["audio"], expected, atol=1e-12)
    np.testing.assert_array_equal(scores["audio"], scores["visual"])
    active = rule.decide(scores, made, thresholds, settings)
    assert active["audio"].tolist() == active["visual"].tolist() == [[True, False], [False, False]]
    missing = similarities(audio=False, visual=True)
    assert not rule.score(missing, settings)["visual"].any()
    assert not rule.decide(rule.score(missing, settings), missing, thresholds, settings)["visual"].any()


def test_the_rule_has_its_own_default_threshold() -> None:
    assert Vocabulary(()).with_rule(name="ov-avel").rule.threshold(99) == 0.5


def test_model_info_and_the_card_describe_the_adapter(run: Run, trained: Path) -> None:
    result = run("model-info", "--weights", trained, *TRUST)
    assert result.status == 0, result.err
    assert "temporal adapter, 3 classes" in result.out
    address = HubAddress("somebody/open")
    card = format_card(read_bundle(trained), address, size=1000, licence=None)
    assert "trained on 2 of 3 classes" in card
    assert "| unseen | " in card
    assert f"avvp-parse --weights {address} video.mp4" in card
