"""Pseudo labels from end to end: inputs of the teachers, their scores, labels, and the command."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.extractors.clap_keys import convert_clap
from avvp.extractors.clap_mel import RATE, clap_mel
from avvp.extractors.clip import fold_quick_gelu
from avvp.extractors.inputs import CLAP_MEL, CLIP_FRAME
from avvp.extractors.resize import interpolate
from avvp.pipeline.batch.task import ComputeSettings
from avvp.pipeline.datasets.pseudo_labels import FOLDERS, check_record
from avvp.pipeline.decode.jpeg_frames import JpegFrames
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.errors import OutputError
from avvp.pipeline.preprocess.teacher_inputs import TeacherInputs
from avvp.pipeline.pseudo_labeling import write_labels
from avvp.pipeline.pseudo_labeling.calibrate import best_threshold
from avvp.pipeline.pseudo_labeling.prompts import Prompts, parse_prompts, read_prompts
from avvp.pipeline.pseudo_labeling.task import PseudoLabelTask
from avvp.pipeline.pseudo_labeling.threshold_scores import LabelingConfig
from avvp.weights.errors import WeightsError
from avvp.weights.load import read_state_dict
from support.command import Result
from support.media import Clips, ffmpeg
from support.teachers import CLASSES, PROMPTS, small_clap, small_clip, write_teachers

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of a tiny CLIP and a tiny CLAP with random parameters."""
    return write_teachers(tmp_path_factory.mktemp("teachers"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of three seconds with different frames and audio, and one without audio."""
    folder = tmp_path_factory.mktemp("videos")
    for name, source, audio in (("one", "testsrc2", "sine=f=300"), ("two", "mandelbrot", "anoisesrc=c=pink:seed=3")):
        inputs = ("-f", "lavfi", "-i", f"{source}=s=160x120:r=16", "-f", "lavfi", "-i", f"{audio}:r=44100")
        ffmpeg(*inputs, "-t", 3, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", folder / f"{name}.mp4")
    ffmpeg("-f", "lavfi", "-i", "testsrc=s=160x120:r=16", "-t", 2, "-pix_fmt", "yuv420p", folder / "mute.mp4")
    return folder


@pytest.mark.parametrize("size", [(120, 160), (500, 333), (224, 224), (31, 700)])
def test_frames_are_resized_as_torch_does(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    tensor = torch.from_numpy(frame).permute(2, 0, 1)[None].float() / 255
    expected = torch.nn.functional.interpolate(
        tensor, (224, 224), mode="bilinear", align_corners=False, antialias=False
    )
    np.testing.assert_allclose(interpolate(frame, 224), expected[0].permute(1, 2, 0), atol=5e-5)


@pytest.mark.parametrize("length", [48_000, 47_999, 150_001, 480_000, 1])
def test_spectrograms_equal_those_of_transformers(length: int) -> None:
    audio = (0.5 * np.random.default_rng(1).standard_normal(length)).astype(np.float32)
    extractor = transformers.ClapFeatureExtractor(frequency_min=50, truncation="fusion", padding="repeatpad")
    expected = extractor(audio, sampling_rate=RATE, return_tensors="np")["input_features"][0]
    assert expected.shape == (4, 1001, 64)
    np.testing.assert_allclose(clap_mel(audio), expected[0], atol=2e-3)
    np.testing.assert_array_equal(expected[0], expected[3])


def test_frames_and_chunks_are_the_published_ones(clips: Clips, tmp_path: Path) -> None:
    """Each frame shows its number; the audio is louder in each second."""
    clip = tmp_path / "stairs.mp4"
    stairs = "aevalsrc='0.1*(1+floor(t))*sin(2*PI*1000*t)':s=48000:d=3"
    streams = ("-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "flac", "-strict", "-2")
    ffmpeg("-i", clips.steady, "-f", "lavfi", "-i", stairs, *streams, clip)
    inputs = TeacherInputs(clip, [CLAP_MEL, CLIP_FRAME])
    reduced: dict[str, list[np.ndarray]] = {"audio": [], "visual_2d": []}
    for stream, batch in inputs:
        reduced[stream] += [*batch]
    assert inputs.summary.rows == {"audio": [0, 1, 2], "visual_2d": [0, 1, 2]}
    frames = JpegFrames(probe(clip))
    indices = np.round(np.linspace(0, len(frames) - 1, 3)).astype(int)
    for index, frame in zip(indices, reduced["visual_2d"], strict=True):
        np.testing.assert_array_equal(frame, CLIP_FRAME.reduce(frames.read([index]))[0])
    frames.close()
    loudest = [float(np.median(table.max(axis=1))) for table in reduced["audio"]]
    steps = np.diff(loudest)
    np.testing.assert_allclose(steps, [20 * np.log10(2), 20 * np.log10(1.5)], atol=0.3)


def test_a_short_stream_keeps_its_timing(tmp_path: Path) -> None:
    clip = tmp_path / "short.mkv"
    sources = ("-f", "lavfi", "-i", "testsrc=s=64x64:r=8", "-f", "lavfi", "-i", "sine=f=500:r=48000")
    coded = ("-t", 6, "-af", "atrim=0:2", "-c:v", "libx264", "-c:a", "flac")
    ffmpeg(*sources, "-map", "0:v", "-map", "1:a", *coded, clip)
    inputs = TeacherInputs(clip, [CLAP_MEL])
    peaks = [batch[0].max() for _, batch in inputs]
    assert len(peaks) == 6
    assert min(peaks[:2]) > 0
    assert max(peaks[2:]) == -100
    assert any("no audio after" in warning for warning in inputs.summary.warnings)


def laion_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename transformers' parameters as in LAION's file, the inverse of transformers' conversion script."""
    made: dict[str, torch.Tensor] = {}
    pieces = (
        ("attention.output.dense", "attn.proj"), ("attention.self.relative", "attn.relative"),
        ("intermediate.dense", "mlp.fc1"), ("output.dense", "mlp.fc2"), ("layernorm_before", "norm1"),
        ("layernorm_after", "norm2"), ("batch_norm", "bn0"),
    )  # fmt: skip
    for key, tensor in state.items():
        if key.startswith("text_model."):
            made["text_branch." + key.removeprefix("text_model.")] = tensor
        elif key.startswith("audio_model."):
            name = "audio_branch." + key.removeprefix("audio_model.audio_encoder.")
            for port, laion in pieces:
                name = name.replace(port, laion)
            if ".attention.self.query." in name:
                parts = [state[key.replace("query", part)] for part in ("query", "key", "value")]
                made[name.replace("attention.self.query", "attn.qkv")] = torch.cat(parts)
            elif ".attention.self." not in name:
                made[name] = tensor
        elif "_projection." in key:
            made[key.replace("linear1", "0").replace("linear2", "2")] = tensor
        else:
            made[key] = tensor
    extra = {"audio_branch.logmel_extractor.melW": torch.zeros(2), "text_transform.sequential.0.weight": torch.zeros(1)}
    return {f"module.{key}": tensor for key, tensor in {**made, **extra}.items()}


def test_folding_quick_gelu_keeps_the_features_of_clip() -> None:
    model = small_clip()
    with torch.no_grad():
        for block in model.vision_model.encoder.layers:
            for parameter in block.mlp.parameters():  # values at which the activation is not nearly linear
                parameter.copy_(torch.randn_like(parameter))
    images = torch.randn(5, 3, 224, 224)
    with torch.inference_mode():
        expected = model.vision_model(pixel_values=images).last_hidden_state
        fold_quick_gelu(model.vision_model)
        folded = model.vision_model(pixel_values=images).last_hidden_state
    assert expected.std() > 0.5
    torch.testing.assert_close(folded, expected, rtol=1e-5, atol=1e-5)
    assert all(isinstance(block.mlp.activation_fn, torch.nn.SiLU) for block in model.vision_model.encoder.layers)


def test_folding_leaves_another_activation_as_it_is() -> None:
    model = small_clip()
    model.vision_model.config.hidden_act = "gelu"
    before = {name: parameter.clone() for name, parameter in model.vision_model.named_parameters()}
    fold_quick_gelu(model.vision_model)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.vision_model.named_parameters())


@pytest.mark.parametrize(
    ("batch_size", "device", "inputs"), [(None, "cpu", 4), (None, "cuda", 64), (7, "cpu", 7), (7, "cuda", 7)]
)
def test_a_batch_holds_an_input_for_each_second(batch_size: int | None, device: str, inputs: int) -> None:
    settings = ComputeSettings(DecodeOptions(), batch_size=batch_size)
    task = PseudoLabelTask(settings=settings, config=LabelingConfig(prompts=read_prompts()))
    assert task.batch_sizes(torch.device(device)) == {"audio": inputs, "visual_2d": inputs}


def test_laion_parameters_become_those_of_transformers() -> None:
    state = small_clap().state_dict()
    converted = convert_clap(laion_names(state))
    expected = {key for key in state if "position_ids" not in key}
    assert converted.keys() - {"text_model.embeddings.token_type_ids"} == expected - {
        "text_model.embeddings.token_type_ids"
    }
    for key in expected & converted.keys():
        torch.testing.assert_close(converted[key], state[key])


def plain_scores(teachers: tuple[Path, Path], video: Path, prompts: Prompts) -> dict[str, np.ndarray]:
    """Score one segment at a time with the libraries' own processors, as the published program does."""
    clip = transformers.CLIPModel.from_pretrained(teachers[0]).eval()
    clap = transformers.ClapModel.from_pretrained(teachers[1]).eval()
    tokenizers = [transformers.AutoTokenizer.from_pretrained(folder) for folder in teachers]
    extractor = transformers.ClapFeatureExtractor(frequency_min=50, truncation="fusion", padding="repeatpad")
    frames = JpegFrames(probe(video))
    raw = video.with_suffix(".f32")
    ffmpeg("-i", video, "-f", "f32le", "-ac", 1, "-ar", RATE, raw)
    audio, segments = np.fromfile(raw, "<f4"), 3
    chunk = len(audio) // segments
    mean, std = (
        torch.tensor(v)[:, None, None]
        for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    visual_rows, audio_rows = [], []
    with torch.no_grad():
        for segment, index in enumerate(np.round(np.linspace(0, len(frames) - 1, segments)).astype(int)):
            tensor = torch.from_numpy(frames.read([index])[0]).permute(2, 0, 1)[None].float() / 255
            small = torch.nn.functional.interpolate(tensor, (224, 224), mode="bilinear", align_corners=False)
            tokens = tokenizers[0](list(prompts.visual_prompts), padding=True, return_tensors="pt")
            tokens.pop("token_type_ids", None)
            visual_rows.append(clip(pixel_values=(small - mean) / std, **tokens).logits_per_image[0])
            mel = extractor(audio[segment * chunk : (segment + 1) * chunk], sampling_rate=RATE, return_tensors="pt")
            tokens = tokenizers[1](
                list(prompts.audio_prompts), padding="max_length", truncation=True, max_length=77, return_tensors="pt"
            )
            tokens.pop("token_type_ids", None)
            features = mel["input_features"]
            audio_rows.append(
                clap(input_features=features, is_longer=torch.zeros(1, 1, dtype=torch.bool), **tokens).logits_per_audio[
                    0
                ]
            )
    frames.close()
    return {"visual": torch.stack(visual_rows).numpy(), "audio": torch.stack(audio_rows).numpy()}


@pytest.fixture
def labelled(
    run: Callable[..., Result], teachers: tuple[Path, Path], videos: Path, tmp_path: Path
) -> Iterator[Callable[..., Result]]:
    (tmp_path / "mine.toml").write_text(PROMPTS)
    (tmp_path / "weak.csv").write_text('filename,event_labels\none.mp4,Dog\ntwo,"Dog,Speech"\nmute,Speech\n')

    def call(*options: object, output: str = "data", videos: Path = videos) -> Result:
        models = ("--clip-model", teachers[0], "--clap-model", teachers[1], "--offline", "--device", "cpu")
        common = (videos, "--prompts", tmp_path / "mine.toml", "-o", tmp_path / output)
        return run("pseudo-label", *common, *models, *options)

    yield call


def load(folder: Path, place: str) -> np.ndarray:
    return np.load(folder / place, allow_pickle=False)


def test_labels_are_those_of_a_plain_loop(
    labelled: Callable[..., Result], teachers: tuple[Path, Path], videos: Path, tmp_path: Path
) -> None:
    result = labelled("--annotations", tmp_path / "weak.csv", "--save-features")
    assert result.status == 0, result.err
    assert "3 clips have pseudo labels" in result.err
    prompts, data = parse_prompts(PROMPTS.encode(), "x"), tmp_path / "data"
    weak = {"one": [True, False], "two": [True, True]}
    for name, has in weak.items():
        expected = plain_scores(teachers, videos / f"{name}.mp4", prompts)
        for modality, teacher in (("visual", "CLIP"), ("audio", "CLAP")):
            scores = load(data, f"{teacher}/scores/{name}.npy")
            np.testing.assert_allclose(scores, expected[modality], atol=2e-3)
            labels = load(data, f"{FOLDERS[modality].as_posix()}/{name}.npy")
            assert labels.dtype == np.uint8
            above = scores > np.array(prompts.thresholds(modality), np.float32)
            np.testing.assert_array_equal(labels, above & has)
            features = load(data, f"{teacher}/features/{name}.npy")
            assert features.shape == (3, 12)
            np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)
    assert not load(data, "CLAP/segment_pseudo_labels/mute.npy").any()  # it has no audio
    assert load(data, "CLIP/segment_pseudo_labels/mute.npy").shape == (2, 2)
    card = json.loads((data / "pseudo_labels.json").read_text())
    assert card["clips"] == 3
    assert card["weak_labels"] is True
    assert card["prompts"]["labels"] == list(CLASSES)


def test_thresholds_are_strict_and_changed_in_seconds(labelled: Callable[..., Result], tmp_path: Path) -> None:
    """A second run decodes nothing; a score that equals its threshold is no label."""
    assert labelled("--annotations", tmp_path / "weak.csv").status == 0
    data = tmp_path / "data"
    score = float(load(data, "CLIP/scores/two.npy")[1, 0])
    before = (data / "CLIP/scores/two.npy").stat().st_mtime_ns
    (tmp_path / "mine.toml").write_text(PROMPTS.replace("seen_threshold = 0.5", f"seen_threshold = {score!r}"))
    again = labelled("--annotations", tmp_path / "weak.csv")
    assert "0 done, 3 done before" in again.err
    labels = load(data, "CLIP/segment_pseudo_labels/two.npy")[:, 0]
    np.testing.assert_array_equal(labels, load(data, "CLIP/scores/two.npy")[:, 0] > np.float32(score))
    assert not labels[1]
    assert (data / "CLIP/scores/two.npy").stat().st_mtime_ns == before
    (tmp_path / "mine.toml").write_text(PROMPTS.replace("A photo of a dog.", "A picture of a dog."))
    assert "3 done, 0 done before" in labelled("--annotations", tmp_path / "weak.csv").err


def test_without_weak_labels(labelled: Callable[..., Result], tmp_path: Path) -> None:
    result = labelled("--no-weak-labels", "--review", "2")
    assert result.status == 0, result.err
    assert "expect many wrong ones" in result.err
    scores = load(tmp_path / "data", "CLIP/scores/one.npy")
    expected = scores > np.array([0.5, -1], np.float32)
    np.testing.assert_array_equal(load(tmp_path / "data", "CLIP/segment_pseudo_labels/one.npy"), expected)
    pages = sorted(path.name for path in (tmp_path / "data/review").iterdir())
    assert len(pages) == 3
    assert "index.html" in pages
    assert "expect many wrong ones" in (tmp_path / "data/pseudo_labels.json").read_text()


def write_annotations_folder(folder: Path) -> None:
    folder.mkdir()
    (folder / "labels.txt").write_text("Dog\nSpeech\n")
    (folder / "AVVP_train.csv").write_text("filename\tevent_labels\none\tDog,Speech\n")
    (folder / "AVVP_val_pd.csv").write_text("filename\tevent_labels\ntwo\tDog\n")
    (folder / "AVVP_eval_audio.csv").write_text("filename\tonset\toffset\tevent_labels\ntwo\t0\t1\tDog\n")
    (folder / "AVVP_eval_visual.csv").write_text("filename\tonset\toffset\tevent_labels\ntwo\t1\t3\tDog\n")


def test_only_the_requested_split_is_labelled(labelled: Callable[..., Result], tmp_path: Path) -> None:
    """Labels of val and test use the ground truth: they are made only for --split."""
    write_annotations_folder(tmp_path / "llp")
    result = labelled("--annotations", tmp_path / "llp")
    assert result.status == 0, result.err
    assert "2 videos (mute, two) not among the annotated clips: left out" in result.err
    assert [path.stem for path in (tmp_path / "data" / FOLDERS["audio"]).iterdir()] == ["one"]
    assert labelled("--annotations", tmp_path / "llp", "--split", "val", output="val").status == 0
    assert [path.stem for path in (tmp_path / "val" / FOLDERS["audio"]).iterdir()] == ["two"]


def test_videos_with_suffixes_fit_clips_without(labelled: Callable[..., Result], videos: Path, tmp_path: Path) -> None:
    result = labelled("--annotations", tmp_path / "weak.csv", "--keep-suffix")
    assert result.status == 0, result.err
    made = {path.stem for path in (tmp_path / "data" / FOLDERS["audio"]).iterdir()}
    assert made == {"one.mp4", "two.mp4", "mute.mp4"}
    assert "0 done, 3 done before" in labelled("--annotations", tmp_path / "weak.csv", "--keep-suffix").err
    shutil.copytree(videos, tmp_path / "more")
    shutil.copy(videos / "two.mp4", tmp_path / "more/two.mkv")
    clash = labelled("--annotations", tmp_path / "weak.csv", "--keep-suffix", videos=tmp_path / "more")
    assert (clash.status, "two.mkv and two.mp4: both names fit the clip two" in clash.err) == (2, True)


def test_missing_videos_of_a_list_fail_alone(labelled: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("gone.mp4\n")
    result = labelled("--annotations", tmp_path / "weak.csv", "--list", tmp_path / "list.txt")
    assert (result.status, "1 failed; causes: 1 missing\nError: gone.mp4: no such file" in result.err) == (1, True)
    assert len(list((tmp_path / "data" / FOLDERS["audio"]).iterdir())) == 3


def test_dense_labels_of_none_of_the_videos(labelled: Callable[..., Result], videos: Path, tmp_path: Path) -> None:
    write_annotations_folder(tmp_path / "llp")
    result = labelled("--annotations", tmp_path / "llp", "--calibrate", "dense", videos=videos / "one.mp4")
    assert result.status == 2
    assert "none of the videos is a clip of the validation split" in result.err


def test_thresholds_by_a_few_dense_labels(labelled: Callable[..., Result], tmp_path: Path) -> None:
    """Clip two of val is scored only to choose thresholds; Speech, never active in it, keeps its thresholds."""
    write_annotations_folder(tmp_path / "llp")
    result = labelled("--annotations", tmp_path / "llp", "--calibrate", "dense")
    assert result.status == 0, result.err
    assert "1 clips have pseudo labels; 1 others have scores alone" in result.err
    data = tmp_path / "data"
    chosen = read_prompts(data / "prompts.toml")
    scores = load(data, "CLIP/scores/two.npy")[:, 0]
    assert chosen.visual_thresholds[0] == best_threshold(scores, np.array([False, True, True]), 0)
    assert (chosen.visual_thresholds[1], chosen.audio_thresholds[1]) == (-1, 0.1)
    assert not (data / FOLDERS["visual"] / "two.npy").exists()
    assert labelled("--annotations", tmp_path / "weak.csv", "--calibrate", "distribution").status == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "name the classes of the videos with --annotations, or say --no-weak-labels"),
        (("--annotations", "{weak}", "--no-weak-labels"), "or say --no-weak-labels"),
        (("--annotations", "{weak}", "--split", "val"), "--split goes with --annotations FOLDER"),
        (("--annotations", "{weak}", "--calibrate", "dense"), "needs --annotations FOLDER"),
        (("--no-weak-labels", "--prompts", "{weak}"), "not a TOML file of prompts"),
        (
            ("--no-weak-labels", "--clip-model", "nobody/nothing"),
            "download it without --offline",
        ),
        (("--no-weak-labels", "--clap-model", "nobody/nothing/x.pt"), "nobody/nothing/x.pt: not found (x.pt)"),
        (("--no-weak-labels", "--clap-model", "x.pt"), "x.pt: no such file, and not OWNER/REPOSITORY/FILE"),
        (("--annotations", "{val}"), "pass its folder and --split"),
    ],
)
def test_wrong_usage_is_reported(
    labelled: Callable[..., Result], tmp_path: Path, options: tuple[str, ...], said: str
) -> None:
    (tmp_path / "AVVP_val_pd.csv").touch()
    result = labelled(
        *(option.format(weak=tmp_path / "weak.csv", val=tmp_path / "AVVP_val_pd.csv") for option in options)
    )
    assert result.status == 2
    assert said in result.err


