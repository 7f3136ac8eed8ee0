"""PE-AV's embeddings against transformers' own model and processors, with the same parameters."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.extractors import build_extractor, transformers_import
from avvp.extractors.inputs import PE_AV_FRAMES, PE_AV_WAVEFORM
from avvp.extractors.registry import choose_wanted
from avvp.extractors.texts.registry import TEXT_MODELS, is_of_text
from avvp.weights.load import read_state_dict
from avvp.weights.untrained import untrained_state
from support.teachers import transformers
from torch import Tensor

RNG = np.random.default_rng(11)
SENTENCES = ("a dog barks", "applause in a large hall", "x")
KINDS = ("audio", "video")


@pytest.fixture(scope="module")
def model() -> Any:
    """A small model of other sizes than the tiny extractors have: these follow the file."""
    time = {
        "hidden_size": 48,
        "intermediate_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "head_dim": 16,
    }
    vision = {
        "architecture": "vit_pe_core_large_patch14_336", "do_pooling": True, "num_labels": 10, "global_pool": "map",
        "model_args": {"embed_dim": 64, "depth": 2, "num_heads": 1, "img_size": (336, 336), "patch_size": 84},
    }  # fmt: skip
    config = transformers.PeAudioVideoConfig(
        text_config={"model_type": "modernbert", "hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 4,
                     "num_attention_heads": 1},
        audio_video_config={
            **time,
            "audio_config": {**time, "dac_config": {"encoder_hidden_size": 2, "codebook_dim": 6}},
            "video_config": {**time, "vision_config": vision},
        },
    )  # fmt: skip
    built = transformers.PeAudioVideoModel(config).eval()
    shapes = {key: tuple(tensor.shape) for key, tensor in built.named_parameters()}
    built.load_state_dict(untrained_state(shapes, 4), strict=False)
    return built


@pytest.fixture(scope="module")
def file(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As transformers writes it, without the names that share tensors with others."""
    folder = tmp_path_factory.mktemp("pe-av")
    model.save_pretrained(folder)
    return folder / "model.safetensors"


@pytest.fixture(scope="module")
def outputs(model: Any) -> Any:
    """What the whole model computes of three seconds of sound, two frames of each, and three sentences."""
    sounds = transformers.PeAudioFeatureExtractor()(list(waveforms()), sampling_rate=48_000, return_tensors="pt")
    processor = transformers.PeVideoVideoProcessor(
        size={"height": 336, "width": 336}, do_rescale=True, do_normalize=True, do_resize=True, do_sample_frames=False,
        image_mean=[0.5] * 3, image_std=[0.5] * 3,
    )  # fmt: skip
    clips = [torch.from_numpy(clip).permute(0, 3, 1, 2) for clip in frames().reshape(3, 2, 90, 120, 3)]
    videos = processor(clips, return_tensors="pt")
    ids = [TEXT_MODELS["pe_av_audio"].bytes.encode(sentence) for sentence in SENTENCES]
    length = max(map(len, ids))
    tokens = torch.tensor([[*row, *[50_283] * (length - len(row))] for row in ids])
    with torch.no_grad():
        return model(
            input_ids=tokens,
            attention_mask=(tokens != 50_283).long(),
            input_values=sounds["input_values"],
            pixel_values_videos=videos["pixel_values_videos"],
        )


def waveforms() -> np.ndarray:
    times = np.arange(48_000) / 48_000
    tones = [np.sin(2 * np.pi * pitch * times) for pitch in (200, 1500, 7000)]
    return (0.3 * np.stack(tones) + np.random.default_rng(1).normal(0, 0.05, (3, 48_000))).astype(np.float32)


def frames() -> np.ndarray:
    noise = np.random.default_rng(2).integers(0, 80, (6, 90, 120, 3))
    return (noise + np.linspace(0, 170, 6, dtype=int)[:, None, None, None]).astype(np.uint8)


def unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows, dim=-1)


def load(file: Path, kind: str) -> Any:
    name = f"pe_av_{kind}_tiny"
    return build_extractor(name, read_state_dict(file, keep=choose_wanted(name)))


def test_sounds_equal_the_whole_model(file: Path, outputs: Any) -> None:
    extractor = load(file, "audio")
    rows = extractor(extractor.preprocess(waveforms()))
    torch.testing.assert_close(rows, unit(outputs.audio_embeds), atol=1e-5, rtol=0)
    assert rows.std(dim=0).max() > 0.05
    assert extractor.dim == 24


