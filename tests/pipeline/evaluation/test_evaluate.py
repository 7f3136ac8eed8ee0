"""Evaluation: a parser or timelines on a split, subsets and classes, thresholds, tables, parts of a model."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.models.files.checkpoint import dump_checkpoint
from avvp.models.parser import AVParser
from avvp.models.stems import FeatureStem
from avvp.pipeline.datasets.annotations import Annotations, read_annotations
from avvp.pipeline.datasets.clips import SplitDataset, load_clips
from avvp.pipeline.datasets.pseudo_labels import write_pseudo_labels
from avvp.pipeline.errors import DatasetError, FeatureMismatchError, SetupError
from avvp.pipeline.evaluation.evaluate import Evaluation, evaluate
from avvp.pipeline.evaluation.evaluate_parser import ParserEvaluator
from avvp.pipeline.evaluation.evaluate_pseudo_labels import evaluate_pseudo_labels
from avvp.pipeline.evaluation.evaluate_timelines import AnnotatedClip, evaluate_timelines, read_timeline
from avvp.pipeline.evaluation.localization import LocalizationEvaluation
from avvp.pipeline.evaluation.tables import Table, class_table, score_table
from avvp.pipeline.evaluation.tune_thresholds import tune_thresholds
from avvp.pipeline.features.npy_folders import PUBLISHED_SPEC
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.inference.bundle import load_parser
from avvp.pipeline.inference.predict import predict_clips, predict_video
from avvp.pipeline.inference.thresholds import Thresholds, read_thresholds
from avvp.pipeline.metrics import score
from avvp.pipeline.outputs.formats.read_folders import read_event_files
from avvp.pipeline.timeline import Event, SegmentLabels, SegmentProbabilities, Timeline
from avvp.pipeline.training.model_info import count_parts, recipe_network, unused_when_published
from rich.console import Console
from support.command import Result
from support.golden import load_json, needs_golden
from support.llp_like import FRAMES, Recipe, Truth, generate
from support.parsers import family_state, tiny_parser

LABELS = ("class 0", "class 1", "class 2", "class 3")  # those of tiny_parser
DIMS = (6, 10, 7)
SPEC = {
    "profile": "clean", "profile_version": 1, "extractors": ["vggish_tiny", "resnet_tiny", "r2plus1d_tiny"],
    "dims": list(DIMS), "frames_per_segment": FRAMES, "sample_rate": 16000,
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Truth]]:
    root = tmp_path_factory.mktemp("data")
    return root, generate(root, Recipe({"val": 9, "test": 12}, labels=LABELS, dims=DIMS))


def clips_of(root: Path, split: str = "test") -> SplitDataset:
    return load_clips(read_annotations(root / "annotations"), split, open_features(root / "features"))


def write_bundle(folder: Path, parser: AVParser, **changes: object) -> Path:
    folder.mkdir()
    (folder / "parser.safetensors").write_bytes(dump_checkpoint(parser.float(), {**SPEC, **changes}, {}))
    names = ", ".join(f'{name} = "{name}.safetensors"' for name in SPEC["extractors"])
    (folder / "bundle.toml").write_text(
        f'profile = "clean"\nextractors = {{ {names} }}\nparser = {{ checkpoint = "parser.safetensors" }}\n'
    )
    return folder


def judge_of(root: Path, folder: Path) -> ParserEvaluator:
    quiet = lambda _: lambda _done, _total: None  # noqa: E731
    return ParserEvaluator(load_parser(str(folder)), root / "annotations", root / "features", progress=quiet)


def perfect(truth: Truth, folder: Path, *, by_id: bool = False) -> Path:
    """Timelines that say the truth."""
    folder.mkdir(exist_ok=True)
    for filename, audio, visual in zip(truth.filenames, truth.audio, truth.visual, strict=True):
        events = [
            {"modality": modality, "label": LABELS[label], "onset": float(second), "offset": second + 1.0, "score": 1}
            for modality, table in (("audio", audio), ("visual", visual))
            for second, label in zip(*np.nonzero(table), strict=True)
        ]
        name = filename.rsplit("_", 2)[0] if by_id else filename
        (folder / f"{name}.events.json").write_text(json.dumps({"events": events}))
    return folder


@pytest.mark.parametrize("decoder", ["leap", "mmil"])
@pytest.mark.parametrize("window", [10, 4])
def test_predict_clips_equals_single_clips(data: tuple[Path, dict[str, Truth]], decoder: str, window: int) -> None:
    """A clip longer than the parser's window goes through it piece by piece, as a video does."""
    parser, clips = tiny_parser(decoder=decoder, segments=window).float(), clips_of(data[0])
    together = predict_clips(parser, clips, torch.device("cpu"))
    assert (together.video is not None) == (decoder == "mmil")
    for index, name in enumerate(clips.ids):
        audio, visual_2d, visual_3d = np.split(clips.features.read(name), np.cumsum(DIMS)[:-1], axis=1)
        alone = predict_video(parser, (audio, visual_2d, visual_3d), torch.device("cpu"))
        for part, array in alone.arrays().items():
            np.testing.assert_allclose(getattr(together, part)[index], array, atol=1e-6, err_msg=part)


