"""avvp weights quantize, and what commands do with the bundle that it writes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import avvp
import numpy as np
import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.quantization import write
from avvp.pipeline.sharing.quantization_record import read_record
from avvp.weights.manifest import read_bundle
from avvp.weights.quantized import identify_calibration
from support.bundles import copy_bundle
from support.command import Result, Run
from support.media import Clips
from support.quantized import quantize_once


@pytest.fixture(scope="module", autouse=True)
def _quantize_once() -> Iterator[None]:
    """Of clips and networks that several tests have."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "quantize_extractor", quantize_once)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, clips: Clips) -> Path:
    """Three clips and a file that is none."""
    folder = tmp_path_factory.mktemp("recordings")
    for number, clip in enumerate((clips.steady, clips.blink, clips.silent)):
        (folder / f"private-{number}.mp4").write_bytes(clip.read_bytes())
    (folder / "private-9.mp4").write_bytes(b"not a video")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, folder: Path, tiny_bundle: Path) -> tuple[Path, list[Path]]:
    """A bundle of quantized networks, as the command writes it."""
    from avvp.pipeline.files import list_files
    from avvp.pipeline.quantization.calibration import split_clips
    from avvp.weights.remote.bundles import load_bundle

    output = tmp_path_factory.mktemp("bundles") / "tiny-int8"
    bundle = load_bundle(str(tiny_bundle))
    calibration, held_out = split_clips(list_files(folder), 2, 2)
    quantized = write.quantize_bundle(bundle, calibration, held_out=held_out)
    write.write_quantized(quantized, output)
    return output, list(quantized.failed)


@pytest.fixture
def output(made: tuple[Path, list[Path]]) -> Path:
    return made[0]


