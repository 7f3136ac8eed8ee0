"""Lanes that compute batches beside each other: order, bounds, errors, and rows equal to those of one thread."""

from __future__ import annotations

import threading
import time
from concurrent.futures import CancelledError, wait
from dataclasses import replace
from pathlib import Path

import avvp
import numpy as np
import pytest
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.extractors.sampling import Stream
from avvp.pipeline.batch.compute_workers import file_batches, warm_up_lanes
from avvp.pipeline.errors import MediaError
from avvp.pipeline.features.compute_lanes import Batches, ComputeLanes, LanesClosedError, WaitingInputs, one_core
from avvp.pipeline.features.extract import FeatureComputation, extract_features
from avvp.pipeline.inference.bundle import load_networks
from avvp.weights.untrained import untrained_state
from support.media import Clips

NAMES = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")
SIZES: dict[Stream, int] = {"audio": 2, "visual_2d": 4, "visual_3d": 1, "visual_map": 4}


@pytest.fixture(scope="module")
def extractors() -> dict[str, Extractor]:
    return {name: build_extractor(name, untrained_state(extractor_shapes(name), 3)) for name in NAMES}


def test_calls_run_beside_each_other_in_threads_with_their_part_of_the_cores() -> None:
    before = torch.get_num_threads()
    both = threading.Barrier(2)

    def meet() -> int:
        both.wait(timeout=10)  # a BrokenBarrierError if there is one lane
        return torch.get_num_threads()

    with ComputeLanes(2) as lanes:
        assert [call.result() for call in [lanes.submit(meet, rank=0) for _ in range(2)]] == [1, 1]
    assert torch.get_num_threads() == before
    seen: list[int] = []
    late = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    late.start()
    late.join()
    assert seen == [before]  # threads that start later are not those of lanes


def test_one_core_within_the_context_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(KeyError), one_core():
            assert torch.get_num_threads() == 1
            raise KeyError
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_parsers_compute_with_one_core(tiny_bundle: Path, clips: Clips) -> None:
    seen: list[int] = []
    with avvp.load(tiny_bundle, device="cpu", threads=3) as parser:
        parser._loaded.trained_parser.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
        parser.parse(clips.blink)
    assert seen == [1]


def test_cores_beyond_the_most_lanes_are_divided() -> None:
    with ComputeLanes(40) as lanes:
        assert (lanes.count, lanes.submit(torch.get_num_threads, rank=0).result()) == (16, 2)


def test_lowest_rank_first_then_in_order() -> None:
    called: list[str] = []
    begin = threading.Event()
    with ComputeLanes(1) as lanes:
        first = lanes.submit(begin.wait, rank=9)
        calls = [
            lanes.submit(lambda name=name: called.append(name), rank=rank)
            for name, rank in {"a": 3, "b": 1, "c": 3, "d": 1}.items()
        ]
        calls.append(lanes.submit(lambda: called.append("never"), rank=0))
        assert calls[-1].cancel()
        begin.set()
        for call in (first, *calls[:-1]):
            call.result(timeout=10)
    assert called == ["b", "d", "a", "c"]


def test_an_error_is_that_of_its_call_alone() -> None:
    with ComputeLanes(1) as lanes:
        failed, good = lanes.submit(lambda: 1 / 0, rank=0), lanes.submit(lambda: 5, rank=0)
        with pytest.raises(ZeroDivisionError):
            failed.result()
        assert good.result() == 5


def test_closing_cancels_what_waits() -> None:
    begin = threading.Event()
    lanes = ComputeLanes(1)
    running, waiting = lanes.submit(begin.wait, rank=0), lanes.submit(lambda: 1, rank=0)
    while not running.running():
        time.sleep(0.001)
    lanes.close()
    assert wait([waiting], timeout=10).done
    with pytest.raises(CancelledError):
        waiting.result(timeout=10)
    with pytest.raises(LanesClosedError, match="closed"):
        lanes.submit(lambda: 1, rank=0)
    begin.set()
    assert running.result(timeout=10)


def test_waiting_inputs_are_bounded() -> None:
    waiting = WaitingInputs(2, most=50)
    waiting.add(40)
    waiting.add(40)  # one for each lane, of any size
    entered = threading.Event()

    def add() -> None:
        waiting.add(6)
        entered.set()

    threading.Thread(target=add, daemon=True).start()
    assert not entered.wait(0.05)
    waiting.remove(40)
    assert entered.wait(10)
    waiting.add(4)  # more than there are lanes, as long as they are small


def test_large_batches_of_a_file_are_computed_beside_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WaitingInputs.__init__, "__defaults__", (1,))  # one byte: each batch is a large one
    both = threading.Barrier(2)
    networks = {name: build_extractor(name, untrained_state(extractor_shapes(name), 3)) for name in NAMES}

    def meet(*_: object) -> None:
        both.wait(timeout=10)  # a BrokenBarrierError if one batch waits for the other

    networks["resnet_tiny"].register_forward_pre_hook(meet)
    form = networks["resnet_tiny"].input_format
    with ComputeLanes(2) as lanes:
        computation = FeatureComputation(networks, profile="clean", device="cpu", batches=Batches(SIZES, lanes=lanes))
        for _ in range(2):
            computation.add("visual_2d", np.zeros((SIZES["visual_2d"], *form.shape), form.dtype))
        computed = computation._networks["visual_2d"].rows(lambda: None)
    assert len(computed) == 2 * SIZES["visual_2d"]


