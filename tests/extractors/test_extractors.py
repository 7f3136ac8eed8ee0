"""The three networks and their front ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from avvp.extractors import EXTRACTORS, FeatureSpec, build_extractor, feature_spec, get_profile, resnet
from avvp.extractors.base import normalize
from avvp.extractors.mel import hertz_to_mel, log_mel, mel_matrix, mel_to_hertz
from avvp.extractors.r2plus1d import VideoBlock
from avvp.extractors.registry import extractor_shapes
from avvp.extractors.resize import resize, resize_and_crop
from PIL import Image
from support.golden import fill, load_json, load_npz, needs_golden
from torch import nn
from torchvision import transforms

RNG = np.random.default_rng(3)
SOUNDS = {"vggish_tiny": 16_000, "clap_tiny": 48_000, "clap_unfused_tiny": 48_000, "pe_av_audio_tiny": 48_000}  # Hz
TINY = ("resnet_tiny", "r2plus1d_tiny", "vgg19_tiny", "clip_tiny", "pe_av_video_tiny", *SOUNDS)


@pytest.mark.parametrize("name", TINY)
class TestContract:
    def media(self, name: str) -> np.ndarray:
        if name in SOUNDS:
            return RNG.uniform(-1, 1, (2, SOUNDS[name]))
        return RNG.integers(0, 256, (16, 40, 50, 3), dtype=np.uint8)

    def test_extractor_rows_have_their_shape_and_type(self, name: str) -> None:
        extractor = build_extractor(name)
        rows = extractor(extractor.preprocess(self.media(name)))
        per_frame = extractor.stream in {"visual_2d", "visual_map"}
        assert rows.shape == (16 // extractor.input_format.frames if per_frame else 2, extractor.dim)
        assert rows.dtype == torch.float32
        assert not rows.requires_grad
        assert not extractor.training

    def test_extractor_row_does_not_depend_on_its_batch(self, name: str) -> None:
        extractor = build_extractor(name)
        x = extractor.preprocess(self.media(name))
        torch.testing.assert_close(extractor(x)[:1], extractor(x[:1]), atol=1e-5, rtol=1e-5)

    def test_extractor_state_dict_round_trip(self, name: str) -> None:
        extractor = build_extractor(name)
        again = build_extractor(name, extractor.state_dict())
        x = extractor.preprocess(self.media(name))
        torch.testing.assert_close(again(x), extractor(x))

    def test_build_extractor_names_weights_that_do_not_fit(self, name: str) -> None:
        state = build_extractor(name).state_dict()
        first, *_ = state
        with pytest.raises(ValueError, match=f"missing: {first}"):
            build_extractor(name, {key: value for key, value in state.items() if key != first})
        with pytest.raises(ValueError, match="unknown: surplus"):
            build_extractor(name, state | {"surplus": torch.zeros(1)})
        with pytest.raises(ValueError, match=f"of another shape: {first}"):
            build_extractor(name, state | {first: torch.zeros(1)})


UNUSABLE = {
    "integers": (lambda tensor: tensor.to(torch.int32), "holds int32, expected float32"),
    "float64": (lambda tensor: tensor.double(), "holds float64, expected float32"),
    "float16": (lambda tensor: tensor.half(), "holds float16, expected float32"),
    "complex": (lambda tensor: tensor.to(torch.complex64), "holds complex64, expected float32"),
    "NaN": (lambda tensor: tensor * float("nan"), "not finite"),
    "infinity": (lambda tensor: tensor + float("inf"), "not finite"),
    "sparse": (lambda tensor: tensor.to_sparse(), "sparse_coo"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
@pytest.mark.parametrize("name", TINY)
def test_build_extractor_refuses_what_cannot_be_parameters(name: str, kind: str) -> None:
    state = build_extractor(name).state_dict()
    spoil, message = UNUSABLE[kind]
    for key in (next(iter(state)), list(state)[-2]):
        with pytest.raises(ValueError, match=f"the weights do not fit .*: {key} .*{message}"):
            build_extractor(name, {**state, key: spoil(state[key])})


@pytest.mark.parametrize("key", ["bn1.running_var", "bn1.num_batches_tracked"])
def test_build_extractor_refuses_negative_variances_and_counters(key: str) -> None:
    state = build_extractor("resnet_tiny").state_dict()
    with pytest.raises(ValueError, match=f"{key} holds negative values"):
        build_extractor("resnet_tiny", {**state, key: state[key] - 10})
    assert build_extractor("resnet_tiny", {**state, "bn1.running_mean": state["bn1.running_mean"] - 10})


def test_build_extractor_names_strange_keys_in_a_short_line() -> None:
    state = build_extractor("resnet_tiny").state_dict()
    with pytest.raises(ValueError, match="unknown: ") as error:
        build_extractor("resnet_tiny", {**state, "\x1b[31m\n" + "x" * 10_000: torch.zeros(1)})
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


def test_build_extractor_lists_known_names() -> None:
    with pytest.raises(ValueError, match="resnet152"):
        build_extractor("resnet999")


def test_extractor_shapes_equal_torchvision() -> None:
    with torch.device("meta"):
        references = {
            "resnet152": torchvision.models.resnet152(),
            "r2plus1d_18": torchvision.models.video.r2plus1d_18(),
        }
    for name, reference in references.items():
        expected = {k: tuple(v.shape) for k, v in reference.state_dict().items() if not k.startswith("fc.")}
        assert extractor_shapes(name) == expected


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", ["BasicBlock", "Bottleneck"])
def test_residual_block_equals_torchvision(name: str, stride: int) -> None:
    def build(block: type[Any]) -> nn.Module:
        channels, out = (12 if stride == 2 else 5 * block.expansion), 5 * block.expansion
        shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, 2, bias=False), nn.BatchNorm2d(out))
        return block(channels, 5, stride, shortcut if stride == 2 else None)

    ours, theirs = getattr(resnet, name), getattr(torchvision.models.resnet, name)
    compare_blocks(partial(build, ours), partial(build, theirs), (12 if stride == 2 else 5 * ours.expansion, 9, 11))


def test_selected_pixels_are_those_of_a_convolution_with_a_stride() -> None:
    conv, norm = nn.Conv2d(8, 16, 1, stride=2, bias=False), nn.BatchNorm2d(16)
    x = torch.randn(2, 8, 9, 12).to(memory_format=torch.channels_last)
    torch.testing.assert_close(resnet.Downsample(conv, norm)(x), norm(conv(x)), rtol=1e-5, atol=1e-6)


def test_training_does_not_crash_in_channels_last() -> None:
    """torch 2.15 crashed here."""
    network = EXTRACTORS["resnet_tiny"]().train()
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - a gap in torch's stubs
    for _ in range(5):
        network(network.prepare(torch.zeros(2, 224, 224, 3, dtype=torch.uint8))).mean().backward()


@pytest.mark.parametrize("stride", [1, 2])
def test_video_block_equals_torchvision(stride: int) -> None:
    video = torchvision.models.video.resnet
    planes = 12 if stride == 2 else 8

    def build(block: Callable[..., nn.Module]) -> nn.Module:
        shortcut = nn.Sequential(nn.Conv3d(8, planes, 1, 2, bias=False), nn.BatchNorm3d(planes))
        return block(8, planes, stride=stride, downsample=shortcut if stride == 2 else None)

    theirs = partial(video.BasicBlock, conv_builder=video.Conv2Plus1D)
    compare_blocks(partial(build, VideoBlock), partial(build, theirs), (8, 8, 9, 11))


def compare_blocks(ours: Callable[[], nn.Module], theirs: Callable[[], nn.Module], shape: tuple[int, ...]) -> None:
    """To the bit: random parameters of the same seed, and rows with batch norms that do something."""
    blocks = []
    for build in (ours, theirs):
        torch.manual_seed(5)
        blocks.append(build().eval())
    state = blocks[1].state_dict()
    assert list(blocks[0].state_dict()) == list(state)
    for key, tensor in blocks[0].state_dict().items():
        assert torch.equal(tensor, state[key]), key
    for block in blocks:
        block.load_state_dict(
            {key: tensor + (0.3 if tensor.is_floating_point() else 0) for key, tensor in state.items()}
        )
    x = torch.randn(2, *shape)
    with torch.inference_mode():
        assert torch.equal(blocks[0](x), blocks[1](x))
        assert blocks[0](x).std() > 0.1


def test_vggish_has_the_published_number_of_parameters() -> None:
    assert sum(int(np.prod(shape)) for shape in extractor_shapes("vggish").values()) == 72_141_184


def test_load_published_omits_the_classifier() -> None:
    with torch.device("meta"):
        extractor = EXTRACTORS["resnet_tiny"]()
    state = build_extractor("resnet_tiny").state_dict() | {"fc.weight": torch.zeros(10, 64)}
    assert extractor.load_published(state) == ("fc.weight",)


@pytest.mark.parametrize("size", [(320, 240), (240, 320), (301, 227), (256, 256), (50, 40), (1920, 800)])
def test_resize_and_crop_is_what_torchvision_does_with_pil(size: tuple[int, int]) -> None:
    frames = RNG.integers(0, 256, (1, size[1], size[0], 3), dtype=np.uint8)
    published = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    ours = build_extractor("resnet_tiny").preprocess(frames)
    torch.testing.assert_close(ours[0], published(Image.fromarray(frames[0])))


def test_resize_and_crop_of_extremely_wide_frames() -> None:
    frames = np.zeros((1, 2, 60_000, 3), np.uint8)
    assert resize_and_crop(frames, short_side=256, crop=224).shape == (1, 224, 224, 3)
    assert resize_and_crop(frames.transpose(0, 2, 1, 3), short_side=256, crop=224).shape == (1, 224, 224, 3)


def test_r2plus1d_frames_are_resized_without_crop() -> None:
    frames = RNG.integers(0, 256, (8, 30, 90, 3), dtype=np.uint8)
    x = build_extractor("r2plus1d_tiny").preprocess(frames)
    assert x.shape == (1, 3, 8, 112, 112)
    mean, std = (0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)
    torch.testing.assert_close(
        x[0].transpose(0, 1), normalize(torch.from_numpy(resize(frames, 112, 112)), mean, std).permute(0, 3, 1, 2)
    )


def test_normalize_by_hand() -> None:
    picture = torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)
    assert normalize(picture, (0.5, 0.5, 0.0), (0.5, 0.25, 1.0)).flatten().tolist() == [1.0, 2.0, 1.0]


def test_mel_scale_by_hand() -> None:
    assert hertz_to_mel(0) == 0
    assert hertz_to_mel(700) == pytest.approx(1127 * np.log(2))
    np.testing.assert_allclose(mel_to_hertz(hertz_to_mel([0, 50, 700, 14_000])), [0, 50, 700, 14_000])


def test_mel_matrix_is_linear_in_mel_without_normalisation() -> None:
    matrix = mel_matrix()
    assert matrix.shape == (257, 64)
    assert matrix[0].sum() == 0
    assert 0.9 < matrix[:, 40].max() <= 1
    # Between the first and the last peak, neighbouring triangles add up to one.
    bins = hertz_to_mel(np.linspace(0, 8000, 257))
    centers = np.linspace(hertz_to_mel(125), hertz_to_mel(7500), 66)[1:-1]
    inside = (bins > centers[0]) & (bins < centers[-1])
    np.testing.assert_allclose(matrix[inside].sum(1), 1)


def test_log_mel_of_silence_and_its_shape() -> None:
    assert log_mel(np.zeros((2, 16_000))).shape == (2, 98, 64)
    np.testing.assert_allclose(log_mel(np.zeros(400)), np.log(0.01), rtol=1e-6)
    with pytest.raises(ValueError, match="399 samples"):
        log_mel(np.zeros(399))


def test_log_mel_equals_a_plain_loop() -> None:
    waveform = RNG.uniform(-1, 1, 2000)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    rows = [
        np.log(np.abs(np.fft.rfft(waveform[start : start + 400] * window, 512)) @ mel_matrix() + 0.01)
        for start in range(0, 2000 - 399, 160)
    ]
    np.testing.assert_allclose(log_mel(waveform), rows, rtol=1e-6)


@needs_golden
def test_log_mel_golden_sine() -> None:
    frames = log_mel(np.sin(2 * np.pi * 1000 * np.arange(48_000) / 16_000))
    np.testing.assert_allclose(frames[:288].reshape(3, 96, 64), load_npz("vggish_sine.npz")["logmel"], atol=1e-5)


@needs_golden
@pytest.mark.full_size
def test_vggish_golden() -> None:
    golden = load_npz("features_BjCEufrlXm4.npz")
    assert extractor_shapes("vggish") == {k: tuple(v) for k, v in load_json("vggish_state_dict.json")["vggish"].items()}
    extractor = build_extractor("vggish", fill(extractor_shapes("vggish")))
    rows = extractor(torch.from_numpy(golden["logmel"])).numpy()
    expected = golden["vggish"]
    assert np.linalg.norm(rows - expected) / np.linalg.norm(expected - expected.mean(0)) < 1e-3


def test_feature_spec_round_trip_and_differences() -> None:
    extractors = {name: build_extractor(name) for name in ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")}
    spec = feature_spec("clean", extractors)
    assert spec.extractors == ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")
    assert spec.dims == (16, 64, 64)
    assert FeatureSpec.from_dict(spec.to_dict()) == spec
    assert spec.differences(spec) == []
    assert spec.differences(feature_spec("llp", extractors)) == ["profile: clean / llp"]
    with pytest.raises(ValueError, match="not a feature specification"):
        FeatureSpec.from_dict({"profile": "llp"})


def test_feature_spec_needs_one_extractor_per_stream() -> None:
    with pytest.raises(ValueError, match="visual_3d"):
        feature_spec("llp", {"vggish_tiny": build_extractor("vggish_tiny")})


def test_get_profile_lists_known_names() -> None:
    with pytest.raises(ValueError, match="llp, clean"):
        get_profile("dirty")