def test_files_of_others_are_kept(labelled: Callable[..., Result], tmp_path: Path) -> None:
    """Foreign labels, tables and prompts are refused; files that this command wrote are replaced."""
    weak = ("--annotations", tmp_path / "weak.csv")
    for output, place in (
        ("a", "CLIP/segment_pseudo_labels/one.npy"), ("b", "AVVP_train.csv"), ("c", "prompts.toml"),
        ("d", "labels.txt"),
    ):  # fmt: skip
        path = tmp_path / output / place
        path.parent.mkdir(parents=True)
        path.write_text("somebody's")
        refused = labelled(*weak, output=output)
        assert refused.status == 2, place
        assert "was not written by avvp pseudo-label" in refused.err
        assert path.read_text() == "somebody's"
    assert labelled(*weak).status == 0
    assert labelled(*weak).status == 0
    (tmp_path / "data" / "AVVP_train.csv").write_text("corrected by hand")
    assert "AVVP_train.csv: was not written by avvp pseudo-label" in labelled(*weak).err
    assert labelled(*weak, "--overwrite").status == 0


def test_labels_of_dropped_clips_are_removed(labelled: Callable[..., Result], tmp_path: Path) -> None:
    weak = ("--annotations", tmp_path / "weak.csv")
    assert labelled(*weak).status == 0
    (tmp_path / "weak.csv").write_text("filename,event_labels\ntwo,Dog\n")
    assert labelled(*weak).status == 0
    assert [path.stem for path in (tmp_path / "data" / FOLDERS["audio"]).iterdir()] == ["two"]
    assert (tmp_path / "data" / "CLAP/scores/one.npy").exists()
    assert (tmp_path / "data" / "AVVP_train.csv").read_text() == "filename\tevent_labels\ntwo\tDog\n"


