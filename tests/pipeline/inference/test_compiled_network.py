"""Parsers and localizers that OpenVINO computes give the probabilities of their originals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.pipeline.backends import model_store, sized_model
from avvp.pipeline.backends.model_store import ModelStore
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference import compiled_network
from avvp.pipeline.inference.bundle import LoadedBundle, load_networks
from avvp.pipeline.inference.compiled_network import CompiledNetwork, compile_network
from avvp.pipeline.inference.networks import Network
from avvp.pipeline.inference.predict import predict_video
from avvp.pipeline.inference.programs import ParserProgram
from support.bundles import write_tiny_localizer
from support.command import Run
from support.media import Clips

CPU = torch.device("cpu")


def load(bundle: str, backend: str = "openvino") -> LoadedBundle:
    return load_networks(bundle, device="cpu", precision=ComputePrecision(backend=backend))


def random_streams(bundle: LoadedBundle, segments: int) -> list[np.ndarray]:
    generator = np.random.default_rng(segments)
    spec = bundle.extractors.spec
    shapes = [(segments * rate, dim) for rate, dim in zip(spec.rates, spec.dims, strict=True)]
    return [np.maximum(generator.standard_normal(shape, np.float32), 0) for shape in shapes]


def assert_equal_predictions(bundle: LoadedBundle, network: CompiledNetwork) -> None:
    for segments in (1, 7, 10, 23):
        streams = random_streams(bundle, segments)
        found, expected = (predict_video(one, streams, CPU).arrays() for one in (network, bundle.parser))
        assert found.keys() == expected.keys()
        for name, table in found.items():
            assert table.dtype == np.float32
            np.testing.assert_allclose(table, expected[name], atol=1e-5, err_msg=f"{name} of {segments} s")


def compiled(bundle: LoadedBundle, folder: Path) -> CompiledNetwork:
    frames = bundle.extractors.spec.frames_per_segment
    network = compile_network(bundle.trained_parser, frames, store=ModelStore(folder))
    assert network is not None
    return network


def test_a_parser(tmp_path: Path, tiny_bundle: Path) -> None:
    bundle = load(str(tiny_bundle))
    assert_equal_predictions(bundle, compiled(bundle, tmp_path))
    assert len(list(tmp_path.iterdir())) == 1
    compiled(bundle, tmp_path)
    assert len(list(tmp_path.iterdir())) == 1
    with torch.no_grad():
        next(bundle.trained_parser.parameters()).add_(0.5)
    assert_equal_predictions(bundle, compiled(bundle, tmp_path))  # not what was stored of the other parameters
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("system", ["ave", "psp", "dmrn"])
def test_a_localizer(tmp_path: Path, system: str) -> None:
    bundle = load(str(write_tiny_localizer(tmp_path / "bundle", system=system)))
    assert_equal_predictions(bundle, compiled(bundle, tmp_path / "store"))


def test_videos_of_any_length_are_computed_in_batches_of_two_sizes(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load(str(tiny_bundle))
    network, made = compiled(bundle, tmp_path), []
    original = sized_model._Compiled
    monkeypatch.setattr(sized_model, "_Compiled", lambda *given: (made.append(given[2]), original(*given))[1])
    for segments in (7, 10, 15, 33, 45, 50, 90, 200):
        streams = random_streams(bundle, segments)
        found, expected = (predict_video(one, streams, CPU).arrays() for one in (network, bundle.parser))
        for name, table in found.items():
            np.testing.assert_allclose(table, expected[name], atol=1e-5, err_msg=f"{name} of {segments} s")
    assert made == [1, 8]


def test_the_key_knows_the_form_that_is_converted(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed: list[object] = []
    original = model_store.model_key
    monkeypatch.setattr(
        compiled_network,
        "model_key",
        lambda network, *given, **facts: (keyed.append(network), original(network, *given, **facts))[1],
    )
    compiled(load(str(tiny_bundle)), tmp_path)
    assert isinstance(keyed[0], ParserProgram)  # whose code clamps and masks


def test_a_single_file_is_not_kept_waiting(
    run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SetupError("the parser was compiled")

    monkeypatch.setattr("avvp.pipeline.inference.bundle.compile_network", fail)
    options = ("--weights", tiny_bundle, "--backend", "openvino")
    single = run("parse", clips.blink, *options, "-o", tmp_path / "blink.json")
    assert (single.status, "PyTorch computes" in single.err) == (0, False), single.err
    dry = run("parse", clips.blink, *options, "--output-dir", tmp_path / "events", "--dry-run")
    assert (dry.status, "PyTorch computes" in dry.err) == (0, False), dry.err
    many = run("parse", clips.blink, clips.steady, *options, "--output-dir", tmp_path / "events")
    assert many.status == 0, many.err
    assert many.err.count("PyTorch computes the parser, in the same precision: the parser was compiled") == 1


@pytest.mark.parametrize("many", [False, True])
def test_a_cache_that_cannot_be_written_is_told_once(
    run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, many: bool
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    where = ("--output-dir", tmp_path / "events") if many else ("-o", tmp_path / "blink.json")
    result = run("parse", clips.blink, "--weights", tiny_bundle, "--backend", "openvino", *where)
    assert result.status == 0, result.err
    folder = tmp_path / "file" / "avvp" / "compiled"
    assert result.err.count(f"{folder}: cannot be written (Not a directory); networks are converted at each start") == 1


def test_features_that_are_not_finite_are_refused(tmp_path: Path, tiny_bundle: Path) -> None:
    bundle = load(str(tiny_bundle))
    network = compiled(bundle, tmp_path)
    streams = random_streams(bundle, 10)
    streams[0][3] = np.nan
    with pytest.raises(SetupError, match="features are NaN or infinite"):
        predict_video(network, streams, CPU)


def test_pytorch_computes_what_cannot_be_converted(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load(str(tiny_bundle))

    def fail(*_: Any) -> Any:
        raise SetupError("the parser cannot be converted")

    monkeypatch.setattr(compiled_network, "convert_module", fail)
    with pytest.raises(SetupError):
        compile_network(bundle.trained_parser, 8, store=ModelStore(tmp_path))
    made = bundle.compile_parser()
    assert made.predictor is bundle.parser
    assert made.notes == ("PyTorch computes the parser, in the same precision: the parser cannot be converted",)
    assert made.notes[0] in repr(made)


def test_a_conversion_that_differs_is_not_used(
    tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compiled_network, "difference", lambda *_: 1e-3)
    with pytest.raises(SetupError, match="differs as an OpenVINO model from its original"):
        compile_network(load(str(tiny_bundle)).trained_parser, 8, store=ModelStore(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_only_openvino_compiles_parsers(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load(str(tiny_bundle), "torch")
    assert bundle.compile_parser() is bundle
    calls: list[Network] = []
    monkeypatch.setattr(
        "avvp.pipeline.inference.bundle.compile_network", lambda network, *_, **__: calls.append(network)
    )
    load(str(tiny_bundle)).compile_parser(2)
    assert len(calls) == 1


def test_parse_by_both_backends(run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
    """A file, and a folder with the compiled parser: the events and probabilities of PyTorch."""
    documents = {}
    for backend in ("torch", "openvino"):
        options = ("--weights", tiny_bundle, "--backend", backend, "--segments", "-q")
        assert run("parse", clips.steady, *options, "-o", tmp_path / f"{backend}.json").status == 0
        assert run("parse", clips.steady, *options, "--output-dir", tmp_path / backend).status == 0
        written = [tmp_path / f"{backend}.json", *(tmp_path / backend).glob("*.events.json")]
        documents[backend] = [json.loads(path.read_text()) for path in written]
        assert len(written) == 2
    for ours, theirs in zip(documents["openvino"], documents["torch"], strict=True):
        assert (ours["provenance"]["backend"], theirs["provenance"]["backend"]) == ("openvino", "torch")
        assert ours["segments"].keys() == theirs["segments"].keys()
        for name, table in ours["segments"].items():
            np.testing.assert_allclose(table, theirs["segments"][name], atol=2e-4, err_msg=name)
        assert [event["label"] for event in ours["events"]] == [event["label"] for event in theirs["events"]]
