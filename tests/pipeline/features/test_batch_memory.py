"""Batches that do not fit into memory are refused before the run, with the option to lower."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.extractors import Extractor, build_extractor
from avvp.extractors.fused import fuse
from avvp.extractors.registry import extractor_shapes
from avvp.extractors.sampling import Stream
from avvp.pipeline.errors import SetupError
from avvp.pipeline.features import batch_memory
from avvp.pipeline.features.batch_memory import check_batch_memory
from avvp.weights.untrained import untrained_state
from support.command import Run
from support.media import Clips

MIB = 1 << 20
SIZES: dict[Stream, int] = {"audio": 32, "visual_2d": 8, "visual_3d": 1}


@pytest.fixture
def leave(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Leave some MiB of memory."""
    return lambda mib: monkeypatch.setattr(batch_memory, "available_memory", lambda: mib * MIB)


def networks(*, fused: bool) -> dict[Stream, Extractor]:
    names = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")
    plain = [build_extractor(name, untrained_state(extractor_shapes(name), 7)) for name in names]
    chosen = [fuse(network, dtype=torch.float32, compiled=False) if fused else network for network in plain]
    return {network.stream: network for network in chosen}


@pytest.mark.parametrize("fused", [False, True])
def test_the_largest_layer_decides(leave: Callable[[int], None], fused: bool) -> None:
    # resnet_tiny: an operation on 1 x 3 x 224 x 224 float32, read and written, is 1.15 MiB for each of 8 frames.
    extractors = networks(fused=fused)
    leave(30)
    check_batch_memory(extractors, SIZES)
    leave(5)
    with pytest.raises(SetupError, match=r"at least \d+ MiB .* 5 MiB may be used: use a smaller --batch-size, or"):
        check_batch_memory(extractors, SIZES)
    leave(30)
    with pytest.raises(SetupError, match="--batch-size or fewer --threads"):
        check_batch_memory(extractors, SIZES, threads=8)


def test_nothing_is_computed_where_there_is_plenty(
    leave: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    leave(100_000)
    monkeypatch.setattr(batch_memory, "_largest_layer", lambda _: pytest.fail("computed"))
    check_batch_memory(networks(fused=False), SIZES)


def test_the_check_leaves_features_as_they_are(leave: Callable[[int], None]) -> None:
    inputs = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (8, 224, 224, 3), np.uint8))
    first, second = networks(fused=True)["visual_2d"], networks(fused=True)["visual_2d"]
    leave(20)
    check_batch_memory({"visual_2d": second}, SIZES)
    with torch.inference_mode():
        rows = [network(network.prepare(inputs)) for network in (first, second)]
        check_batch_memory({"visual_2d": second}, SIZES)  # its weights are packed now
        rows.append(second(second.prepare(inputs)))
    assert torch.equal(rows[0], rows[1])
    assert torch.equal(rows[0], rows[2])


@pytest.mark.parametrize("command", ["parse", "extract"])
def test_the_command_line_names_the_option(
    run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path, leave: Callable[[int], None], command: str
) -> None:
    leave(200)
    output = ("-o", tmp_path / "out") if command == "extract" else ("-o", tmp_path / "events.json")
    result = run(command, clips.steady, "--weights", tiny_bundle, *output, "--batch-size", 1000, "-q")
    assert result.status in {1, 2}
    assert "use a smaller --batch-size" in result.err
    assert result.err.count("\n") == 1
