"""VGG19 maps, and the resizing of the pictures that they are computed of."""

from __future__ import annotations

import hashlib

import avvp
import numpy as np
import pytest
import torch
from avvp.extractors.inputs import MAP_PICTURE
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.extractors.resize import opencv_resize
from avvp.extractors.vgg19 import VGG19
from support.golden import MEDIA, load_npz, needs_golden
from torchvision.models import vgg19
from torchvision.models.vgg import make_layers


def test_keys_and_shapes_are_those_of_torchvision() -> None:
    with torch.device("meta"):
        expected = {key: tuple(tensor.shape) for key, tensor in vgg19().state_dict().items()}
    shapes = extractor_shapes("vgg19")
    assert shapes == {key: shape for key, shape in expected.items() if key.startswith("features.")}
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 20_024_384


def test_maps_are_those_of_torchvision_channels_last() -> None:
    ours = VGG19([(4, 4), (8,), (8,), (8,), (6,)]).eval()
    theirs = torch.nn.ModuleDict({"features": make_layers([4, 4, "M", 8, "M", 8, "M", 8, "M", 6, "M"])})
    theirs.load_state_dict(ours.state_dict())
    x = 40 * torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        expected = theirs["features"](x)
        rows = ours(x)
    assert rows.shape == (2, ours.dim) == (2, 7 * 7 * 6)
    torch.testing.assert_close(rows.reshape(2, 7, 7, 6).permute(0, 3, 1, 2), expected)


def test_classifier_of_a_published_file_is_left_out() -> None:
    network = build_extractor("vgg19_tiny")
    unused = network.load_published({**network.state_dict(), "classifier.0.weight": torch.zeros(4, 4)})
    assert unused == ("classifier.0.weight",)


def test_prepare_by_hand() -> None:
    """Blue first, minus Caffe's means, no scaling."""
    picture = torch.tensor([10, 20, 30], dtype=torch.uint8).expand(1, 224, 224, 3)
    prepared = build_extractor("vgg19_tiny").prepare(picture)
    assert prepared.shape == (1, 3, 224, 224)
    torch.testing.assert_close(prepared[0, :, 0, 0], torch.tensor([30 - 103.939, 20 - 116.779, 10 - 123.68]))


def test_resize_by_hand() -> None:
    """Pixel centres at halves, weights of 11 bits, no antialiasing."""
    row = np.array([0, 255], np.uint8)[None, None, :, None].repeat(3, axis=3)
    assert opencv_resize(row, 4, 1)[0, 0, :, 0].tolist() == [0, 64, 191, 255]
    assert opencv_resize(row.transpose(0, 2, 1, 3), 1, 4)[0, :, 0, 0].tolist() == [0, 64, 191, 255]
    ramp = np.arange(0, 80, 10, dtype=np.uint8)[None, None, :, None].repeat(3, axis=3)
    assert opencv_resize(ramp, 2, 1)[0, 0, :, 0].tolist() == [15, 55]  # the mean of two of eight pixels


# Of OpenCV 5.0.0's pictures of `default_rng((height, width))` frames; at the edges of some of them its rounding shows.
OPENCV = {
    (64, 48): "a78c55d5e5fc1a64",
    (101, 67): "74db93ec03ba5eba",
    (333, 577): "9f910d8afe3d2022",
    (720, 1280): "fd2b1f617f04f068",
}


@pytest.mark.parametrize("size", OPENCV)
def test_resize_equals_opencv(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(size).integers(0, 256, (1, *size, 3), np.uint8)
    assert hashlib.sha256(opencv_resize(frames, 224, 224).tobytes()).hexdigest()[:16] == OPENCV[size]


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (224, 224), (3, 7)])
def test_resize_of_any_size(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (2, *size, 3), np.uint8)
    pictures = MAP_PICTURE.reduce(frames)
    assert (pictures.shape, pictures.dtype) == ((2, 224, 224, 3), np.uint8)
    assert pictures.min() >= frames.min()
    assert pictures.max() <= frames.max()
    if size == (224, 224):
        np.testing.assert_array_equal(pictures, frames)


@pytest.mark.parametrize("size", [(240, 320), (360, 480), (101, 67)])
def test_resize_is_near_bilinear_interpolation_in_floating_point(size: tuple[int, int]) -> None:
    frames = np.random.default_rng(2).integers(0, 256, (1, *size, 3), np.uint8)
    tensor = torch.from_numpy(frames).permute(0, 3, 1, 2).double()
    expected = torch.nn.functional.interpolate(tensor, (224, 224), mode="bilinear", align_corners=False)
    gap = np.abs(opencv_resize(frames, 224, 224) - expected.permute(0, 2, 3, 1).numpy())
    assert gap.max() < 1  # half a level, and the rounding of the weights and of 20 bits to 4


@needs_golden
def test_inputs_of_a_real_clip_are_the_published_ones() -> None:
    golden = load_npz("ave_features_BjCEufrlXm4.npz")
    with avvp.open_media(MEDIA / "BjCEufrlXm4.mp4", "ave", streams=("video",)) as media:
        frames = [second.frames for second in media if second.frames is not None]
    prepared = build_extractor("vgg19_tiny").preprocess(np.concatenate(frames))
    np.testing.assert_allclose(prepared[0].permute(1, 2, 0), golden["input_first"], atol=1e-4)
    np.testing.assert_allclose(prepared.mean(dim=(1, 2, 3)), golden["input_mean"], atol=1e-3)