def test_videos_equal_the_whole_model(file: Path, outputs: Any) -> None:
    extractor = load(file, "video")
    rows = extractor(extractor.preprocess(frames()))
    assert torch.nn.functional.cosine_similarity(rows, unit(outputs.video_embeds)).min() > 0.999  # PIL resizes here
    assert rows.std(dim=0).max() > 0.05


def test_videos_equal_the_whole_model_for_the_same_pixels(file: Path, model: Any) -> None:
    extractor = load(file, "video")
    x = extractor.preprocess(frames())
    with torch.no_grad():
        expected = model.video_model.video_head(model.video_model.video_encoder(x).pooler_output)
    torch.testing.assert_close(extractor(x), unit(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_texts_equal_the_whole_model(kind: str, file: Path, outputs: Any) -> None:
    name = f"pe_av_{kind}"
    text = TEXT_MODELS[name]
    state = read_state_dict(file, keep=lambda key: is_of_text(name, key))
    encoder = text.encoder(text.rename(state), text.bytes)
    rows = encoder.encode(SENTENCES)
    torch.testing.assert_close(rows, unit(outputs[f"text_{kind}_embeds"]), atol=1e-5, rtol=0)
    assert rows.std(dim=0).max() > 0.05


def test_the_texts_of_sounds_and_of_videos_differ(file: Path) -> None:
    rows = []
    for kind in KINDS:
        text = TEXT_MODELS[f"pe_av_{kind}"]
        rows.append(text.encoder(text.rename(read_state_dict(file)), text.bytes).encode(SENTENCES))
    assert (rows[0] - rows[1]).abs().max() > 0.1


def test_a_part_is_read_of_a_whole_file(file: Path) -> None:
    whole = read_state_dict(file)
    for kind in KINDS:
        extractor = build_extractor(f"pe_av_{kind}_tiny", whole)  # unused tensors are no fault
        part = load(file, kind)
        assert all(torch.equal(tensor, part.state_dict()[key]) for key, tensor in extractor.state_dict().items())
        assert not any(buffer.is_meta for buffer in part.buffers())


@pytest.mark.parametrize("kind", KINDS)
def test_missing_and_unknown_tensors_are_named(kind: str, file: Path) -> None:
    state = read_state_dict(file)
    layer = f"{kind}_model.{kind}_encoder.layers.1.mlp.up_proj.weight"
    with pytest.raises(ValueError, match=f"missing: {layer}"):
        build_extractor(f"pe_av_{kind}_tiny", {key: value for key, value in state.items() if key != layer})
    with pytest.raises(ValueError, match="missing: "):
        build_extractor(f"pe_av_{kind}_tiny", {})
    text = TEXT_MODELS[f"pe_av_{kind}"]
    with pytest.raises(ValueError, match=r"lacks text_model\.final_norm\.weight"):
        text.encoder(text.rename({k: v for k, v in state.items() if "final_norm" not in k}), text.bytes)


CHUNKS: dict[str, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    "a second": (48_000, lambda chunk: chunk),
    "longer": (50_000, lambda chunk: chunk[:48_000]),
    "shorter": (47_000, lambda chunk: np.concatenate([chunk, chunk[-2 : -2 - 1000 : -1]])),
    "one sample": (1, lambda chunk: np.repeat(chunk, 48_000)),
    "nothing": (0, lambda _: np.zeros(48_000)),
}


@pytest.mark.parametrize("case", CHUNKS)
def test_chunks_of_audio_become_a_second(case: str) -> None:
    length, expected = CHUNKS[case]
    chunk = RNG.uniform(-1, 1, length).astype(np.float32)
    np.testing.assert_array_equal(PE_AV_WAVEFORM.reduce(chunk[None]), expected(chunk)[None].astype(np.float32))


def test_two_frames_make_one_input() -> None:
    assert PE_AV_FRAMES.reduce(frames()).shape == (3, 2, 336, 336, 3)
    assert PE_AV_FRAMES.frames == 2


@pytest.mark.parametrize("name", ["pe_av_video_tiny", "pe_av_audio_tiny"])
@pytest.mark.parametrize("missing", ["timm", "transformers", "PE-AV of transformers"])
def test_what_is_missing_is_named(name: str, missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None if package == missing else found(package))
    if missing.startswith("PE-AV"):  # version 4
        monkeypatch.setattr(transformers_import, "import_transformers", object)
    with pytest.raises(ValueError, match=r"PE-AV needs transformers 5 and timm; .* pip install 'avvp\[pe-av\]'"):
        build_extractor(name)