def test_a_parser_is_scored_by_the_published_decision(data: tuple[Path, dict[str, Truth]], tmp_path: Path) -> None:
    root, truths = data
    parser = tiny_parser().float()
    result = judge_of(root, write_bundle(tmp_path / "b", parser)).evaluate("test", Thresholds.uniform(LABELS, 0.5, 0.5))
    found = predict_clips(parser, clips_of(root), torch.device("cpu"))
    present = (found.audio_video >= 0.5) | (found.visual_video >= 0.5)
    decisions = ((found.audio >= 0.5) & present, (found.visual >= 0.5) & present)
    assert result.scores == score(*decisions, truths["test"].audio, truths["test"].visual)


def test_subsets_and_classes(data: tuple[Path, dict[str, Truth]]) -> None:
    truth = data[1]["test"]
    crowded = (truth.audio.sum(2) > 1).any(1) | (truth.visual.sum(2) > 1).any(1)
    nothing = np.zeros_like(truth.audio)
    known = SegmentLabels(truth.audio, truth.visual)
    result = evaluate(SegmentLabels(nothing, truth.visual), known, split="test", source="half", labels=LABELS)
    assert (result.overlapping.clips, result.non_overlapping.clips) == (crowded.sum(), (~crowded).sum())
    assert result.overlapping.scores == score(
        nothing[crowded], truth.visual[crowded], truth.audio[crowded], truth.visual[crowded]
    )
    assert result.whole.scores is not None
    assert result.whole.scores.event.visual == 100
    first = result.classes["class 0"]
    assert first is not None
    assert (first.event.audio, first.event.visual) == (0, 100)
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["subsets"]["overlapping"]["clips"] == crowded.sum()


def test_a_subset_without_clips_has_no_scores() -> None:
    one = np.zeros((1, 2, 2), bool)
    one[0, :, 0] = True
    result = evaluate(SegmentLabels(one, one), SegmentLabels(one, one), split="val", source="x", labels=("a", "b"))
    assert result.overlapping.scores is None
    assert result.classes["b"] is None
    rows = score_table(result).rows
    assert rows[1] == ("overlapping (0)", *["-"] * 11)
    assert class_table(result).rows == (("a", *["100.0"] * 5), ("b", *["-"] * 5))


def score_timelines(folder: Path, annotations: Annotations, split: str, *, allow_missing: bool = False) -> Evaluation:
    result = evaluate_timelines(folder, annotations, split, allow_missing=allow_missing)
    assert isinstance(result, Evaluation)
    return result


@pytest.mark.parametrize("by_id", [False, True])
def test_timelines_on_disk(data: tuple[Path, dict[str, Truth]], tmp_path: Path, by_id: bool) -> None:
    root, truths = data
    folder = perfect(truths["test"], tmp_path / "events", by_id=by_id)
    result = score_timelines(folder, read_annotations(root / "annotations"), "test")
    assert result.scores.mean == 100
    assert result.source == "events"
    assert result.notes == ()


def test_timelines_that_say_they_are_of_localizers(data: tuple[Path, dict[str, Truth]], tmp_path: Path) -> None:
    """Their events are both heard and seen: what is only heard is no miss, if all of them are of localizers."""
    root, truths = data
    folder = perfect(truths["test"], tmp_path / "events")
    annotations = read_annotations(root / "annotations")
    documents = {path: json.loads(path.read_text()) for path in folder.glob("*.json")}
    for path, document in documents.items():
        path.write_text(json.dumps({**document, "provenance": {"task": "avel"}}))
    found = evaluate_timelines(folder, annotations, "test")
    assert isinstance(found, LocalizationEvaluation)
    assert found.scores.accuracy == 100
    other, document = documents.popitem()
    other.write_text(json.dumps(document))
    assert isinstance(evaluate_timelines(folder, annotations, "test"), Evaluation)


