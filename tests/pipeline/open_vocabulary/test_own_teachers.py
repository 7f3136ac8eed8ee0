"""Open bundles of networks of this program, end to end: tiny ones from files, with tokens from files."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.extractors.profiles import get_profile
from avvp.extractors.registry import extractor_shapes
from avvp.extractors.texts.registry import TEXT_MODELS, is_of_text
from avvp.pipeline.features.extract import extract_features
from avvp.pipeline.inference import open_network
from avvp.pipeline.inference.bundle import load_networks
from avvp.pipeline.open_vocabulary.open_bundle import with_classes
from avvp.weights.manifest import list_bundles
from avvp.weights.remote.bundles import load_bundle
from avvp.weights.untrained import untrained_state
from safetensors.torch import save_file
from support.command import Result
from support.stand_in_teachers import make_film
from support.text_models import write_byte_tokens

Run = Callable[..., Result]
# Profile, extractors of sounds and of pictures, and whether one file has both.
BUNDLES = {
    "clip-clap": ("clap_tiny", "clip_tiny", False),
    "clip-clap-unfused": ("clap_unfused_tiny", "clip_tiny", False),
    "pe-av": ("pe_av_audio_tiny", "pe_av_video_tiny", True),
}
MARKS = {"clap": (0, 2), "clip": (49_406, 49_407), "pe": (50_281, 50_282)}
CLASSES = ("--classes", "red, low tone, dog barking", "--rule", "fixed")


def published(name: str) -> dict[str, torch.Tensor]:
    """Random parameters of an extractor and of its text model, under the keys of a published file."""
    text = untrained_state(TEXT_MODELS[name].shapes(), 8)
    kind = "audio" if "audio" in name else "video"
    head = f"{kind}_model.text_{kind}_head."
    renamed = {head + key if name.startswith("pe") and "." in key and key[:4] != "text" else key: value
               for key, value in text.items()}  # fmt: skip
    return untrained_state(extractor_shapes(name), 8) | renamed


def write_bundle(folder: Path, profile: str) -> Path:
    audio, visual, together = BUNDLES[profile]
    folder.mkdir()
    states: Mapping[str, dict[str, torch.Tensor]] = {name: published(name) for name in (audio, visual)}
    files = dict.fromkeys(states, "both.safetensors") if together else {name: f"{name}.safetensors" for name in states}
    for name, file in files.items():
        save_file({**states[audio], **states[visual]} if together else states[name], folder / file)
        write_byte_tokens(folder / f"{name}.json", MARKS[name.split("_")[0]])
    extractors = ", ".join(f'{name} = "{file}"' for name, file in files.items())
    texts = ", ".join(f'{name} = "{name}.json"' for name in files)
    (folder / "bundle.toml").write_text(
        f'profile = "{profile}"\nextractors = {{ {extractors} }}\ntexts = {{ {texts} }}\nparser = {{}}\n'
    )
    return folder


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    scenes = [("red", "low tone", 3), (None, None, 2), ("blue", "high tone", 2)]
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", scenes)


@pytest.fixture(scope="module", params=BUNDLES)
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles") / request.param, request.param)


def test_a_film_is_parsed_for_classes_by_their_names(run: Run, bundle: Path, film: Path, tmp_path: Path) -> None:
    result = run("parse", film, "--weights", bundle, *CLASSES, "--segments", "-o", tmp_path / "e.json")
    assert result.status == 0, result.err
    found = json.loads((tmp_path / "e.json").read_text())
    assert found["labels"] == ["red", "low tone", "dog barking"]
    scores = np.array(found["segments"]["visual"])
    assert scores.shape == (7, 3)
    within, between = np.abs(scores[:3] - scores[0]).max(), np.abs(scores[0] - scores[6]).max()
    assert within < between / 5 < between  # scenes differ


def test_features_have_a_row_of_length_one_a_second(bundle: Path, film: Path) -> None:
    assert get_profile(bundle.name).inputs in {"teachers", "unfused", "pe-av"}
    loaded = load_networks(with_classes(load_bundle(str(bundle)), ["red"]), device="cpu")
    features = extract_features(film, loaded.extractors.by_name, profile=bundle.name)
    for rows in (features.audio, features.visual_2d):
        assert rows is not None
        assert rows.shape == (7, 12)
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)


def test_another_run_does_not_load_the_text_models(
    run: Run, bundle: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run("parse", film, "--weights", bundle, *CLASSES, "-o", tmp_path / "a.json")
    assert first.status == 0, first.err

    def never(*_: object) -> None:
        raise AssertionError("a text model is loaded")

    monkeypatch.setattr(open_network, "_load_own_encoder", never)
    again = run("parse", film, "--weights", bundle, *CLASSES, "-o", tmp_path / "b.json")
    assert again.status == 0, again.err
    texts = [json.loads((tmp_path / name).read_text()) for name in ("a.json", "b.json")]
    assert texts[0]["events"] == texts[1]["events"]


def test_other_parameters_are_not_taken_for_the_same(
    run: Run, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "clip-clap", "clip-clap")
    assert run("parse", film, "--weights", bundle, *CLASSES, "-o", tmp_path / "a.json").status == 0
    state = {
        key: 1.5 * value if is_of_text("clip_tiny", key) else value for key, value in published("clip_tiny").items()
    }
    save_file(state, bundle / "clip_tiny.safetensors")
    loaded: list[str] = []
    own = open_network._load_own_encoder

    def count(bundle: object, name: str, paths: object) -> object:
        loaded.append(name)
        return own(bundle, name, paths)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(open_network, "_load_own_encoder", count)
    assert run("parse", film, "--weights", bundle, *CLASSES, "-o", tmp_path / "b.json").status == 0
    assert loaded == ["clip_tiny"]


def test_a_file_that_two_networks_share_is_named_once() -> None:
    assert list_bundles()["open-pe-av"].files == ("pe_av", "pe_av_tokenizer")


def test_streams_that_no_sentence_is_compared_with_are_named(run: Run, film: Path, tmp_path: Path) -> None:
    names = '{ vggish_tiny = "", resnet_tiny = "", r2plus1d_tiny = "" }'
    (tmp_path / "bundle.toml").write_text(
        f'profile = "llp"\nseed = 1\nextractors = {names}\ntexts = {names}\nparser = {{}}\n'
    )
    result = run("parse", film, "--weights", tmp_path, "--classes", "a, b")
    assert result.status == 2
    assert "extractor r2plus1d_tiny is of the stream visual_3d; sentences are compared with audio and visual_2d" in (
        " ".join(result.err.split())
    )
