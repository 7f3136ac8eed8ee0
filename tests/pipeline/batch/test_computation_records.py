"""How features were computed, in features.json, journals and timelines: what is mixed, and what is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import avvp
import pytest
from avvp.extractors.profiles import FeatureSpec
from avvp.pipeline.batch.extract_task import ExtractTask
from avvp.pipeline.batch.journal import hash_values
from avvp.pipeline.batch.parse_task import ParseTask
from avvp.pipeline.batch.task import ComputeSettings
from avvp.pipeline.decode.options import DEFAULT_OPTIONS
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.inference.bundle import LoadedBundle
from avvp.weights.remote.bundles import load_bundle
from avvp.weights.source import ANYWHERE
from support.command import Result
from support.media import Clips

Run = Callable[..., Result]


def test_fp32_of_all_backends_is_one_parameter() -> None:
    assert ComputePrecision().parameters == {"precision": "fp32"}
    assert ComputePrecision(backend="openvino").parameters == {"precision": "fp32"}
    assert ComputePrecision("bf16").parameters == {"precision": "bf16"}
    assert ComputePrecision("bf16", backend="openvino").parameters == {"precision": "bf16", "backend": "openvino"}
    assert (str(ComputePrecision("bf16")), str(ComputePrecision(backend="openvino"))) == ("bf16", "fp32 by openvino")


def test_parameters_are_those_of_earlier_versions(tiny_bundle: Path) -> None:
    """Else every journal would be out of date."""
    bundle = load_bundle(str(tiny_bundle), ANYWHERE)
    task = ExtractTask(bundle=bundle, settings=ComputeSettings(DEFAULT_OPTIONS, "cpu", ComputePrecision("bf16")))
    loaded = task.load()
    expected = hash_values({
        "version": 1, "profile": ["clean", 1], "precision": "bf16", "decoder": "auto", "extractor": "resnet_tiny",
        "weights": loaded.weight_ids["visual_2d"],
    })  # fmt: skip
    assert task.stream_parameters(loaded)["visual_2d"] == expected
    quantized = replace(loaded, spec=replace(loaded.spec, calibration="0123"))
    assert task.stream_parameters(quantized)["visual_2d"] != expected


def test_features_of_one_precision_are_not_mixed_with_others(
    run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path
) -> None:
    def extract(*options: str) -> Result:
        return run("extract", clips.blink, "-o", tmp_path / "feats", "--weights", tiny_bundle, *options)

    assert extract("--precision", "bf16").status == 0
    spec = json.loads((tmp_path / "feats/features.json").read_text())
    assert (spec["precision"], "backend" in spec) == ("bf16", False)
    refused = extract()
    assert refused.status == 2
    assert "holds other features (there / wanted): precision: bf16 / fp32; choose another folder" in refused.err
    # A folder of a version that did not record the precision: its journal tells.
    del spec["precision"]
    (tmp_path / "feats/features.json").write_text(json.dumps(spec))
    assert "0 done, 1 done before" in extract("--precision", "bf16").err
    assert json.loads((tmp_path / "feats/features.json").read_text())["precision"] == "bf16"


def test_fp32_is_not_mixed_with_bf16(run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
    command = ("extract", clips.blink, "-o", tmp_path / "feats", "--weights", tiny_bundle)
    assert run(*command).status == 0
    assert "precision" not in json.loads((tmp_path / "feats/features.json").read_text())
    refused = run(*command, "--precision", "bf16")
    assert (refused.status, "precision: fp32 / bf16" in refused.err) == (2, True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_timelines_and_features_name_the_computation(clips: Clips, tiny_bundle: Path, precision: str) -> None:
    with avvp.load(tiny_bundle, device="cpu", precision=precision) as parser:
        timeline, features = parser.parse(clips.blink), parser.extract(clips.blink)
        assert parser.backend == "torch"
    assert (timeline.provenance["precision"], timeline.provenance["backend"]) == (precision, "torch")
    assert FeatureSpec.from_dict(timeline.provenance["features"]) == features.spec
    assert (features.spec.precision, features.spec.backend) == (precision, "torch")


@pytest.mark.parametrize("kind", [ExtractTask, ParseTask])
def test_a_machine_that_only_plans_names_what_others_compute(
    tiny_bundle: Path, kind: type[ExtractTask | ParseTask]
) -> None:
    """As with Ray: the driver loads in fp32, which it can, and describes the networks of the nodes."""
    bundle = load_bundle(str(tiny_bundle), ANYWHERE)
    computed = ComputePrecision("tf32")
    planned: Any = kind(bundle=bundle, settings=ComputeSettings(DEFAULT_OPTIONS, "cpu"))
    task = replace(planned, settings=replace(planned.settings, precision=computed))
    loaded = planned.load()
    described = task.as_computed(loaded)
    extractors = described.extractors if isinstance(described, LoadedBundle) else described
    assert (extractors.spec.precision, extractors.precision) == ("tf32", computed)
    assert task.output_specs(described) != planned.output_specs(loaded)