def stating(folder: Path, name: str, media: str, target: str) -> None:
    """Rename a timeline, and let it state its media file, as avvp parse does."""
    path = folder / f"{name}.events.json"
    document = json.loads(path.read_text())
    path.unlink()
    (folder / target).write_text(json.dumps({**document, "media": {"path": media}}))


@pytest.mark.parametrize("target", ["{}.mp4.json", "{}.json", "{}.mp4.events.json", "sub/renamed.json"])
def test_names_of_timelines(data: tuple[Path, dict[str, Truth]], tmp_path: Path, target: str) -> None:
    root, truths = data
    folder = perfect(truths["test"], tmp_path / "events")
    name = truths["test"].filenames[3]
    (folder / "sub").mkdir()
    stating(folder, name, f"/videos/{name}.mp4", target.format(name))
    assert score_timelines(folder, read_annotations(root / "annotations"), "test").scores.mean == 100


def test_a_renamed_timeline_is_found_by_the_media_it_states(
    data: tuple[Path, dict[str, Truth]], tmp_path: Path
) -> None:
    """As `convert` names it; JSON of other kinds beside it does not matter."""
    root, truths = data
    folder = perfect(truths["test"], tmp_path / "events")
    name = truths["test"].filenames[3]
    stating(folder, name, f"{name}.mkv", "take 2.json")
    (folder / "other.json").write_text("[1, 2]")
    (folder / "scores.json").write_text('{"media": {"path": "x.mp4"}}')
    annotations = read_annotations(root / "annotations")
    assert score_timelines(folder, annotations, "test").scores.mean == 100
    assert name in read_event_files([folder / "take 2.json"]).timelines
    (folder / "take 3.json").write_bytes((folder / "take 2.json").read_bytes())
    with pytest.raises(DatasetError, match=rf"take 2\.json and .*take 3\.json: both state that they are of {name}"):
        evaluate_timelines(folder, annotations, "test")


def test_a_timeline_of_another_clip_is_no_result(data: tuple[Path, dict[str, Truth]], tmp_path: Path) -> None:
    root, truths = data
    folder = perfect(truths["test"], tmp_path / "events")
    first, second = truths["test"].filenames[3:5]
    stating(folder, first, f"{second}.mp4", f"{first}.json")
    with pytest.raises(DatasetError, match=f"{first}.json: called like one clip, but states that it is of {second}"):
        evaluate_timelines(folder, read_annotations(root / "annotations"), "test")
    (folder / f"{first}.json").write_text('{"events": [], "media": {"path": "upload-17.mp4"}}')
    assert score_timelines(folder, read_annotations(root / "annotations"), "test").scores.mean < 100


def test_missing_timelines_are_listed_or_allowed(data: tuple[Path, dict[str, Truth]], tmp_path: Path) -> None:
    root, truths = data
    folder = perfect(truths["test"], tmp_path / "events")
    name = truths["test"].filenames[3]
    (folder / f"{name}.events.json").unlink()
    annotations = read_annotations(root / "annotations")
    with pytest.raises(DatasetError, match=rf"--allow-missing(.|\n)*missing: {name}\.events\.json"):
        evaluate_timelines(folder, annotations, "test")
    result = score_timelines(folder, annotations, "test", allow_missing=True)
    assert result.whole.clips == 11
    assert result.notes == ("11 of 12 clips: the others have no timeline",)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="missing"):
        evaluate_timelines(tmp_path / "empty", annotations, "test", allow_missing=True)


