"""Labels of a temporal teacher from end to end: features, training, scores with context, training on the labels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.models.files.checkpoint import dump_checkpoint, load_teacher
from avvp.models.teacher import TeacherConfig, TemporalTeacher
from avvp.pipeline.datasets.pseudo_labels import FOLDERS
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.teacher import score_modality
from avvp.pipeline.pseudo_labeling.calibrate import best_threshold
from avvp.pipeline.pseudo_labeling.prompts import read_prompts
from avvp.pipeline.pseudo_labeling.temporal import load_temporal
from avvp.pipeline.pseudo_labeling.text_features import encode_prompts, name_prompts
from support.command import Result
from support.dense_data import SETTINGS
from support.golden import needs_golden
from support.media import ffmpeg
from support.published_teacher import published_state
from support.teachers import CLASSES, PROMPTS, write_teachers

pytest.importorskip("transformers")
WIDTH = 12  # of the features of the tiny CLIP and CLAP
TEACHERS = {"audio": "CLAP", "visual": "CLIP"}


class Place:
    """A folder with videos, models, features, a teacher, and a data set in LLP's form."""

    def __init__(self, root: Path, run: Callable[..., Result]) -> None:
        self.root, self._run = root, run
        self.models: tuple[object, ...] = ()

    def run(self, command: str, *options: object) -> Result:
        return self._run(command, *options, "--device", "cpu")

    def label(self, *options: object, output: str = "data") -> Result:
        return self.run("pseudo-label", self.root / "videos", "-o", self.root / output, *self.models, *options)

    def load(self, name: str) -> np.ndarray:
        return np.load(self.root / name, allow_pickle=False)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[object, ...]]:
    root = tmp_path_factory.mktemp("temporal")
    clip, clap = write_teachers(root / "models")
    (root / "videos").mkdir()
    for name, source, audio in (
        ("one", "testsrc2", "sine=f=300"), ("two", "mandelbrot", "anoisesrc=c=pink:seed=3"),
        ("three", "smptebars", "sine=f=900"),
    ):  # fmt: skip
        inputs = ("-f", "lavfi", "-i", f"{source}=s=96x64:r=8", "-f", "lavfi", "-i", f"{audio}:r=44100")
        coded = ("-t", 3, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac")
        ffmpeg(*inputs, *coded, root / "videos" / f"{name}.mp4")
    (root / "mine.toml").write_text(PROMPTS)
    llp = root / "llp"
    llp.mkdir()
    (llp / "labels.txt").write_text("\n".join(CLASSES))
    (llp / "AVVP_train.csv").write_text("filename\tevent_labels\none\tDog,Speech\nthree\tSpeech\n")
    (llp / "AVVP_val_pd.csv").write_text("filename\tevent_labels\ntwo\tDog\n")
    for modality, second in (("audio", 0), ("visual", 1)):
        rows = f"filename\tonset\toffset\tevent_labels\ntwo\t{second}\t{second + 1}\tDog\n"
        (llp / f"AVVP_eval_{modality}.csv").write_text(rows)
    database = {
        name: {"duration": 3, "subset": subset, "annotations": [{"segment": [0, 2], "label": label}]}
        for name, subset, label in (("one", "train", "barking"), ("two", "train", "skiing"), ("three", "val", "skiing"))
    }
    (root / "unav.json").write_text(json.dumps({"database": database}))
    return root, ("--clip-model", clip, "--clap-model", clap, "--offline")


@pytest.fixture
def place(prepared: tuple[Path, tuple[object, ...]], run: Callable[..., Result], tmp_path: Path) -> Place:
    root, models = prepared
    made = Place(tmp_path / "work", run)
    shutil.copytree(root, made.root, symlinks=True)
    made.models = models
    return made


@pytest.fixture
def teacher(prepared: tuple[Path, tuple[object, ...]], run: Callable[..., Result]) -> Path:
    """Train a teacher, once, on the features that pseudo-label saves, on other classes than those to label."""
    shared = Place(prepared[0], run)
    shared.models = prepared[1]
    root = shared.root
    if not (root / "teacher").exists():
        saved = shared.label("--no-weak-labels", "--save-features", "--prompts", root / "mine.toml", output="features")
        assert saved.status == 0, saved.err
        inputs = ("--annotations", root / "unav.json", "--features", root / "features")
        training = (*SETTINGS, "--epochs", 2, "--batch-size", 1, "-o", root / "teacher")
        trained = shared.run("train-teacher", *inputs, *shared.models, *training)
        assert trained.status == 0, trained.err
    return root / "teacher"


def test_labels_have_the_whole_clip_as_context(place: Place, teacher: Path) -> None:
    root, options = place.root, ("--annotations", place.root / "llp", "--prompts", place.root / "mine.toml")
    result = place.label(*options, "--teacher", teacher, "--calibrate", "dense", "--save-features")
    assert result.status == 0, result.err
    network = load_teacher(teacher / "best.safetensors").teacher
    assert network.config.labels == ("barking", "skiing")
    thresholds = read_prompts(root / "data/prompts.toml")
    weak = {"one": [True, True], "three": [False, True]}
    models = {"clip": str(place.models[1]), "clap": str(place.models[3])}
    texts = encode_prompts(read_prompts(root / "mine.toml"), **models, offline=True)
    whole = network.with_classes(CLASSES, torch.cat(texts, dim=1))
    for modality, name in TEACHERS.items():
        for clip in ("one", "two", "three"):
            features = torch.from_numpy(place.load(f"data/{name}/features/{clip}.npy"))
            with torch.inference_mode():
                expected = whole.score(modality, features[None])[0]
                alone = torch.cat([whole.score(modality, row[None, None])[0] for row in features])
            scores = place.load(f"data/{name}/scores/{clip}.npy")
            np.testing.assert_allclose(scores, expected, atol=1e-5)
            assert not np.allclose(scores, alone, atol=1e-5)
        scores = place.load(f"data/{name}/scores/two.npy")[:, 0]
        truth = np.arange(3) == (0 if modality == "audio" else 1)
        assert thresholds.thresholds(modality)[0] == best_threshold(scores, truth)
        for clip, has in weak.items():
            above = place.load(f"data/{name}/scores/{clip}.npy") > np.array(thresholds.thresholds(modality), np.float32)
            labels = place.load(f"data/{FOLDERS[modality].as_posix()}/{clip}.npy")
            np.testing.assert_array_equal(labels, above & has)
    record = json.loads((root / "data/pseudo_labels.json").read_text())
    assert record["teachers"]["temporal"] == "teacher"
    assert len(record["hashes"]["temporal"]) == 64


def test_scores_are_made_once_for_each_teacher(place: Place, teacher: Path) -> None:
    options = ("--no-weak-labels", "--prompts", place.root / "mine.toml")
    assert "3 done, 0 done before" in place.label(*options, "--teacher", teacher).err
    assert "0 done, 3 done before" in place.label(*options, "--teacher", teacher).err
    moved = place.root / "moved.safetensors"
    shutil.copy(teacher / "best.safetensors", moved)
    assert "0 done, 3 done before" in place.label(*options, "--teacher", moved).err
    changed = load_teacher(moved)
    with torch.no_grad():
        changed.teacher.audio_text.add_(1)
    moved.write_bytes(dump_checkpoint(changed.teacher, {}, {}))
    assert "3 done, 0 done before" in place.label(*options, "--teacher", moved).err
    assert "3 done, 0 done before" in place.label(*options).err  # CLIP and CLAP alone


def test_without_prompts_and_calibration_every_threshold_is_0(place: Place, teacher: Path) -> None:
    """VALOR's thresholds are of the logits of CLIP and CLAP."""
    (place.root / "weak.csv").write_text("filename,event_labels\none,Dog\n")
    result = place.label("--annotations", place.root / "weak.csv", "--teacher", teacher)
    assert result.status == 0, result.err
    assert "every threshold of the temporal teacher is 0" in result.err
    chosen = read_prompts(place.root / "data/prompts.toml")
    assert {*chosen.audio_thresholds, *chosen.visual_thresholds} == {0.0}
    labels, dog = place.load("data/CLIP/segment_pseudo_labels/one.npy"), chosen.labels.index("Dog")
    np.testing.assert_array_equal(labels[:, dog], place.load("data/CLIP/scores/one.npy")[:, dog] > 0)


def test_parsers_are_trained_on_the_labels_and_the_scores(place: Place, teacher: Path) -> None:
    weak = ("--annotations", place.root / "llp", "--prompts", place.root / "mine.toml")
    assert place.label(*weak, "--teacher", teacher, "--calibrate", "dense").status == 0
    rng = np.random.default_rng(0)
    for folder, width, rate in (("vggish", 128, 1), ("res152", 2048, 8), ("r2plus1d_18", 512, 1)):
        (place.root / "llp_features" / folder).mkdir(parents=True)
        for clip in ("one", "two", "three"):
            rows = rng.random((3 * rate, width), np.float32)
            np.save(place.root / "llp_features" / folder / f"{clip}.npy", rows)
    inputs = ("--annotations", place.root / "llp", "--features", place.root / "llp_features")
    small = ("--set", "model.hidden_dim=16", "--set", "model.heads=2", "--set", "model.feedforward_dim=16")
    for recipe in ("valor", "uwav"):  # UWAV's soft targets are made of scores and thresholds
        labels = ("--pseudo-labels", place.root / "data", "--recipe", recipe, *small, "--epochs", 1)
        result = place.run("train", *inputs, *labels, "-o", place.root / recipe)
        assert result.status == 0, result.err
        assert (place.root / recipe / "best.safetensors").exists()


def make_teacher(folder: Path, width: int = WIDTH) -> Path:
    torch.manual_seed(0)
    config = TeacherConfig(
        labels=("a",), audio_dim=width, visual_dim=WIDTH, hidden_dim=8, feedforward_dim=8, layers=1, heads=2, segments=4
    )
    path = folder / "best.safetensors"
    path.write_bytes(dump_checkpoint(TemporalTeacher(config, torch.randn(1, width + WIDTH)), {}, {}))
    return path


def test_files_that_are_no_teacher(tmp_path: Path) -> None:
    texts = torch.zeros(2, WIDTH), torch.zeros(2, WIDTH)
    with pytest.raises(SetupError, match=r"no temporal teacher, which avvp train-teacher makes: no best\.safetensors"):
        load_temporal(tmp_path, CLASSES, *texts)
    make_teacher(tmp_path, width=6)
    with pytest.raises(SetupError, match="reads 6 values of CLAP and 12 of CLIP, but these models give 12 and 12"):
        load_temporal(tmp_path, CLASSES, *texts)
    (tmp_path / "best.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(SetupError, match=r"best\.safetensors: cannot be used as a temporal teacher"):
        load_temporal(tmp_path, CLASSES, *texts)
    torch.save({"fc_prob.weight": torch.ones(2)}, tmp_path / "other.pt")
    with pytest.raises(SetupError, match=r"other\.pt: cannot be used as a temporal teacher"):
        load_temporal(tmp_path / "other.pt", CLASSES, *texts)
    (tmp_path / "best.safetensors").unlink()
    (tmp_path / "best.safetensors").symlink_to("/etc/hostname")
    with pytest.raises(SetupError, match=r"best\.safetensors"):
        load_temporal(tmp_path, CLASSES, *texts)


@needs_golden
def test_a_published_file_is_a_teacher(tmp_path: Path) -> None:
    torch.save(published_state(), tmp_path / "checkpoint_best.pt")
    texts = torch.zeros(2, 512), torch.zeros(2, 768)
    teacher, digest = load_temporal(tmp_path / "checkpoint_best.pt", CLASSES, *texts)
    assert (teacher.config.labels, teacher.config.hidden_dim, teacher.config.layers) == (CLASSES, 208, 2)
    assert len(digest) == 64


def test_long_clips_are_scored_in_windows(tmp_path: Path) -> None:
    """Windows of four seconds over seven: 0, 2 and 3; the logits are averaged."""
    texts = torch.randn(2, WIDTH), torch.randn(2, WIDTH)
    teacher, _ = load_temporal(make_teacher(tmp_path), CLASSES, *texts)
    features = np.random.default_rng(0).standard_normal((7, WIDTH)).astype(np.float32)
    sums, counts = np.zeros((7, 2)), np.zeros((7, 1))
    for start in (0, 2, 3):
        with torch.inference_mode():
            window = teacher.score("audio", torch.from_numpy(features[None, start : start + 4]))
        sums[start : start + 4] += window[0].numpy()
        counts[start : start + 4] += 1
    found = score_modality(teacher, "audio", features, torch.device("cpu"))
    np.testing.assert_allclose(found, sums / counts, atol=1e-5)


def test_sentences_are_made_of_names() -> None:
    prompts = name_prompts(["Baby_cry", "skiing"])
    assert prompts.visual_prompts == ("A photo of Baby cry.", "A photo of skiing.")
    assert prompts.audio_prompts == ("This is a sound of Baby cry", "This is a sound of skiing")
