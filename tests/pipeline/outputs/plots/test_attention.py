"""LEAP's attention by block: against the parser's outputs, over long videos, in files and in plots."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import torch
from avvp.extractors.profiles import FeatureSpec
from avvp.models.localizers.localizer import EventLocalizer
from avvp.pipeline.errors import AVVPError, FormatError, OutputError, SetupError
from avvp.pipeline.features.extract import FeatureSet
from avvp.pipeline.inference.bundle import load_networks
from avvp.pipeline.outputs.html.attention_data import attention_data
from avvp.pipeline.outputs.plots.attention import check_explainable, explain_features, write_maps
from avvp.pipeline.outputs.plots.attention_maps import MAP_SUFFIXES, AttentionMaps, read_maps
from PIL import Image
from support.bundles import write_tiny_localizer
from support.parsers import inputs, tiny_parser

MODALITIES = ("audio", "visual")
SPEC = FeatureSpec("clean", 1, ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny"), (6, 10, 7))  # of `tiny_parser`
HOSTILE = ("$\\frac{$", "<b>&amp;</b>", "a\nb\x1b[31m", "中文犬", "\ud800", "_^%#{}", "x" * 10_000, "\u202eevil")
variants = pytest.mark.parametrize("variant", ["published", "paper"])


def features_of(segments: int, seed: int = 2) -> FeatureSet:
    audio, visual_2d, visual_3d = (tensor[0].float().numpy() for tensor in inputs(1, segments, seed=seed))
    return FeatureSet(audio, visual_2d, visual_3d, SPEC, float(segments))


def made_up(labels: tuple[str, ...] = ("a", "b", "c"), seconds: int = 10, blocks: int = 2) -> AttentionMaps:
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(2, blocks, len(labels), seconds)).astype(np.float32)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return AttentionMaps(labels, *logits, *weights)


def elements(path: Path, tag: str) -> list[ET.Element]:
    """Those of an SVG; it must be well-formed."""
    return list(ET.parse(path).iter(f"{{http://www.w3.org/2000/svg}}{tag}"))  # noqa: S314 - our own file


def texts(path: Path) -> list[str]:
    """What is written in an SVG."""
    return ["".join(node.itertext()).strip() for node in elements(path, "text")]


@variants
@pytest.mark.parametrize("prediction", ["first", "last", "average"])
def test_map_of_the_predicting_block_gives_the_probabilities(variant: str, prediction: str) -> None:
    parser = tiny_parser(leap_variant=variant, leap_prediction=prediction, leap_blocks=3)
    output = parser(*inputs(2, 7))
    for modality, logits in zip(MODALITIES, parser.attention_maps(*inputs(2, 7)), strict=True):
        assert logits.shape == (2, 3, 4, 7)
        predicting = {"first": logits[:, 0], "last": logits[:, -1], "average": logits.mean(dim=1)}[prediction]
        torch.testing.assert_close(predicting.softmax(-1), getattr(output, f"{modality}_attention"))
        probs = getattr(output, f"{modality}_segment_probs")
        torch.testing.assert_close(predicting.sigmoid().transpose(1, 2), probs)


@variants
def test_every_block_has_a_map_of_its_own(variant: str) -> None:
    """The middle one is that of a parser which ends with it."""
    whole = tiny_parser(leap_variant=variant, leap_blocks=3)
    shorter = tiny_parser(leap_variant=variant, leap_blocks=2)
    shorter.load_state_dict({name: whole.state_dict()[name] for name in shorter.state_dict()})
    for three, two in zip(whole.attention_maps(*inputs(2, 5)), shorter.attention_maps(*inputs(2, 5)), strict=True):
        torch.testing.assert_close(three[:, :2], two)
        assert not torch.allclose(three[:, 0], three[:, 1])
        assert not torch.allclose(three[:, 1], three[:, 2])


@variants
def test_padding_gets_no_attention(variant: str) -> None:
    parser = tiny_parser(leap_variant=variant)
    lengths = torch.tensor([5, 3])
    output = parser(*inputs(2, 5), lengths=lengths)
    for modality, logits in zip(MODALITIES, parser.attention_maps(*inputs(2, 5), lengths=lengths), strict=True):
        assert logits[1, :, :, 3:].eq(float("-inf")).all()
        assert logits[1, :, :, :3].isfinite().all()
        torch.testing.assert_close(logits[:, -1].softmax(-1), getattr(output, f"{modality}_attention"))


def test_attention_maps_reject_inconsistent_shapes() -> None:
    audio, visual_2d, visual_3d = inputs(2, 5)
    with pytest.raises(ValueError, match="segments disagree"):
        tiny_parser().attention_maps(audio, visual_2d, visual_3d[:, :4])


@pytest.mark.parametrize("prediction", ["first", "last"])
def test_logits_are_projected_only_in_the_predicting_block(prediction: str) -> None:
    parser = tiny_parser(leap_prediction=prediction)
    logits = []
    decoder: Any = parser.decoder
    for index, block in enumerate(decoder.audio.blocks):
        block.project = lambda *given, _of=block.project, _index=index: logits.append(_index) or _of(*given)
    parser(*inputs(1, 5))
    assert logits == [0 if prediction == "first" else 1]


@pytest.mark.parametrize("segments", [1, 4, 10])
def test_a_short_video_in_one_pass(segments: int) -> None:
    parser = tiny_parser(leap_blocks=3).float()
    features = features_of(segments)
    maps = explain_features(features, parser, "cpu")
    assert maps.labels == parser.config.labels
    streams = (features.audio, features.visual_2d, features.visual_3d)
    with torch.inference_mode():
        output = parser(*(torch.from_numpy(rows[None]) for rows in streams))
    for array in maps.arrays().values():
        assert array.shape == (3, 4, segments)
        assert array.dtype == np.float32
    for modality in MODALITIES:
        weights, logits = getattr(maps, f"{modality}_weights"), getattr(maps, f"{modality}_logits")
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)
        np.testing.assert_allclose(weights[-1], getattr(output, f"{modality}_attention")[0], atol=1e-6)
        probs = getattr(output, f"{modality}_segment_probs")[0].T
        np.testing.assert_allclose(1 / (1 + np.exp(-logits[-1])), probs, atol=1e-6)


@variants
def test_a_long_video_is_the_mean_over_its_windows(variant: str) -> None:
    """25 seconds, windows of 10 from 0, 5, 10 and 15: written out."""
    parser = tiny_parser(leap_variant=variant).float()
    features = features_of(25)
    sums, counts = np.zeros((4, 2, 4, 25)), np.zeros(25)
    for start in (0, 5, 10, 15):
        window = slice(start, start + 10)
        frames = features.visual_2d[8 * start : 8 * start + 80]
        streams = (features.audio[window], frames, features.visual_3d[window])
        with torch.inference_mode():
            audio, visual = parser.attention_maps(*(torch.from_numpy(rows[None]) for rows in streams))
        for index, found in enumerate((audio, visual, audio.softmax(-1), visual.softmax(-1))):
            sums[index, :, :, window] += found[0].numpy()
        counts[window] += 1
    assert counts.tolist() == [1] * 5 + [2] * 15 + [1] * 5
    maps = explain_features(features, parser, torch.device("cpu"))
    for array, expected in zip(maps.arrays().values(), sums / counts, strict=True):
        np.testing.assert_allclose(array, expected, atol=1e-6)


def test_explain_features_ignores_dropout() -> None:
    parser, features = tiny_parser().float().train(), features_of(6)
    once, again = explain_features(features, parser), explain_features(features, parser)
    assert np.array_equal(once.logits()["audio"], again.logits()["audio"])


def test_a_decoder_without_attention_is_refused() -> None:
    parser = tiny_parser(decoder="mmil")
    with pytest.raises(ValueError, match="'mmil' has no label-to-segment attention"):
        parser.attention_maps(*inputs(1, 5))
    with pytest.raises(SetupError, match="decoder is mmil, which has no label-to-segment attention") as caught:
        explain_features(features_of(5), parser.float(), "cpu")
    assert isinstance(caught.value, AVVPError)


def test_explain_features_refuses_non_finite_maps() -> None:
    parser = tiny_parser().float()
    parser.get_buffer("decoder.label_embeddings").fill_(float("nan"))
    with pytest.raises(SetupError, match="outputs are NaN or infinite"):
        explain_features(features_of(5), parser, "cpu")


@pytest.mark.parametrize("spoil", ["labels", "weights", "empty"])
def test_shapes_that_disagree_are_named(spoil: str) -> None:
    arrays = list(made_up().arrays().values())
    if spoil == "weights":
        arrays[3] = arrays[3][:, :, :-1]
    elif spoil == "empty":
        arrays = [array[:, :, :0] for array in arrays]
    with pytest.raises(ValueError, match=r"visual_weights is \(2, 3, 9\)|expected \(blocks, 2,|audio_logits is"):
        AttentionMaps(("a", "b") if spoil == "labels" else ("a", "b", "c"), *arrays)


def test_arrays_are_read_back(tmp_path: Path) -> None:
    maps = made_up(HOSTILE)
    write_maps(maps, tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz", allow_pickle=False) as archive:
        assert set(archive) == {"labels", *maps.arrays()}
        assert tuple(archive["labels"].tolist()) == HOSTILE
        for name, array in maps.arrays().items():
            assert archive[name].dtype == np.float32
            np.testing.assert_array_equal(archive[name], array)


@pytest.mark.parametrize("suffix", MAP_SUFFIXES)
def test_the_same_maps_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    for name in ("one", "other"):
        write_maps(made_up(), tmp_path / f"{name}{suffix.upper()}")
    one, other = (tmp_path / f"{name}{suffix.upper()}" for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([one.name, other.name])


def test_map_image_format_follows_the_suffix(tmp_path: Path) -> None:
    for suffix in (".png", ".pdf", ".svg"):
        write_maps(made_up(), tmp_path / f"maps{suffix}")
    with Image.open(tmp_path / "maps.png") as picture:
        picture.verify()
        assert picture.format == "PNG"
        assert picture.width > picture.height > 300
    assert (tmp_path / "maps.pdf").read_bytes().startswith(b"%PDF-")
    assert len(elements(tmp_path / "maps.svg", "svg")) == 1


@pytest.mark.parametrize("blocks", [1, 3])
def test_a_panel_for_each_block_modality_and_kind(tmp_path: Path, blocks: int) -> None:
    write_maps(made_up(blocks=blocks), tmp_path / "maps.svg")
    written = texts(tmp_path / "maps.svg")
    for block in range(1, blocks + 1):
        assert written.count(f"block {block}, logits") == written.count(f"block {block}, weights") == 1
    assert written.count("audio") == written.count("visual") == 1
    assert written.count("seconds") == 2 * blocks
    assert len(elements(tmp_path / "maps.svg", "image")) == 4 * blocks + 2  # and the colour bars


def test_colours_show_the_maps(tmp_path: Path) -> None:
    """One event, heard in second 2 of 4: dark red in the left panel above, and nowhere red below."""
    quiet = np.full((1, 1, 4), -6, np.float32)
    loud = quiet.copy()
    loud[0, 0, 2] = 6
    weights = np.full((1, 1, 4), 0.25, np.float32)
    write_maps(AttentionMaps(("a",), loud, quiet, weights, weights), tmp_path / "maps.png")
    with Image.open(tmp_path / "maps.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    dark_red, dark_blue = (abs(pixels - colour).max(-1) < 3 for colour in ((103, 0, 31), (5, 48, 97)))
    width, bar = pixels.shape[1], int(0.8 * len(pixels))
    rows, columns = np.nonzero(dark_red[:bar])
    assert rows.max() < len(pixels) / 2
    assert columns.max() < width / 2
    blue = np.nonzero(dark_blue[int(rows.mean())])[0]
    left, right = blue.min(), blue.max() + 1  # the panel, four seconds wide
    share = (np.array([columns.min(), columns.max() + 1]) - left) / (right - left)
    np.testing.assert_allclose(share, [0.5, 0.75], atol=0.02)


def test_shown_classes_in_their_order(tmp_path: Path) -> None:
    write_maps(made_up(("ant", "bee", "cat")), tmp_path / "maps.svg", classes=["cat", "ant", "cat"])
    names = [text for text in texts(tmp_path / "maps.svg") if text in {"ant", "bee", "cat"}]
    assert names == ["cat", "ant"] * 2
    with pytest.raises(ValueError, match=r"not among the classes of the maps: dog\\x1b"):
        write_maps(made_up(), tmp_path / "other.svg", classes=["a", "dog\x1b"])
    assert not (tmp_path / "other.svg").exists()


def test_eight_classes_with_the_highest_peaks(tmp_path: Path) -> None:
    """By the last block, in either modality, regardless of the first one."""
    labels = tuple(f"class {index:02}" for index in range(20))
    maps = made_up(labels)
    audio, visual = maps.logits().values()
    audio[1], visual[1] = -9, -9
    expected = [13, 2, 7, 19, 0, 5, 11, 17]
    for rank, label in enumerate(expected):
        (audio if rank % 2 else visual)[1, label, rank] = 8 - rank
    write_maps(maps, tmp_path / "maps.svg")
    names = [text for text in texts(tmp_path / "maps.svg") if text.startswith("class")]
    assert names == [labels[index] for index in expected] * 2


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_hostile_names_are_drawn_as_they_are(tmp_path: Path, suffix: str) -> None:
    write_maps(made_up(HOSTILE), tmp_path / f"maps{suffix}", classes=HOSTILE)
    if suffix == ".svg":
        written = texts(tmp_path / "maps.svg")
        for name in ("$\\frac{$", "<b>&amp;</b>", "a\\nb\\x1b[31m", "\\u4e2d\\u6587\\u72ac", "\\ud800", "_^%#{}"):
            assert written.count(name) == 2, name
        assert "\\u202eevil" in written
        assert max(map(len, written)) < 70


@pytest.mark.parametrize(("seconds", "classes"), [(1, 1), (3600, 25)])
def test_any_length_and_any_number_of_classes_can_be_drawn(tmp_path: Path, seconds: int, classes: int) -> None:
    labels = tuple(f"class {index}" for index in range(classes))
    write_maps(made_up(labels, seconds), tmp_path / "maps.png", classes=labels)
    with Image.open(tmp_path / "maps.png") as picture:
        assert max(picture.size) < 4000
        assert classes == 1 or picture.height / 2 / classes > 30  # pixels for a name


def test_a_short_event_in_a_long_video_is_seen(tmp_path: Path) -> None:
    quiet = np.full((1, 1, 3600), -6, np.float32)
    loud = quiet.copy()
    loud[0, 0, 1234] = 6
    weights = np.full((1, 1, 3600), 0.1, np.float32)
    write_maps(AttentionMaps(("a",), loud, quiet, weights, weights), tmp_path / "maps.png")
    write_maps(AttentionMaps(("a",), quiet, quiet, weights, weights), tmp_path / "nothing.png")
    red = []
    for name in ("maps.png", "nothing.png"):
        with Image.open(tmp_path / name) as picture:
            pixels = np.asarray(picture.convert("RGB")).astype(int)[: picture.height // 2]
        red.append(int((abs(pixels - (103, 0, 31)).max(-1) < 3).sum()))
    assert red[0] > 100
    assert red[1] == 0


def test_maps_that_are_all_zero_can_be_drawn(tmp_path: Path) -> None:
    nothing = np.zeros((1, 2, 5), np.float32)
    write_maps(AttentionMaps(("a", "b"), nothing, nothing, nothing, nothing), tmp_path / "maps.png")


@pytest.mark.parametrize("name", ["maps.gif", "maps", "maps.json"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"maps.*\.npz, \.png, \.svg, \.pdf"):
        write_maps(made_up(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be written"):
        write_maps(made_up(), tmp_path / "none" / "maps.npz")


def test_user_settings_of_matplotlib_are_neither_used_nor_changed(tmp_path: Path) -> None:
    import matplotlib as mpl

    write_maps(made_up(), tmp_path / "plain.svg")
    with mpl.rc_context({"text.usetex": True, "font.size": 40}):
        write_maps(made_up(), tmp_path / "set.svg")
        assert mpl.rcParams["font.size"] == 40
    assert (tmp_path / "set.svg").read_bytes() == (tmp_path / "plain.svg").read_bytes()


def test_files_of_arrays_are_read_back(tmp_path: Path) -> None:
    maps = made_up(("a b", "ü"), seconds=7)
    write_maps(maps, tmp_path / "maps.npz")
    back = read_maps(tmp_path / "maps.npz")
    assert back.labels == maps.labels
    for name, array in maps.arrays().items():
        np.testing.assert_array_equal(back.arrays()[name], array)


def hostile_archive(kind: str) -> bytes:
    """A file that `read_maps` must refuse."""
    weights = np.zeros((1, 2, 3), np.float32)
    arrays: dict[str, Any] = dict.fromkeys(made_up().arrays(), weights) | {"labels": np.array(["a", "b"])}
    changes: dict[str, dict[str, Any]] = {
        "pickled labels": {"labels": np.array(["a", {}], object)},
        "other shapes": {"audio_logits": np.zeros((1, 2, 4), np.float32)},
        "not finite": {"audio_logits": np.full((1, 2, 3), np.nan, np.float32)},
        "other numbers": {"audio_logits": np.zeros((1, 2, 3))},
        "a class twice": {"labels": np.array(["a", "a"])},
        "no classes": {"labels": np.zeros(0, "U1")} | dict.fromkeys(made_up().arrays(), weights[:, :0]),
        "numbers for labels": {"labels": np.zeros(2)},
        "many arrays": {f"more{n}": weights for n in range(20)},
        "a bomb": {"audio_logits": np.zeros((1, 2, 1 << 24), np.float32)},
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays | changes.get(kind, {}))
    data = content.getvalue()
    if kind == "an array missing":
        content = io.BytesIO()
        np.savez_compressed(content, labels=arrays["labels"])
        data = content.getvalue()
    spoiled = {
        "empty": b"",
        "no archive": b"hello" * 99,
        "truncated": data[:-30],
        "damaged": data[:90] + b"x" + data[91:],
    }
    return spoiled.get(kind, data)


@pytest.mark.parametrize(
    "kind",
    [
        "pickled labels", "other shapes", "not finite", "other numbers", "a class twice", "no classes",
        "numbers for labels", "many arrays", "a bomb", "an array missing", "empty", "no archive", "truncated",
        "damaged",
    ],
)  # fmt: skip
def test_arrays_of_strangers_are_refused_in_one_line(kind: str, tmp_path: Path) -> None:
    (tmp_path / "maps.npz").write_bytes(hostile_archive(kind))
    with pytest.raises(FormatError, match="is not attention that avvp parse --explain wrote") as raised:
        read_maps(tmp_path / "maps.npz")
    assert "\n" not in str(raised.value)


def test_what_is_no_file_of_arrays_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone.npz"):
        with pytest.raises(FormatError, match="is not attention"):
            read_maps(path)


class TestLocalizers:
    """LEAP in the place of a localizer's classifier: one map of fused segments, or one of each modality."""

    @pytest.mark.parametrize(("memory", "names"), [("fused", ("fused",)), ("modalities", ("audio", "visual"))])
    def test_maps_are_those_of_the_windows(self, tmp_path: Path, memory: str, names: tuple[str, ...]) -> None:
        folder = write_tiny_localizer(tmp_path / "b", system="psp", decoder="leap", leap_memory=memory, segments=4)
        localizer = load_networks(str(folder)).parser
        assert isinstance(localizer, EventLocalizer)
        rng = np.random.default_rng(3)
        spec = FeatureSpec("ave", 1, ("vggish_tiny", "vgg19_tiny"), (16, 392), 16, streams=("audio", "visual_map"))
        none = np.zeros((0, 0), np.float32)
        rows = [rng.random((6, width), np.float32) for width in (16, 392)]
        features = FeatureSet(rows[0], none, none, spec, 6.0, visual_map=rows[1])
        maps = explain_features(features, localizer)
        assert (tuple(maps.logits()), tuple(maps.weights()), maps.shape) == (names, names, (2, 3, 6))
        windows = [localizer.attention_maps(*(torch.from_numpy(part[None, start : start + 4]) for part in rows))
                   for start in (0, 2)]  # fmt: skip
        for name in names:
            first, second = (window[name][0, :, :3].detach().numpy() for window in windows)  # without the background
            expected = np.concatenate(
                [first[..., :2], (first[..., 2:] + second[..., :2]) / 2, second[..., 2:]], axis=-1
            )
            np.testing.assert_allclose(maps.logits()[name], expected, atol=1e-5)
        for suffix in ("npz", "png"):
            write_maps(maps, tmp_path / f"maps.{suffix}")
        again = read_maps(tmp_path / "maps.npz")
        assert tuple(again.arrays()) == tuple(maps.arrays())
        np.testing.assert_array_equal(again.logits()[names[-1]], maps.logits()[names[-1]])
        data = attention_data(maps, maps.labels, 6)
        assert set(data["blocks"][0]) == ({"audio_visual"} if memory == "fused" else {"audio", "visual"})

    def test_others_say_what_has_attention(self, tmp_path: Path) -> None:
        localizer = load_networks(str(write_tiny_localizer(tmp_path / "b", system="cmbs"))).trained_parser
        with pytest.raises(SetupError, match=r"this localizer \(cmbs\) has its own classifier.* ends in -leap"):
            check_explainable(localizer)
        with pytest.raises(ValueError, match="'dch' has no label-to-segment attention"):
            localizer.attention_maps(torch.zeros(1, 4, 16), torch.zeros(1, 4, 392))  # type: ignore[call-arg]

    def test_maps_of_a_kind_are_together(self) -> None:
        table = np.zeros((1, 2, 3), np.float32)
        with pytest.raises(ValueError, match="expected audio_logits, visual_logits, audio_weights, visual_weights, or"):
            AttentionMaps(("a", "b"), fused_logits=table, audio_weights=table)