def test_pseudo_labels_on_disk(data: tuple[Path, dict[str, Truth]], run: Callable[..., Result], tmp_path: Path) -> None:
    """Perfect ones but for one clip, in which nothing is heard; then one that is missing."""
    root, truths = data
    truth, annotations = truths["test"], read_annotations(root / "annotations")
    ids = [name.rsplit("_", 2)[0] for name in truth.filenames]
    for number, name in enumerate(ids):
        write_pseudo_labels(tmp_path, "audio", name, truth.audio[number] & (number != 4))
        write_pseudo_labels(tmp_path, "visual", name, truth.visual[number])
    audio = truth.audio.copy()
    audio[4] = False
    result = evaluate_pseudo_labels(tmp_path, annotations, "test")
    assert result.scores == score(audio, truth.visual, truth.audio, truth.visual)
    (tmp_path / "CLIP/segment_pseudo_labels" / f"{ids[4]}.npy").unlink()
    with pytest.raises(DatasetError, match=ids[4]):
        evaluate_pseudo_labels(tmp_path, annotations, "test")
    partial = evaluate_pseudo_labels(tmp_path, annotations, "test", allow_missing=True)
    assert partial.scores.mean == 100
    assert partial.notes == ("11 of 12 clips: the others have no pseudo labels",)
    (tmp_path / "none").mkdir()
    with pytest.raises(DatasetError, match="of both modalities"):
        evaluate_pseudo_labels(tmp_path / "none", annotations, "test", allow_missing=True)
    where = ("evaluate", "--annotations", root / "annotations", "--pseudo-labels", tmp_path)
    assert "11 of 12 clips" in run(*where, "--allow-missing").out
    assert "decided already" in run(*where, "--threshold", "0.3").err
    assert "name what to score" in run(*where, "--timelines", tmp_path).err


def test_read_timeline_of_other_programs(tmp_path: Path) -> None:
    """A second is active where at least half of it is covered, once; what is both is heard and seen; the end is cut."""
    events = [
        ("audio", "a", 0.5, 2.4), ("audio", "b", 0.0, 0.3), ("audio", "b", 0.7, 0.9), ("visual", "a", 2.6, 9.0),
        ("audio", "b", 1.1, 1.6), ("audio", "c", 0.0, 0.3), ("audio", "c", 0.1, 0.3), ("audio_visual", "c", 3.0, 4.0),
    ]  # fmt: skip
    document = [dict(zip(("modality", "label", "onset", "offset"), event, strict=True)) for event in events]
    (tmp_path / "x.json").write_text(json.dumps({"events": document}))
    audio, visual = read_timeline(tmp_path / "x.json", ("a", "b", "c"), 4)
    assert audio.T.tolist() == [[True, True, False, False], [True, True, False, False], [False, False, False, True]]
    assert visual.T.tolist() == [[False, False, False, True], [False] * 4, [False, False, False, True]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a timeline"),
        ("[]", "not a timeline"),
        ("{}", "no 'events'"),
        ('{"events": [{"modality": "audio", "label": "z", "onset": 0, "offset": 1}]}', "unknown class 'z'"),
        ('{"events": [{"modality": "smell", "label": "a", "onset": 0, "offset": 1}]}', "unknown modality 'smell'"),
        ('{"events": [{"modality": "audio", "label": "a", "onset": "x", "offset": 1}]}', "could not convert"),
        ('{"events": [{"modality": "audio", "label": "a", "onset": 0}]}', "no 'offset'"),
        ('{"events": [{"modality": "audio", "label": "a", "onset": NaN, "offset": 1}]}', "not an interval"),
        ('{"events": [{"modality": "audio", "label": "a", "onset": 2, "offset": 1}]}', "not an interval"),
        (
            '{"events": [{"modality": "audio", "label": "a", "onset": 0, "offset": 1' + "0" * 400 + "}]}",
            "not a timeline",
        ),
        ("[" * 100_000, "not a timeline"),
    ],
)
def test_read_timeline_rejects_invalid_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DatasetError) as error:
        read_timeline(tmp_path / "x.json", ("a",), 4)
    assert message in str(error.value)


def test_features_of_another_profile_are_refused(data: tuple[Path, dict[str, Truth]], tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "other", tiny_parser(), profile="llp")
    with pytest.raises(FeatureMismatchError, match=r"'other'.*features holds.*profile: llp / clean"):
        judge_of(data[0], folder)


def test_another_label_set_is_refused(data: tuple[Path, dict[str, Truth]], tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "fewer", tiny_parser(classes=3))
    with pytest.raises(FeatureMismatchError) as error:
        judge_of(data[0], folder)
    message = str(error.value)
    assert "'fewer' (3 classes)" in message
    assert "annotations (4 classes)" in message
    assert "only the parser has none; only the annotations have class 3" in message