@pytest.mark.parametrize("cores", [1, 3])
def test_rows_are_those_of_one_thread_to_the_bit(cores: int, extractors: dict[str, Extractor], clips: Clips) -> None:
    expected = extract_features(clips.steady, extractors, profile="clean", batches=Batches(SIZES, pad=True))
    with Batches(SIZES, pad=True, lanes=ComputeLanes(cores)) as batches:
        found = extract_features(clips.steady, extractors, profile="clean", batches=batches)
    for name, rows in expected.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], rows)


def test_maps_are_averaged_in_order(clips: Clips) -> None:
    names = ("vggish_tiny", "vgg19_tiny")
    networks = {name: build_extractor(name, untrained_state(extractor_shapes(name), 3)) for name in names}
    expected = extract_features(clips.steady, networks, profile="ave-4", batches=Batches(SIZES))
    with Batches(SIZES, lanes=ComputeLanes(2)) as batches:
        found = extract_features(clips.steady, networks, profile="ave-4", batches=batches)
    np.testing.assert_array_equal(found.visual_map, expected.visual_map)


def test_a_file_that_fails_leaves_the_lanes_to_others(extractors: dict[str, Extractor]) -> None:
    begin, computed = threading.Event(), list[int]()
    with ComputeLanes(1) as lanes:
        held = lanes.submit(begin.wait, rank=-1)
        computation = FeatureComputation(extractors, profile="clean", device="cpu", batches=Batches(SIZES, lanes=lanes))
        for form in computation.formats:
            inputs = np.zeros((SIZES[form.stream], *form.shape), form.dtype)
            computation.add(form.stream, inputs)
        for extractor in extractors.values():
            extractor.register_forward_pre_hook(lambda *_: computed.append(1))
        with pytest.raises(MediaError), computation.cancelling():
            raise MediaError(Path("broken.mp4"), "it is broken")
        begin.set()
        assert held.result(timeout=10)
        assert lanes.submit(lambda: "free", rank=9).result(timeout=10) == "free"
    assert not computed


def test_what_is_left_to_compute_is_reported(extractors: dict[str, Extractor], clips: Clips) -> None:
    reports: list[tuple[str, float, float | None]] = []
    begin = threading.Event()

    def progress(stage: str, done: float, total: float | None) -> None:
        if stage == "features":
            begin.set()
            reports.append((stage, done, total))

    with Batches(SIZES, lanes=ComputeLanes(1)) as batches:
        assert batches.lanes is not None
        batches.lanes.submit(begin.wait, rank=-1)
        features = extract_features(clips.steady, extractors, profile="clean", batches=batches, progress=progress)
    assert reports[0] == ("features", 0.0, features.duration)
    assert all(0 <= done <= features.duration for _, done, _ in reports)


def test_a_file_can_be_given_up_while_it_is_computed(extractors: dict[str, Extractor], clips: Clips) -> None:
    begin = threading.Event()

    def progress(stage: str, _done: float, _total: float | None) -> None:
        if stage == "features":
            raise KeyError("enough")

    with Batches(SIZES, lanes=ComputeLanes(1)) as batches:
        assert batches.lanes is not None
        held = batches.lanes.submit(begin.wait, rank=-1)
        with pytest.raises(KeyError, match="enough"):
            extract_features(clips.steady, extractors, profile="clean", batches=batches, progress=progress)
        begin.set()
        assert held.result(timeout=10)


def test_warming_up_computes_a_batch_of_each_network_in_a_lane(tiny_bundle: Path) -> None:
    extractors = load_networks(str(tiny_bundle), device="cpu").extractors
    seen: list[tuple[int, bool]] = []
    for network in extractors.by_name.values():
        network.register_forward_pre_hook(
            lambda _, inputs: seen.append((len(inputs[0]), threading.current_thread() is threading.main_thread()))
        )
    with file_batches(extractors, cores=2) as batches:
        warm_up_lanes(extractors, batches)
    assert sorted(seen) == [(1, False), (8, False), (10, False)]


def test_a_cpu_has_a_lane_for_each_core_and_batches_of_one_size(tiny_bundle: Path) -> None:
    extractors = load_networks(str(tiny_bundle), device="cpu").extractors
    with file_batches(extractors, cores=2) as batches:
        assert batches.lanes is not None
        assert (batches.lanes.count, batches.pad) == (2, True)
        assert (batches.sizes["audio"], batches.sizes["visual_2d"], batches.sizes["visual_3d"]) == (10, 8, 1)
    fast = replace(extractors, spec=replace(extractors.spec, profile="fast"))
    with file_batches(fast, cores=2) as batches:
        assert batches.sizes["visual_2d"] == 4  # of which 20 pictures are a multiple
    with file_batches(extractors, cores=1, seconds=12) as batches:
        assert (batches.sizes["audio"], batches.sizes["visual_2d"]) == (48, 96)