def test_the_command_writes_a_bundle(run: Run, folder: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    command = ("weights", "quantize", tiny_bundle, "--clips", folder, "-o", tmp_path / "out")
    result = run(*command, "--calibrate", 2, "--check", 2)
    assert result.status == 0, result.err
    assert result.out == f"{tmp_path / 'out'}: a bundle of quantized networks, for --weights\n"
    assert "1 clips cannot be decoded and were left out (private-9.mp4: " in result.err
    assert "resnet_tiny: calibrated on " in result.err
    assert (tmp_path / "out" / "bundle.toml").is_file()
    refused = run(*command)
    assert refused.status == 2
    assert "already holds a bundle; set --overwrite" in refused.err


def test_the_bundle_says_what_it_is_made_of(
    output: Path, made: tuple[Path, list[Path]], folder: Path, tiny_bundle: Path
) -> None:
    bundle, original = read_bundle(output), read_bundle(tiny_bundle)
    assert bundle.name == "tiny-int8"
    assert bundle.extractors == {name: f"{name}.int8.safetensors" for name in original.extractors}
    assert set(bundle.sha256) == {*bundle.extractors.values(), "parser.safetensors"}
    assert (output / "parser.safetensors").read_bytes() == (tiny_bundle / "parser.safetensors").read_bytes()
    record = read_record(output)
    assert record.source == original.name
    assert len(record.calibration) + len(record.checked) + len(made[1]) == 4
    assert not set(record.calibration) & set(record.checked)
    assert set(record.inputs) == set(record.errors or {}) == set(original.extractors)
    card = (output / "README.md").read_text()
    assert all(digest in card for digest in record.calibration + record.checked)
    assert "private" not in card + (output / "quantization.json").read_text()  # names of recordings
    assert str(folder) not in card


def test_features_are_recorded_as_int8_and_near_to_fp32(
    run: Run, output: Path, clips: Clips, tiny_bundle: Path, tmp_path: Path
) -> None:
    assert run("extract", clips.steady, "-o", tmp_path / "int8", "--weights", output).status == 0
    assert run("extract", clips.steady, "-o", tmp_path / "fp32", "--weights", tiny_bundle).status == 0
    spec = json.loads((tmp_path / "int8" / "features.json").read_text())
    bundle = read_bundle(output)
    hashes = {name: bundle.sha256[file] for name, file in bundle.extractors.items()}
    assert (spec["precision"], spec["backend"]) == ("int8", "openvino")
    assert spec["calibration"] == identify_calibration(hashes)
    for name in bundle.extractors:
        first, second = (np.load(tmp_path / kind / name / "steady.npy") for kind in ("fp32", "int8"))
        assert first.shape == second.shape
        assert 0 < np.linalg.norm(first - second) < 0.1 * np.linalg.norm(first)
    mixed = run("extract", clips.blink, "-o", tmp_path / "int8", "--weights", tiny_bundle)
    assert mixed.status == 2
    assert "precision: " in mixed.err


def test_results_say_int8(run: Run, output: Path, clips: Clips) -> None:
    result = run("parse", clips.steady, "--weights", output, "-q")
    assert result.status == 0, result.err
    provenance = json.loads(result.out)["provenance"]
    assert (provenance["bundle"], provenance["precision"], provenance["backend"]) == ("tiny-int8", "int8", "openvino")
    assert set(provenance["weights"]) == {*read_bundle(output).extractors.values(), "parser.safetensors"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precision", "fp32"), "are quantized; for --precision fp32, name the original bundle"),
        (("--precision", "bf16"), "its networks compute in int8 by openvino, not in bf16"),
        (("--backend", "torch"), "are quantized; for --backend torch, name the original bundle"),
        (("--compile",), "its networks are quantized; leave out --compile"),
    ],
)
def test_other_precisions_are_refused(
    run: Run, output: Path, clips: Clips, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = run("extract", clips.steady, "-o", tmp_path / "feats", "--weights", output, *options)
    assert result.status == 2
    assert message in result.err


def test_torch_is_refused_in_python_and_by_servers(run: Run, output: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="are quantized; for --backend torch, name the original bundle"):
        avvp.load(output, backend="torch", device="cpu")
    common = ("serve", "-o", tmp_path / "served", "--port", 0, "--weights", output)
    for options in (("--backend", "torch"), ("--precision", "fp32")):
        result = run(*common, *options)
        assert result.status == 2
        assert f"are quantized; for {' '.join(options)}, name the original bundle" in result.err


@pytest.mark.parametrize("options", [("--precision", "int8"), ("--precision", "auto", "--backend", "auto")])
def test_int8_and_auto_are_what_the_bundle_is(
    run: Run, output: Path, clips: Clips, tmp_path: Path, options: tuple[str, ...]
) -> None:
    result = run(
        "extract", clips.tone, "-o", tmp_path / "feats", "--weights", output, "--extractors", "vggish_tiny", *options
    )
    assert result.status == 0, result.err
    assert json.loads((tmp_path / "feats" / "features.json").read_text())["precision"] == "int8"


def test_damaged_networks_are_refused(run: Run, output: Path, clips: Clips, tmp_path: Path) -> None:
    damaged = copy_bundle(output, tmp_path / "damaged")
    file = damaged / "resnet_tiny.int8.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    result = run("parse", clips.steady, "--weights", damaged, "-q")
    assert result.status == 2
    assert "the file is damaged or a different one" in result.err


def test_networks_under_the_names_of_others_are_refused(run: Run, output: Path, clips: Clips, tmp_path: Path) -> None:
    changed = copy_bundle(output, tmp_path / "changed")
    text = (changed / "bundle.toml").read_text().partition("[sha256]")[0]
    swapped = text.replace("resnet_tiny.int8", "x").replace("vggish_tiny.int8", "resnet_tiny.int8")
    (changed / "bundle.toml").write_text(swapped.replace('"x.safetensors"', '"vggish_tiny.int8.safetensors"'))
    result = run("parse", clips.steady, "--weights", changed, "-q")
    assert result.status == 2
    assert "holds the network" in result.err


def test_some_quantized_networks_beside_others_are_refused(
    run: Run, output: Path, clips: Clips, tmp_path: Path, tiny_bundle: Path
) -> None:
    changed = copy_bundle(output, tmp_path / "changed")
    (changed / "resnet.safetensors").write_bytes((tiny_bundle / "resnet.safetensors").read_bytes())
    text = (changed / "bundle.toml").read_text().partition("[sha256]")[0]
    (changed / "bundle.toml").write_text(text.replace("resnet_tiny.int8.safetensors", "resnet.safetensors"))
    result = run("parse", clips.steady, "--weights", changed, "-q")
    assert result.status == 2
    assert "is quantized and resnet_tiny is not; all or none must be" in result.err


def check_refused(result: Result, message: str) -> None:
    assert result.status == 2, result.err
    assert message in result.err
    assert len(result.err.strip().splitlines()) <= 2


def test_what_cannot_be_quantized_is_refused(
    run: Run, output: Path, folder: Path, tiny_bundle: Path, tmp_path: Path
) -> None:
    target = ("-o", tmp_path / "out")
    quantize = ("weights", "quantize")
    check_refused(run(*quantize, output, "--clips", folder, *target), "its networks are quantized already")
    (tmp_path / "empty").mkdir()
    check_refused(run(*quantize, tiny_bundle, "--clips", tmp_path / "empty", *target), "no media files in this folder")
    same = run(*quantize, tiny_bundle, "--clips", folder, "-o", tiny_bundle, "--overwrite")
    check_refused(same, "holds the original networks; choose another folder")
    assert not (tmp_path / "out").exists()


def test_clips_that_cannot_be_decoded_end_with_an_error(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").write_bytes(b"not a video")
    result = run("weights", "quantize", tiny_bundle, "--clips", tmp_path / "clips", "-o", tmp_path / "out")
    assert result.status == 1
    assert "none of 1 clips can be decoded" in result.err
    assert not (tmp_path / "out" / "bundle.toml").exists()


def test_the_card_of_a_hub_has_the_measurements(run: Run, output: Path) -> None:
    result = run("weights", "push", output, "hf://alice/tiny", "--dry-run")
    assert result.status == 0, result.err
    assert "safetensors, extractors in int8" in result.out
    assert "## Quantization" in result.out
    assert all(digest in result.out for digest in read_record(output).calibration)
    assert all(f"{name}.int8.safetensors" in result.out for name in read_record(output).weights)


def test_export_names_the_original(run: Run, output: Path, tmp_path: Path) -> None:
    result = run("export", output, "--format", "torch", "-o", tmp_path / "exported")
    assert result.status == 2
    assert "is quantized; name the bundle that it was quantized from" in result.err


def test_int8_of_one_file_needs_a_quantized_bundle(run: Run, clips: Clips, tiny_bundle: Path) -> None:
    result = run("parse", clips.steady, "--weights", tiny_bundle, "--precision", "int8")
    check_refused(result, "int8 needs quantized networks, and those of tiny are not: avvp weights quantize makes")
    missing = run("parse", clips.steady, "--offline", "--precision", "int8")  # before its files are looked for
    check_refused(missing, "int8 needs quantized networks, and those of ")
    with pytest.raises(SetupError, match="int8 needs quantized networks, and bundle 'tiny' has none: avvp weights"):
        avvp.load(tiny_bundle, precision="int8", device="cpu")


def test_what_is_missing_is_named_before_anything_is_downloaded(
    run: Run, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing() -> None:
        raise SetupError("int8 needs NNCF")

    monkeypatch.setattr(write, "import_nncf", missing)
    result = run("weights", "quantize", "leap-llp", "--clips", folder, "-o", tmp_path / "out", "--offline")
    check_refused(result, "int8 needs NNCF")


def test_a_bundle_in_this_folder_has_its_name(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    described = write._describe(read_bundle(tiny_bundle), Path(), {}, {})
    assert described.name == tmp_path.name