def test_labels_in_another_order_are_refused(data: tuple[Path, dict[str, Truth]], tmp_path: Path) -> None:
    root = data[0]
    folder = write_bundle(tmp_path / "b", tiny_parser())
    for path in (root / "annotations").iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    (tmp_path / "labels.txt").write_text("\n".join(LABELS[::-1]))
    with pytest.raises(FeatureMismatchError, match="the same, in another order"):
        ParserEvaluator(load_parser(str(folder)), tmp_path, root / "features", progress=lambda _: lambda _d, _t: None)


def biased_predictions(truth: Truth, pooled: bool) -> SegmentProbabilities:
    """Right, were it not for thresholds of 0.5: everything is scaled down, each class in its own way."""
    scale = np.array([0.2, 0.4, 0.7, 0.9], np.float32)
    audio, visual = truth.audio * scale, truth.visual * scale * 0.9
    videos = [
        np.broadcast_to(table.any(1, keepdims=True).astype(np.float32) * np.float32(0.45), table.shape)
        for table in (truth.audio, truth.visual)
    ]
    return SegmentProbabilities(audio, visual, *videos, video=np.maximum(*videos) if pooled else None)


@pytest.mark.parametrize("pooled", [False, True])
def test_tuned_thresholds_raise_the_scores(data: tuple[Path, dict[str, Truth]], tmp_path: Path, pooled: bool) -> None:
    root, truths = data
    clips, predictions = clips_of(root, "val"), biased_predictions(truths["val"], pooled)
    before = score(*Thresholds.uniform(LABELS, 0.5, 0.5).decide(predictions), *clips.segment_labels).mean
    tuned = tune_thresholds(predictions, clips, Thresholds.uniform(LABELS))
    after = score(*tuned.decide(predictions), *clips.segment_labels).mean
    assert before < 60
    assert after == pytest.approx(100)
    (tmp_path / "t.toml").write_text(tuned.to_toml())
    again = Thresholds.uniform(LABELS, 0.5, 0.5).changed(read_thresholds(tmp_path / "t.toml"))
    for name in ("audio_segment", "visual_segment", "audio_video", "visual_video", "video"):
        np.testing.assert_array_equal(getattr(again, name), getattr(tuned, name))


def test_thresholds_are_never_tuned_on_the_test_split(data: tuple[Path, dict[str, Truth]]) -> None:
    root, truths = data
    with pytest.raises(ValueError, match="on the validation split, not on test"):
        tune_thresholds(biased_predictions(truths["test"], pooled=False), clips_of(root), Thresholds.uniform(LABELS))


def test_markdown() -> None:
    table = Table("A title", ("run", "mean"), (("a|b", "61.0"),), ("A note.",))
    assert table.to_markdown() == "**A title**\n\n|run|mean|\n|---|---:|\n|a\\|b|61.0|\n\nA note.\n"


def test_wide_table_is_split_to_fit_the_terminal() -> None:
    """Every number is there, whole, under the same first column."""
    header = ("run", *(f"column {index}" for index in range(8)))
    rows = tuple((f"row {row}", *(f"{row}{index}.5" for index in range(8))) for row in range(2))
    for width in (200, 60, 25):
        drawing = io.StringIO()
        Table("A title", header, rows).print(Console(file=drawing, width=width))
        lines = drawing.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        for text in (*header, *(cell for row in rows for cell in row)):
            assert any(text in line for line in lines), (width, text)
        assert sum("A title" in line for line in lines) == 1


def test_a_cell_wider_than_the_terminal_is_folded_beside_a_readable_name() -> None:
    drawing = io.StringIO()
    folder = "demo+" + "setting=1+" * 12
    Table("A title", ("run", "folder", "mean"), (("HAN + MMIL", folder, "61.0"),)).print(
        Console(file=drawing, width=60)
    )
    lines = drawing.getvalue().splitlines()
    assert sum("HAN + MMIL" in line for line in lines) == 2
    assert max(map(len, lines)) <= 60
    assert folder in "".join(line.replace("HAN + MMIL", "").strip() for line in lines)