def test_a_review_after_another_split(labelled: Callable[..., Result], tmp_path: Path) -> None:
    """The folder has scores of a clip without labels."""
    write_annotations_folder(tmp_path / "llp")
    common = ("--annotations", tmp_path / "llp")
    assert labelled(*common, "--split", "train", "--split", "val").status == 0
    assert labelled(*common, "--calibrate", "dense", "--review", "4").status == 0
    assert sorted(path.name for path in (tmp_path / "data/review").iterdir()) == ["index.html", "one.html"]


def contents(folder: Path) -> dict[str, bytes]:
    """Read labels, tables and prompts; not scores and journal."""
    paths = [*folder.glob("*/segment_pseudo_labels/*"), *folder.glob("*.csv"), *folder.glob("*.t*")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize("last", ["save_table", "write_record"])
def test_interrupted_labels_are_finished_by_the_next_run(
    labelled: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    """The disk is full at the first label, or when only the record is missing; twice, with other prompts in between."""
    weak = ("--annotations", tmp_path / "weak.csv")

    def full(*_: object) -> None:
        raise OutputError("data: no space left on device")

    for prompts in (PROMPTS, PROMPTS.replace("= 0.1", "= 0.2")):
        (tmp_path / "mine.toml").write_text(prompts)
        with monkeypatch.context() as patched:
            patched.setattr(write_labels, last, full)
            assert labelled(*weak).status == 1
        assert "did not finish" in check_record(tmp_path / "data", CLASSES)[0]
    (tmp_path / "mine.toml").write_text(PROMPTS)
    finished = labelled(*weak)
    assert finished.status == 0, finished.err
    assert "0 done, 3 done before" in finished.err
    assert check_record(tmp_path / "data", CLASSES) == []
    assert labelled(*weak, output="whole").status == 0
    assert contents(tmp_path / "data") == contents(tmp_path / "whole")


def test_columns_are_those_of_the_annotations(labelled: Callable[..., Result], tmp_path: Path) -> None:
    """The prompts have another order, and a class that the annotations lack."""
    write_annotations_folder(tmp_path / "llp")
    dog, speech = (f"[[class]]{part}" for part in PROMPTS.split("[[class]]")[1:])
    assert labelled("--annotations", tmp_path / "llp").status == 0
    (tmp_path / "mine.toml").write_text(speech + dog + dog.replace('"Dog"', '"Cow"'))
    other = labelled("--annotations", tmp_path / "llp", output="other")
    assert other.status == 0, other.err
    assert "1 class (Cow) of the prompts not in" in other.err
    assert contents(tmp_path / "other") == contents(tmp_path / "data")
    (tmp_path / "mine.toml").write_text(dog)
    assert "no prompt for the class Speech" in labelled("--annotations", tmp_path / "llp").err


def test_one_folder_after_another(labelled: Callable[..., Result], videos: Path, tmp_path: Path) -> None:
    """Clips that were scored before keep their labels, with weak labels and without."""
    for options in (("--annotations", tmp_path / "weak.csv"), ("--no-weak-labels",)):
        output = options[0].strip("-")
        for name in ("one", "two"):
            assert labelled(*options, output=output, videos=videos / f"{name}.mp4").status == 0
        assert {path.stem for path in (tmp_path / output / FOLDERS["audio"]).iterdir()} == {"one", "two"}
        table = (tmp_path / output / "AVVP_train.csv").read_text()
        assert [line.split("\t")[0] for line in table.splitlines()] == ["filename", "one", "two"]


def test_a_table_again_after_a_folder(labelled: Callable[..., Result], tmp_path: Path) -> None:
    write_annotations_folder(tmp_path / "llp")
    for source in ("weak.csv", "llp", "weak.csv"):
        result = labelled("--annotations", tmp_path / source)
        assert result.status == 0, result.err
        table = tmp_path / "data" / "AVVP_train.csv"
        assert table.exists() == (source != "llp")  # it would list clips that have no labels
    card = json.loads((tmp_path / "data" / "pseudo_labels.json").read_text())
    assert card["origin"] == {"annotations": "weak.csv"}
    before = contents(tmp_path / "data")
    assert labelled("--annotations", tmp_path / "data").status == 0  # its own tables are the input
    assert contents(tmp_path / "data") == before


def test_clips_of_val_are_not_in_the_training_split(labelled: Callable[..., Result], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "AVVP_val_pd.csv").write_text("event_labels\tfilename\nDog\tone_0_10\nDog\ttwo_a\n")
    result = labelled("--annotations", tmp_path / "weak.csv")
    assert result.status == 0, result.err
    assert "1 clip (one) of val or test: not in AVVP_train.csv" in result.err
    assert (data / "AVVP_train.csv").read_text() == "filename\tevent_labels\nmute\tSpeech\ntwo\tDog,Speech\n"


def test_labels_of_outdated_scores_are_removed(labelled: Callable[..., Result], videos: Path, tmp_path: Path) -> None:
    weak = ("--annotations", tmp_path / "weak.csv")
    assert labelled(*weak, videos=videos / "one.mp4").status == 0
    (tmp_path / "mine.toml").write_text(PROMPTS.replace("A photo of a dog.", "A picture of a dog."))
    result = labelled(*weak, videos=videos / "two.mp4")
    assert "labels of 1 clip (one) were removed: their scores are from other teachers or prompts" in result.err
    (tmp_path / "weak.csv").write_text("filename,event_labels\none,Dog\n")
    result = labelled(*weak)
    assert "labels of 1 clip (two) were removed: no longer in the annotations" in result.err


def test_a_malformed_record_counts_as_foreign(labelled: Callable[..., Result], tmp_path: Path) -> None:
    assert labelled("--no-weak-labels").status == 0
    for record in ('{"wrote": []}', '{"wrote": {"prompts.toml": null}}', '{"labelled": null}', '{"review": 1}', "[]"):
        (tmp_path / "data" / "pseudo_labels.json").write_text(record)
        result = labelled("--no-weak-labels", "--review", "1")
        assert result.status == 2
        assert "was not written by avvp pseudo-label" in result.err


def test_names_that_a_table_cannot_hold(labelled: Callable[..., Result], videos: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for name, said in (("new\nline", r"'new\nline'"), (os.fsdecode(b"bad\xff"), r"'bad\udcff'")):
        path = odd / f"{name}.mp4"
        shutil.copy(videos / "mute.mp4", path)
        result = labelled("--no-weak-labels", videos=odd)
        assert result.status == 2
        assert f"a clip of a data set cannot be called {said}; rename the file" in result.err
        path.unlink()


def test_a_review_replaces_only_its_own_pages(labelled: Callable[..., Result], tmp_path: Path) -> None:
    review = tmp_path / "data" / "review"
    assert labelled("--no-weak-labels", "--review", "3").status == 0
    assert len(list(review.iterdir())) == 4
    assert labelled("--no-weak-labels", "--review", "1").status == 0
    assert len(list(review.iterdir())) == 2
    (review / "mine.html").write_text("somebody's")
    refused = labelled("--no-weak-labels", "--review", "2")
    assert refused.status == 2
    assert "review/mine.html: was not written by avvp pseudo-label" in refused.err
    shutil.rmtree(review)
    review.touch()
    assert "review" in labelled("--no-weak-labels", "--review", "2").err


def test_all_missing_files_are_named(run: Callable[..., Result], videos: Path, tmp_path: Path) -> None:
    result = run("pseudo-label", videos, "--no-weak-labels", "-o", tmp_path / "data", "--offline")
    assert result.status == 2
    for name in (
        "lukewys/laion_clap/630k-fusion-best.pt: not found",
        "roberta-base: not found",
        "large-patch14: not found",
    ):
        assert name in result.err


def test_without_network_the_command_fails_at_once(
    run: Callable[..., Result], videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", None)  # between the retries of transformers
    result = run("pseudo-label", videos, "--no-weak-labels", "-o", tmp_path / "data")
    assert result.status == 2
    assert result.err.count("http://127.0.0.1:9 cannot be reached (ConnectionError)") == 3


def test_unusable_models_are_refused(
    labelled: Callable[..., Result], teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    """transformers would initialize missing parameters at random."""
    swapped = labelled("--no-weak-labels", "--clip-model", teachers[1])
    assert swapped.status == 2
    assert f"{teachers[1]}" in swapped.err
    torn = tmp_path / "torn"
    shutil.copytree(teachers[0], torn)
    weights = torn / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert "torn: cannot be loaded" in labelled("--no-weak-labels", "--clip-model", torn).err
    (tmp_path / "mine.toml").write_text(PROMPTS.replace("A photo of a dog.", "A photo of a dog. " * 9))
    assert "takes at most 77 tokens" in labelled("--no-weak-labels").err


def test_other_files_of_a_teacher_are_another_teacher(
    labelled: Callable[..., Result], teachers: tuple[Path, Path], tmp_path: Path
) -> None:
    """The same files elsewhere are the same teacher; CLAP's scores do not depend on CLIP's files."""
    moved = tmp_path / "moved"
    shutil.copytree(teachers[0], moved)
    assert labelled("--no-weak-labels").status == 0
    assert "0 done, 3 done before" in labelled("--no-weak-labels", "--clip-model", moved).err
    written = (tmp_path / "data" / "CLAP/scores/one.npy").stat().st_mtime_ns
    model = transformers.CLIPModel.from_pretrained(moved)
    with torch.no_grad():
        model.visual_projection.weight.mul_(-1)
    model.save_pretrained(moved)
    assert "3 done, 0 done before" in labelled("--no-weak-labels", "--clip-model", moved).err
    assert (tmp_path / "data" / "CLAP/scores/one.npy").stat().st_mtime_ns == written


def test_a_training_checkpoint_is_read_without_running_code(tmp_path: Path) -> None:
    """LAION's file has NumPy scalars beside the parameters."""
    state = {"a": torch.ones(2)}
    torch.save({"epoch": 3, "best": np.float64(0.5), "state_dict": state}, tmp_path / "run.pt")
    torch.testing.assert_close(read_state_dict(tmp_path / "run.pt"), state)
    torch.save({"state_dict": state, "code": print}, tmp_path / "code.pt")
    with pytest.raises(WeightsError, match=r"code\.pt"):
        read_state_dict(tmp_path / "code.pt")
