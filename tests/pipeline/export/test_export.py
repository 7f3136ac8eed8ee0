"""avvp export: what a file computes, what export.json says, what is refused; docs/export.md from top to bottom."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.models.config import ParserConfig
from avvp.models.files.checkpoint import dump_checkpoint
from avvp.models.labels import LLP_LABELS
from avvp.models.parser import AVParser, ParserOutput, build_parser
from avvp.pipeline.export import export as exporting
from avvp.pipeline.export.formats import EXPORT_FORMATS, ExportFormat
from avvp.pipeline.inference.bundle import load_parser
from avvp.pipeline.inference.programs import ExtractorProgram, Program, parser_program
from avvp.weights.untrained import untrained_state
from support.bundles import LABELS, copy_bundle, write_tiny_localizer
from support.command import Result
from support.localizers import clip_inputs, tiny_localizer
from support.media import Clips
from support.paths import ROOT

Run = Callable[..., Result]
COMBINATIONS = [(encoder, decoder) for encoder in ("mmpyr", "han") for decoder in ("leap", "mmil")]
PACKAGES = {name: all(map(importlib.util.find_spec, item.packages)) for name, item in EXPORT_FORMATS.items()}
PAGE = ROOT / "docs" / "export.md"


def tiny_parser(encoder: str, decoder: str, **changes: object) -> AVParser:
    config = ParserConfig(**{
        "labels": LABELS, "audio_dim": 16, "visual_2d_dim": 64, "visual_3d_dim": 64, "hidden_dim": 8, "heads": 2,
        "feedforward_dim": 8, "encoder": encoder, "decoder": decoder, "levels": 1, "leap_blocks": 1, "leap_heads": 2,
        "label_embedding_dim": 5, "segments": 4, **changes,
    })  # fmt: skip
    torch.manual_seed(3)
    return build_parser(config, torch.randn(len(LABELS), 5) if config.needs_label_embeddings else None).eval()


@pytest.fixture
def bundle(tmp_path: Path, tiny_bundle: Path) -> Path:
    """The tiny bundle with a parser that is exported fast."""
    folder = copy_bundle(tiny_bundle, tmp_path / "bundle")
    spec = load_parser(str(tiny_bundle)).spec
    content = dump_checkpoint(tiny_parser("han", "mmil"), spec.to_dict(), {})
    (folder / "parser.safetensors").write_bytes(content)
    return folder


def formats(*names: str) -> list[object]:
    return [
        pytest.param(name, marks=pytest.mark.skipif(not PACKAGES[name], reason="its packages are not installed"))
        for name in names
    ]


@pytest.mark.parametrize("name", formats("torch", "onnx"))
@pytest.mark.parametrize(("encoder", "decoder"), COMBINATIONS)
def test_every_parser_is_exported(encoder: str, decoder: str, name: str, tmp_path: Path) -> None:
    """Another batch size than it was traced with, and videos of other lengths, one of them without padding."""
    check_parser(tiny_parser(encoder, decoder), EXPORT_FORMATS[name], tmp_path)


def test_a_parser_is_exported_as_it_is() -> None:
    """Its output is a ParserOutput, of a batch of any size."""
    parser = tiny_parser("mmpyr", "leap")
    batch = torch.export.Dim("batch")
    examples = [torch.rand(2, rows, width) for rows, width in ((4, 16), (32, 64), (4, 64))]
    traced = torch.export.export(parser, tuple(examples), dynamic_shapes=({0: batch},) * 3)
    inputs = [torch.rand(3, *example.shape[1:]) for example in examples]
    with torch.no_grad():
        found, expected = traced.module()(*inputs), parser(*inputs)
    assert isinstance(found, ParserOutput)
    for name in ("audio_segment_probs", "visual_video_logits", "audio_attention", "valid"):
        assert torch.equal(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize("name", formats("openvino"))
def test_a_parser_for_openvino(name: str, tmp_path: Path) -> None:
    check_parser(tiny_parser("han", "leap"), EXPORT_FORMATS[name], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parser.bin", "parser.xml"]


def check_parser(parser: AVParser, form: ExportFormat, folder: Path) -> None:
    run = form.write(parser_program(parser, 8), folder / f"parser{form.suffixes[0]}")
    window = parser.config.segments
    rng = np.random.default_rng(1)
    widths = (parser.config.audio_dim, parser.config.visual_2d_dim, parser.config.visual_3d_dim)
    shapes = [(3, rate * window, width) for rate, width in zip((1, 8, 1), widths, strict=True)]
    features = [rng.random(shape, np.float32) for shape in shapes]
    lengths = np.array([window, 2, 1])
    found = run([*features, lengths])
    assert len(found) == (5 if parser.config.pools else 4)
    for index, length in enumerate(lengths):
        rows = [torch.from_numpy(table[index : index + 1, : rate * length])
                for table, rate in zip(features, (1, 8, 1), strict=True)]  # fmt: skip
        with torch.no_grad():
            expected = parser(*rows)
        np.testing.assert_allclose(found[0][index, :length], expected.audio_segment_probs[0], atol=1e-5)
        np.testing.assert_allclose(found[1][index, :length], expected.visual_segment_probs[0], atol=1e-5)
        assert (found[0][index, length:] == 0).all()
        np.testing.assert_allclose(found[2][index], expected.audio_video_probs[0], atol=1e-5)
        np.testing.assert_allclose(found[3][index], expected.visual_video_probs[0], atol=1e-5)
        if len(found) == 5:
            np.testing.assert_allclose(found[4][index], expected.video_probs[0], atol=1e-5)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *[("torch", kind) for kind in (("ave", "full", "dch"), ("psp", "weak", "leap"))],
        pytest.param("onnx", ("cmbs", "full", "dch"), marks=formats("onnx")[0].marks),  # type: ignore[attr-defined]
    ],
)
def test_localizers_are_exported(name: str, kind: tuple[str, str, str], tmp_path: Path) -> None:
    """Their own probabilities and attention, of clips of several lengths in one batch, and of any size of it."""
    system, supervision, decoder = kind
    localizer = tiny_localizer(system=system, supervision=supervision, decoder=decoder).float()
    program = parser_program(localizer, 16)
    assert {stream: tuple(one.shape[1:]) for stream, one in program.examples.items()} == {
        "audio": (5, 6), "visual_map": (5, 40), "lengths": (),
    }  # fmt: skip
    run = EXPORT_FORMATS[name].write(program, tmp_path / f"parser{EXPORT_FORMATS[name].suffixes[0]}")
    audio, maps = (rows.float().flatten(2).numpy() for rows in clip_inputs(3, 5))
    lengths = [5, 2, 1]
    probs, attention = run([audio, maps, np.array(lengths)])
    for index, length in enumerate(lengths):
        with torch.inference_mode():
            output = localizer(*(torch.from_numpy(rows[index : index + 1, :length]) for rows in (audio, maps)))
        np.testing.assert_allclose(probs[index, :length], output.segment_probs[0], atol=1e-5)
        np.testing.assert_allclose(attention[index, :length], output.spatial_attention[0], atol=1e-5)
        assert not probs[index, length:].any()


def test_a_localizer_by_the_command(run: Run, tmp_path: Path) -> None:
    bundle = write_tiny_localizer(tmp_path / "bundle", segments=4)
    result = run("export", bundle, "-f", "torch", "-o", tmp_path / "exported")
    assert result.status == 0, result.err
    about = json.loads((tmp_path / "exported" / "export.json").read_text())
    assert list(about["networks"]) == ["audio", "visual_map", "parser"]
    parser = about["networks"]["parser"]
    assert [(one["name"], one["shape"]) for one in parser["inputs"]] == [
        ("audio", ["batch", 4, 16]), ("visual_map", ["batch", 4, 392]), ("lengths", ["batch"]),
    ]  # fmt: skip
    assert [(one["name"], one["shape"]) for one in parser["outputs"]] == [
        ("segment_probs", ["batch", 4, 3]), ("spatial_attention", ["batch", 4, 7, 7]),
    ]  # fmt: skip
    assert (about["task"], about["decision"]) == ("avel", "thresholds")


def test_parser_and_extractors_by_the_command(run: Run, bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    result = run("export", bundle, "-f", "torch", "-o", folder, "--threshold", "0.4")
    assert result.status == 0, result.err
    names = ("audio", "visual_2d", "visual_3d", "parser")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["export.json", *(f"{n}.pt2" for n in names)])
    for line, name in zip(result.out.splitlines(), names, strict=True):
        assert re.fullmatch(rf".*{name}\.pt2: \d+\.\d MB, differs from the original by \d\.\de-?\+?\d\d", line)
    about = json.loads((folder / "export.json").read_text())
    assert about["labels"] == list(LABELS)
    assert (about["window"], about["thresholds"]["audio_segment"], about["decision"]) == (4, 0.4, "thresholds")
    assert "task" not in about
    assert about["features"]["extractors"] == ["vggish_tiny", "resnet_tiny", "r2plus1d_tiny"]
    assert about["networks"]["visual_2d"]["inputs"] == [
        {"name": "inputs", "shape": ["batch", 224, 224, 3], "type": "uint8"}
    ]  # fmt: skip
    assert about["networks"]["audio"]["outputs"] == [{"name": "features", "shape": ["batch", 16], "type": "float32"}]
    parser = about["networks"]["parser"]
    assert [(one["name"], one["shape"]) for one in parser["inputs"]] == [
        ("audio", ["batch", 4, 16]), ("visual_2d", ["batch", 32, 64]), ("visual_3d", ["batch", 4, 64]),
        ("lengths", ["batch"]),
    ]  # fmt: skip
    assert parser["outputs"][0] == {"name": "audio_segment_probs", "shape": ["batch", 4, 3], "type": "float32"}
    for network in about["networks"].values():
        assert network["difference"] <= 1e-5
        for file, digest in network["files"].items():
            content = (folder / file).read_bytes()
            assert hashlib.sha256(content).hexdigest() == digest
            assert str(ROOT).encode() not in content

    again = run("export", bundle, "-f", "torch", "-o", folder, "--parser-only")
    assert again.status == 1
    assert "already holds an export; set --overwrite" in again.err
    replaced = run("export", bundle, "-f", "torch", "-o", folder, "--parser-only", "--overwrite", "-q")
    assert (replaced.status, replaced.err) == (0, "")
    assert list(json.loads((folder / "export.json").read_text())["networks"]) == ["parser"]


def test_scores_above_one_are_exported_as_one(run: Run, bundle: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    """A single second of MGN has twice the probability of its video."""
    parser = tiny_parser("mgn", "groups", group_blocks=1, cross_group_blocks=1)
    with torch.no_grad():
        parser.get_parameter("decoder.audio_prob.bias").fill_(2.0)
    spec = load_parser(str(tiny_bundle)).spec
    (bundle / "parser.safetensors").write_bytes(dump_checkpoint(parser, spec.to_dict(), {}))
    result = run("export", bundle, "-f", "torch", "--parser-only", "-o", tmp_path / "out")
    assert result.status == 0, result.err


def test_a_file_that_differs_is_not_written(
    run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch_format = EXPORT_FORMATS["torch"]

    def write_wrong(program: Program, path: Path) -> Callable[..., list[np.ndarray]]:
        exported = torch_format.write(program, path)
        return lambda arrays: [output + np.float32(2e-5) for output in exported(arrays)]

    monkeypatch.setitem(EXPORT_FORMATS, "torch", replace(torch_format, write=write_wrong))
    result = run("export", bundle, "-f", "torch", "--parser-only", "-o", tmp_path / "out")
    assert result.status == 1
    assert re.search(
        r"the exported parser differs from the original by 2e-05 on the clip, more than 1e-05; nothing", result.err
    )
    assert list((tmp_path / "out").iterdir()) == []


def test_missing_packages_are_named(run: Run, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = replace(EXPORT_FORMATS["onnx"], packages=("onnx_that_nobody_has",))
    monkeypatch.setitem(EXPORT_FORMATS, "onnx", lacking)
    result = run("export", bundle, "-o", tmp_path / "out")
    assert result.status == 2
    assert "exporting to onnx needs onnx_that_nobody_has, not installed here: pip install 'avvp[onnx]'" in result.err
    assert not (tmp_path / "out").exists()


def test_a_bundle_without_files_of_its_extractors(run: Run, bundle: Path, tmp_path: Path) -> None:
    description = bundle / "bundle.toml"
    description.write_text(description.read_text().replace('"vggish.safetensors"', '""'))
    result = run("export", bundle, "-f", "torch", "-o", tmp_path / "out")
    assert result.status == 2
    assert "has no file of the extractor vggish_tiny: set --parser-only" in result.err


def test_a_killed_export_leaves_nothing_to_the_next(run: Run, bundle: Path, tmp_path: Path) -> None:
    left = tmp_path / "out" / ".avvp-export-killed"
    left.mkdir(parents=True)
    (left / "parser.pt2").write_bytes(b"half")
    assert run("export", bundle, "-f", "torch", "--parser-only", "-o", tmp_path / "out").status == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["export.json", "parser.pt2"]


def test_long_windows_need_a_short_clip_only() -> None:
    assert exporting._MOST_SECONDS <= 30


@pytest.mark.full_size  # it takes half a minute of CPU time, most of it in PyTorch's exporter
@pytest.mark.timeout(900)
@pytest.mark.skipif(not PACKAGES["onnx"], reason="its packages are not installed")
def test_the_page_from_top_to_bottom(
    run: Run, bundle: Path, tmp_path: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime gives what avvp parse does, without PyTorch."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    bundle.rename(tmp_path / "runs" / "leap")
    (tmp_path / "one.mp4").write_bytes(clips.blink.read_bytes())
    page = PAGE.read_text(encoding="utf-8")
    for line in "".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL)).splitlines():
        result = run(*shlex.split(line)[1:])
        assert result.status == 0, (line, result.err)
    assert run("extract", "one.mp4", "--weights", "runs/leap", "-o", "feats").status == 0
    assert run("parse", "one.mp4", "--weights", "runs/leap", "--segments", "-o", "events.json").status == 0
    program = re.findall(r"```py\n(.*?)```", page, re.DOTALL)[0]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(program, "documentation", "exec"), values := {})  # noqa: S102
    assert [line.split(" ", 1)[0] for line in printed.getvalue().splitlines()] == list(LABELS)
    events = json.loads((tmp_path / "events.json").read_text())
    found = values["audio"][0, : values["seconds"]]
    np.testing.assert_allclose(found, np.array(events["segments"]["audio"]), atol=1e-4)


@pytest.mark.full_size
@pytest.mark.timeout(900)
@pytest.mark.parametrize("form", formats("torch", "onnx"))
@pytest.mark.parametrize("name", ["vggish", "resnet152", "r2plus1d_18"])
def test_full_size_extractors(name: str, form: str, tmp_path: Path) -> None:
    extractor = build_extractor(name, untrained_state(extractor_shapes(name), 7))
    shape, dtype = extractor.input_format.shape, extractor.input_format.dtype
    program = Program(
        "network",
        ExtractorProgram(extractor),
        {"inputs": torch.from_numpy(np.zeros((2, *shape), dtype))},
        ("features",),
    )
    run = EXPORT_FORMATS[form].write(program, tmp_path / f"network{EXPORT_FORMATS[form].suffixes[0]}")
    inputs = (np.random.default_rng(2).random((3, *shape)) * (255 if dtype is np.uint8 else 1)).astype(dtype)
    expected = program.run([inputs])[0]
    difference = np.abs(run([inputs])[0] - expected).max() / max(1, np.abs(expected).max())
    assert difference <= EXPORT_FORMATS[form].tolerance


@pytest.mark.full_size
@pytest.mark.timeout(900)
@pytest.mark.skipif(not PACKAGES["onnx"], reason="its packages are not installed")
def test_the_full_size_parser(tmp_path: Path) -> None:
    parser = build_parser(ParserConfig(labels=LLP_LABELS), torch.randn(len(LLP_LABELS), 300)).eval()
    check_parser(parser, EXPORT_FORMATS["onnx"], tmp_path)