def test_parts_of_the_published_parsers() -> None:
    """Hand-computed: the stem's four projections; LEAP's share as the paper states it, without its dead template."""
    parts = {part.name: part for part in count_parts(recipe_network("leap-published"))}
    stem = 128 * 512 + 2048 * 512 + 512 * 512 + 1024 * 512
    assert parts["stem"].parameters == stem + 4 * 512
    assert parts["stem"].multiply_adds == 10 * stem
    assert sum(part.parameters + part.unused_when_published for part in parts.values()) == 52_005_380
    heads_and_projection = 2 * 513 + 300 * 512 + 512
    leap = parts["decoder"].parameters - heads_and_projection
    assert leap + parts["decoder"].unused_when_published == 7_892_992
    second_look = 25 * 512**2 + 25 * 10 * 512  # of the refined labels; the keys are projected once
    attention = 2 * (2 * 25 * 512**2 + 2 * 10 * 512**2) + 2 * 2 * 25 * 10 * 512
    feedforward = 2 * 2 * 25 * 512**2
    expected = 2 * (attention + feedforward + second_look + 25 * 512) + 25 * 300 * 512
    assert parts["decoder"].multiply_adds == expected


@needs_golden
@pytest.mark.parametrize("recipe", ["han", "mmpyr", "valor"])
def test_unused_parameters_of_other_programs(recipe: str) -> None:
    parser = recipe_network(recipe)
    own = sum(parameter.numel() for parameter in parser.parameters())
    unused = sum(unused_when_published(parser.config).values())
    assert own + unused == load_json(f"{recipe}_official.json")["parameters"]


@pytest.mark.parametrize("family", ["han", "mmpyr", "valor"])
def test_a_published_file_as_a_bundle(tmp_path: Path, family: str) -> None:
    """Named by its family; nothing else is needed where there are no label embeddings."""
    torch.save(family_state(family), tmp_path / "published.pt")
    (tmp_path / "bundle.toml").write_text(
        'profile = "llp"\nlabels = "llp"\n'
        'extractors = { vggish = "vggish", resnet152 = "resnet152", r2plus1d_18 = "r2plus1d_18" }\n'
        f'parser = {{ family = "{family}", file = "published.pt" }}\n'
    )
    loaded = load_parser(str(tmp_path))
    assert loaded.spec == PUBLISHED_SPEC
    assert loaded.parser.config.decoder == "mmil"
    assert isinstance(loaded.parser, AVParser)
    assert loaded.parser.config.swap_modalities == (family == "mmpyr")


def test_evaluate_refuses_non_finite_predictions(data: tuple[Path, dict[str, Truth]], tmp_path: Path) -> None:
    """NaN is below every threshold: without this it would be scored as silence."""
    parser = tiny_parser().float()
    assert isinstance(parser.stem, FeatureStem)
    with torch.no_grad():
        parser.stem.audio.weight.fill_(3e38)  # finite, as a file must hold, but not what is computed with it
    judge = judge_of(data[0], write_bundle(tmp_path / "b", parser))
    with pytest.raises(SetupError, match="outputs are NaN or infinite"):
        judge.evaluate("test", Thresholds.uniform(LABELS, 0.5, 0.5))


def test_pooled_probabilities_never_exceed_one(data: tuple[Path, dict[str, Truth]]) -> None:
    """MMIL sums weights that add up to 1, which rounding can take beyond it where every segment is certain."""
    parser = tiny_parser(decoder="mmil").float()
    with torch.no_grad():
        parser.get_parameter("decoder.prob.bias").fill_(50.0)
    predictions = predict_clips(parser, clips_of(data[0]), torch.device("cpu"))
    assert predictions.video is not None
    assert predictions.video.max() == 1


def test_a_part_is_compared_alone() -> None:
    """Of four true seconds, two were parsed; both were found."""
    truth = SegmentLabels(*np.array([[[1], [1], [1], [1]], [[0], [0], [0], [0]]], bool))
    event = Event("audio", "Dog", 2, 4, 0.9)
    media = {"path": "a.mp4", "duration": 4.0}
    whole = Timeline((event,), ("Dog",), None, media, {})
    part = replace(whole, media={**media, "parsed": [2, 4]})
    clip = AnnotatedClip(("Dog",), truth)
    assert clip.compare(whole).agreement.startswith("F-scores per second A 67,")
    compared = clip.compare(part)
    assert compared.agreement.startswith("F-scores per second A 100,")
    assert compared.labels.audio[:, 0].tolist() == [False, False, True, True]
    assert truth.audio.all()  # the annotations stay as they are
