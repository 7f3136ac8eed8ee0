"""`--backend auto` and `--precision auto`: the choice is printed once, recorded, and kept for the folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import avvp
import pytest
import torch
from avvp.pipeline.batch.extract_task import ExtractTask
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.batch.task import ComputeSettings
from avvp.pipeline.cli.kept_precision import FILE, choose_for_run, keep_precision
from avvp.pipeline.computing.speed_file import speed_path
from avvp.pipeline.decode.options import DEFAULT_OPTIONS
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.errors import SetupError
from avvp.weights.remote.bundles import load_bundle
from avvp.weights.source import ANYWHERE
from support.command import Result
from support.media import Clips
from support.speeds import remember_rates
from support.teachers import write_teachers

Run = Callable[..., Result]
AUTO = ("--precision", "auto")
CPU = ("--device", "cpu")


@pytest.fixture(autouse=True)
def _bf16_is_faster() -> Iterator[None]:
    remember_rates(9, 17, 8, 8)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def extract(run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> Callable[..., Result]:
    return lambda *more: run("extract", clips.blink, "-o", tmp_path / "feats", "--weights", tiny_bundle, *CPU, *more)


def spec(folder: Path) -> dict[str, object]:
    return json.loads((folder / "features.json").read_text())


def test_a_folder_keeps_what_was_chosen(extract: Callable[..., Result], tmp_path: Path) -> None:
    first = extract(*AUTO)
    assert first.status == 0
    assert first.err.count("computing in bf16, 1.9 times as fast as fp32 by torch (measured before)") == 1
    assert spec(tmp_path / "feats")["precision"] == "bf16"
    assert json.loads((tmp_path / "feats" / FILE).read_text()) == {"precision": "bf16", "backend": "torch"}
    remember_rates(9, 1, 8, 8)  # now fp32 is
    again = extract(*AUTO)
    assert "0 done, 1 done before" in again.err
    assert f"computing in bf16, as the results in {tmp_path / 'feats'} were" in again.err
    assert extract("--precision", "bf16").status == 0
    speed_path().unlink()
    assert "0 done, 1 done before" in extract(*AUTO, "--dry-run").err + extract(*AUTO).err


def test_a_folder_of_fp32_is_not_mixed(extract: Callable[..., Result], tmp_path: Path) -> None:
    extract()
    (tmp_path / "feats" / FILE).unlink()  # as in folders of earlier versions
    assert "0 done, 1 done before" in extract(*AUTO).err
    assert "precision" not in spec(tmp_path / "feats")


def test_backends_of_fp32_share_a_folder(extract: Callable[..., Result], clips: Clips, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    extract()
    result = extract(clips.steady, "--backend", "openvino")
    assert (result.status, "1 done, 1 done before" in result.err) == (0, True)
    assert spec(tmp_path / "feats")["backend"] == "openvino"  # of the last run
    assert "0 done, 2 done before" in extract(clips.steady).err


def test_openvino_is_chosen_where_it_is_faster(run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    remember_rates(9, 17, 30, 8)
    events = {}
    for backend in ("torch", "auto"):
        path = tmp_path / f"{backend}.json"
        result = run("parse", clips.blink, "--weights", tiny_bundle, *CPU, "--backend", backend, "-o", path)
        assert result.status == 0
        document = json.loads(path.read_text())
        events[document["provenance"]["backend"]] = document["events"]
    assert "computing in fp32 by openvino, 3.3 times as fast as fp32 by torch" in result.err
    for one, other in zip(events["torch"], events["openvino"], strict=True):
        assert one == {**other, "score": pytest.approx(other["score"], abs=1e-4)}


def test_quiet_runs_say_nothing(extract: Callable[..., Result]) -> None:
    assert extract(*AUTO, "-q").err == "1 done, 0 done before, 0 failed\n"


def test_a_dry_run_writes_nothing(extract: Callable[..., Result], tmp_path: Path) -> None:
    result = extract(*AUTO, "--dry-run")
    assert (result.status, "computing in bf16" in result.err) == (0, True)
    assert not (tmp_path / "feats" / FILE).exists()


def test_what_a_folder_was_computed_in_may_be_impossible_here(extract: Callable[..., Result], tmp_path: Path) -> None:
    extract()
    (tmp_path / "feats" / FILE).write_text('{"precision": "tf32", "backend": "torch"}')
    result = extract(*AUTO)
    assert result.status == 2
    assert "its results were computed in tf32: tf32 needs an NVIDIA GPU; on cpu, use fp32; choose another" in result.err
    (tmp_path / "feats" / FILE).write_text('{"precision": "fp3", "backend": "torch"}')
    assert "name --precision and --backend" in extract(*AUTO).err


def test_shards_that_choose_differently_do_not_mix(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    wanted = ComputePrecision("auto", backend="auto")
    keep_precision(storage, wanted, ComputePrecision("bf16"))
    keep_precision(storage, wanted, ComputePrecision("bf16"))
    with pytest.raises(SetupError, match="another shard computes in bf16 and has begun at the same moment"):
        keep_precision(storage, wanted, ComputePrecision("bf16", backend="openvino"))
    keep_precision(storage, ComputePrecision(), ComputePrecision())  # a user who names it may


@pytest.mark.parametrize("many", [False, True])
def test_timelines_say_what_was_chosen(
    run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path, *, many: bool
) -> None:
    where = ("--output-dir", tmp_path) if many else ("-o", tmp_path / "blink.events.json")
    result = run("parse", clips.blink, "--weights", tiny_bundle, *CPU, *AUTO, *where)
    assert (result.status, result.err.count("computing in bf16, 1.9 times")) == (0, 1)
    provenance = json.loads((tmp_path / "blink.events.json").read_text())["provenance"]
    assert (provenance["precision"], provenance["backend"]) == ("bf16", "torch")
    assert provenance["features"]["precision"] == "bf16"


def test_python_chooses_too(clips: Clips, tiny_bundle: Path) -> None:
    with avvp.load(tiny_bundle, device="cpu", precision="auto") as parser:
        assert (parser.precision, parser.backend) == ("bf16", "torch")
    features = avvp.extract(clips.blink, weights=tiny_bundle, device="cpu", precision="fp32", backend="auto")
    assert features.spec.backend == "torch"
    with pytest.raises(avvp.SetupError, match="unknown precision 'fp8'"):
        avvp.load(tiny_bundle, device="cpu", precision="fp8", backend="auto")


def test_defaults_of_the_user(extract: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVVP_EXTRACT_PRECISION", "auto")
    assert extract().status == 0
    assert spec(tmp_path / "feats")["precision"] == "bf16"


def test_impossible_wishes_are_refused(extract: Callable[..., Result]) -> None:
    result = extract("--precision", "tf32", "--backend", "auto")
    assert (result.status, "tf32 needs an NVIDIA GPU" in result.err) == (2, True)
    assert "fp16 is computed by the backend torch" in extract("--precision", "fp16", "--backend", "openvino").err


def test_the_machine_that_starts_a_cluster_chooses_for_it(tiny_bundle: Path, tmp_path: Path) -> None:
    """Its nodes may have GPUs, on which openvino does not compute."""
    pytest.importorskip("openvino")
    remember_rates(9, 17, 9, 40)
    wanted = ComputePrecision("auto", backend="auto")
    storage = LocalStorage(tmp_path)

    def choice(device: str) -> tuple[str, str]:
        settings = ComputeSettings(DEFAULT_OPTIONS, device, wanted)
        task = ExtractTask(bundle=load_bundle(str(tiny_bundle), ANYWHERE), settings=settings)
        task, reason = choose_for_run(task, storage, on_cluster=True)
        return str(task.settings.precision), reason

    chosen = {device: choice(device)[0] for device in ("auto", "cuda", "cpu")}
    assert chosen == {"auto": "bf16", "cuda": "bf16", "cpu": "bf16 by openvino"}
    keep_precision(storage, wanted, ComputePrecision("tf32"))  # which this machine cannot compute in
    assert choice("auto") == ("tf32", f"computing in tf32, as the results in {tmp_path} were")


def test_pseudo_labels_say_what_was_chosen(run: Run, clips: Clips, tmp_path: Path) -> None:
    clip, clap = write_teachers(tmp_path / "teachers")
    models = ("--clip-model", clip, "--clap-model", clap, "--offline", *CPU)
    labels = ("pseudo-label", clips.blink, "--no-weak-labels", "-o", tmp_path / "labels", *models)
    result = run(*labels, *AUTO)
    assert (result.status, result.err.count("computing in bf16, 1.9 times")) == (0, 1), result.err
    record = json.loads((tmp_path / "labels/pseudo_labels.json").read_text())
    assert (record["precision"], record["backend"]) == ("bf16", "torch")
    assert "0 done, 1 done before" in run(*labels, *AUTO).err
    assert "1 done, 0 done before" in run(*labels).err  # in fp32


def test_quantized_networks_are_not_chosen_for_others(extract: Callable[..., Result], tmp_path: Path) -> None:
    extract()
    (tmp_path / "feats" / FILE).write_text('{"precision": "int8", "backend": "openvino"}')
    assert "computing in bf16, 1.9 times as fast" in extract(*AUTO, "--dry-run").err
