"""Networks loaded once: many files, many threads, parts, thresholds, progress, errors, the end."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import avvp
import numpy as np
import pytest
import torch
from avvp.pipeline.api.session import FeatureSession
from avvp.pipeline.api.sources import Part
from avvp.pipeline.api.workers import DecodeAhead, WorkerPool
from avvp.pipeline.decode.options import DEFAULT_OPTIONS
from support.bundles import LABELS
from support.media import Clips


@pytest.fixture(scope="module")
def parser(tiny_bundle: Path) -> Iterator[avvp.Parser]:
    with avvp.load(tiny_bundle, device="cpu") as opened:
        yield opened


@pytest.fixture(scope="module")
def files(clips: Clips) -> list[Path]:
    return [clips.steady, clips.blink, clips.variable, clips.silent]


@pytest.fixture(scope="module")
def alone(parser: avvp.Parser, files: list[Path]) -> list[avvp.Timeline]:
    return [parser.parse(path, thresholds=0.0) for path in files]


def same(first: avvp.Timeline, second: avvp.Timeline) -> bool:
    assert first.probabilities is not None
    assert second.probabilities is not None
    theirs = second.probabilities.arrays()
    equal = all(np.array_equal(rows, theirs[name]) for name, rows in first.probabilities.arrays().items())
    return equal and first.to_dict() == second.to_dict()


def test_facts_of_a_parser(parser: avvp.Parser, tiny_bundle: Path) -> None:
    assert (parser.labels, parser.device, parser.precision, parser.window) == (LABELS, "cpu", "fp32", 10)
    assert parser.name == tiny_bundle.name
    assert parser.warning is None
    assert parser.spec.profile == "clean"
    assert repr(parser).startswith("Parser tiny\n  device cpu, precision fp32")
    assert f"{len(LABELS)} classes, windows of 10 s" in repr(parser)


def test_the_demo_model_warns_of_itself() -> None:
    with avvp.load("demo", device="cpu") as parser:
        assert parser.warning is not None
        assert "generated clips" in parser.warning
        assert "warning: " in repr(parser)


def test_many_files_give_what_each_gives_alone(
    parser: avvp.Parser, files: list[Path], alone: list[avvp.Timeline]
) -> None:
    results = list(parser.parse(files, thresholds=0.0, errors="raise"))
    assert [source for source, _ in results] == files
    assert all(same(timeline, expected) for (_, timeline), expected in zip(results, alone, strict=True))


def test_threads_give_what_each_gives_alone(parser: avvp.Parser, files: list[Path], alone: list[avvp.Timeline]) -> None:
    """Eight calls at a time of one parser, some of lists: equal bit for bit."""
    with ThreadPoolExecutor(8) as pool:
        single = [pool.submit(parser.parse, path, thresholds=0.0) for path in files * 2]
        many = [pool.submit(lambda: list(parser.parse(files, thresholds=0.0, errors="raise"))) for _ in range(2)]
    assert all(same(job.result(), expected) for job, expected in zip(single, alone * 2, strict=True))
    for job in many:
        assert all(same(timeline, expected) for (_, timeline), expected in zip(job.result(), alone, strict=True))


def test_a_short_file_first_changes_nothing(tiny_bundle: Path, files: list[Path], alone: list[avvp.Timeline]) -> None:
    """The first batch decides how weights are laid out in memory: batches of a stream always have the same size."""
    shapes: dict[str, set[tuple[int, ...]]] = defaultdict(set)

    def note(network: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        shapes[str(id(network))].add(tuple(inputs[0].shape))

    with avvp.load(tiny_bundle, device="cpu") as other:
        for network in other._loaded.extractors.by_name.values():
            network.register_forward_pre_hook(note)
        assert same(other.parse(files[1], thresholds=0.0), alone[1])
        assert same(other.parse(files[0], thresholds=0.0), alone[0])
    assert [len(seen) for seen in shapes.values()] == [1, 1, 1], shapes


def test_results_are_those_of_parse_video_within_rounding(
    parser: avvp.Parser, files: list[Path], tiny_bundle: Path
) -> None:
    ours = parser.parse(files[0]).probabilities
    theirs = avvp.parse_video(files[0], weights=str(tiny_bundle), device="cpu").probabilities
    assert ours is not None
    assert theirs is not None
    np.testing.assert_allclose(ours.audio, theirs.audio, atol=1e-5)
    np.testing.assert_allclose(ours.visual, theirs.visual, atol=1e-5)


def test_a_bad_file_does_not_end_the_run(parser: avvp.Parser, clips: Clips, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("not a video")
    sources: list[str | Path] = [clips.blink, text, str(tmp_path / "missing.mp4"), tmp_path, clips.steady]
    results = list(parser.parse(sources))
    assert [source for source, _ in results] == sources
    assert [type(result).__name__ for _, result in results] == ["Timeline", *["MediaError"] * 3, "Timeline"]
    assert "missing.mp4: no such file" in str(results[2][1])
    strict = parser.parse(sources, errors="raise")
    assert next(strict)[0] == clips.blink
    with pytest.raises(avvp.MediaError, match="notes"):
        next(strict)
    with pytest.raises(ValueError, match="errors is 'skip'"):
        parser.parse(sources, errors="skip")  # pyright: ignore[reportCallIssue, reportArgumentType]


def test_sources_of_another_type_are_an_error(parser: avvp.Parser) -> None:
    with pytest.raises(TypeError, match="int is neither a path nor MediaArrays"):
        list(parser.parse([3]))  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_what_is_no_source_is_an_error_before_networks_are_loaded() -> None:
    for source in (None, 3, b"video.mp4", np.zeros((8, 4, 4, 3), np.uint8)):
        for call in (avvp.parse, avvp.extract):
            with pytest.raises(TypeError, match=r"is neither a path nor MediaArrays .*, nor an iterable of them"):
                call(source, weights="no such bundle")  # pyright: ignore[reportArgumentType, reportCallIssue]


def test_decoding_options_are_checked_when_networks_are_loaded(tiny_bundle: Path, tiny_llp_bundle: Path) -> None:
    with pytest.raises(ValueError, match="unknown decoder 'vlc'; known: auto, ffmpeg, decord"):
        avvp.load(tiny_bundle, device="cpu", decoding=avvp.DecodeOptions("vlc"))
    with pytest.raises(ValueError, match="decord cannot make"):
        avvp.load(tiny_llp_bundle, device="cpu", decoding=avvp.DecodeOptions("decord"))


def test_files_are_decoded_ahead_of_the_networks(parser: avvp.Parser, files: list[Path]) -> None:
    """Two sources are taken before the first result; a generator is not emptied."""
    taken: list[Path] = []

    def paths() -> Iterable[Path]:
        for path in files:
            taken.append(path)
            yield path

    results = parser.extract(paths())
    assert not taken
    next(iter(results))
    assert taken == files[:2]
    assert len(list(results)) == len(files) - 1


def test_decoding_goes_on_while_nothing_is_read_and_stops_when_told() -> None:
    started, summary = threading.Event(), object()
    made: list[int] = []

    def decode(put: object) -> object:
        for number in range(1_000):
            put("audio", np.full(1, number))  # pyright: ignore[reportCallIssue]
            made.append(number)
            if number == 10:
                started.set()
        return summary

    ahead = DecodeAhead(decode)  # pyright: ignore[reportArgumentType]
    assert started.wait(10)
    time.sleep(0.1)
    assert len(made) <= 64  # what waits is bounded
    ahead.close()
    deadline = time.monotonic() + 10
    while threading.active_count() > 1 and time.monotonic() < deadline and len(made) < 64:
        time.sleep(0.01)
    assert len(made) <= 64


def test_parts_have_the_times_of_the_file(parser: avvp.Parser, clips: Clips) -> None:
    part = parser.parse(clips.steady, start=1, end=2, thresholds=0.0)
    assert {(event.onset, event.offset) for event in part.events} == {(1.0, 2.0)}
    whole, cut = parser.extract(clips.steady), parser.extract(clips.steady, start=1.2, end=1.8)
    np.testing.assert_array_equal(cut.audio, whole.audio[1:2])
    np.testing.assert_array_equal(cut.visual_2d, whole.visual_2d[8:16])
    with pytest.raises(ValueError, match="not a part of a file"):
        parser.parse(clips.steady, start=2, end=1)
    ((_, late),) = parser.parse([clips.steady], start=60)
    assert isinstance(late, avvp.MediaError)


def test_thresholds_are_numbers_tables_or_files(parser: avvp.Parser, clips: Clips, tmp_path: Path) -> None:
    everything = parser.parse(clips.steady, thresholds=0.0)
    assert len(everything.events) == 9
    assert not parser.parse(clips.steady, thresholds=avvp.Thresholds.uniform(LABELS, 1.0, 1.0)).events
    table = tmp_path / "thresholds.toml"
    table.write_text(
        "[audio.segment]\ndefault = 0\nDog = 1\n[visual.segment]\ndefault = 1\n[audio.video]\ndefault = 0\n"
    )
    found = parser.parse(clips.steady, thresholds=table).events
    assert {(event.modality, event.label) for event in found} == {
        ("audio", label) for label in LABELS if label != "Dog"
    }
    with pytest.raises(ValueError, match="numbers from 0 to 1"):
        parser.parse(clips.steady, thresholds=1.5)
    with pytest.raises(avvp.SetupError, match="nowhere"):
        parser.parse(clips.steady, thresholds="nowhere.toml")


def test_features_can_be_parsed_later(parser: avvp.Parser, files: list[Path], alone: list[avvp.Timeline]) -> None:
    features = parser.extract(files[0])
    assert same(parser.parse_features(features, thresholds=0.0), alone[0])
    maps = parser.attention(features)
    assert maps.labels == LABELS
    with avvp.load("demo", device="cpu") as demo, pytest.raises(ValueError, match="other extractors"):
        demo.parse_features(features)


def test_progress_is_reported(parser: avvp.Parser, files: list[Path], capfd: pytest.CaptureFixture[str]) -> None:
    reports: list[avvp.Progress] = []
    assert isinstance(parser.parse(files[0], progress=reports.append), avvp.Timeline)
    assert (reports[-1].stage, reports[-1].file, reports[-1].files) == ("done", 1, 1)
    reports.clear()
    list(parser.extract([files[0], "missing.mp4"], progress=reports.append))
    ended = [(report.source, report.file, report.files, report.stage) for report in reports if report.file]
    assert (str(files[0]), 1, 2, "done") in ended
    assert ended[-1] == ("missing.mp4", 2, 2, "failed")
    list(parser.parse(files[:2], progress=True))
    assert capfd.readouterr() == ("", "")  # the bar is for terminals


def test_an_error_of_the_callback_reaches_the_caller(parser: avvp.Parser, files: list[Path]) -> None:
    def fail(_: avvp.Progress) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        parser.parse(files[0], progress=fail)
    with pytest.raises(KeyError, match="mine"):
        list(parser.parse(files, progress=fail))
    assert isinstance(parser.parse(files[0]), avvp.Timeline)  # the parser is as good as before


def test_threads_of_pytorch_stay_those_of_the_caller(tiny_bundle: Path, clips: Clips) -> None:
    before = torch.get_num_threads()
    with avvp.load(tiny_bundle, device="cpu", threads=before + 1) as parser:
        seen = []
        with parser._session.computing():
            seen.append(torch.get_num_threads())
        parser.parse(clips.blink)
    assert (seen, torch.get_num_threads()) == ([before + 1], before)


def test_precision_and_compilation_are_reachable(
    tiny_bundle: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch
) -> None:
    with avvp.load(tiny_bundle, device="cpu", precision="bf16") as parser:
        assert parser.precision == "bf16"
        coarse = parser.extract(clips.blink)
    fine = avvp.extract(clips.blink, weights=tiny_bundle, device="cpu")
    assert 0 < np.abs(coarse.visual_2d - fine.visual_2d).max() < 0.1 * np.abs(fine.visual_2d).max()
    with pytest.raises(avvp.SetupError, match="tf32 needs an NVIDIA GPU"):
        avvp.load(tiny_bundle, device="cpu", precision="tf32")
    with pytest.raises(avvp.SetupError, match="unknown precision 'fp8'"):
        avvp.parse(clips.blink, weights=tiny_bundle, device="cpu", precision="fp8")
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch, "compile", lambda body, **_: (compiled.append(body), body)[1])
    with avvp.load(tiny_bundle, device="cpu", compile=True) as parser:
        assert isinstance(parser.parse(clips.blink), avvp.Timeline)
    assert len(compiled) == 3


def test_a_closed_parser_says_so(tiny_bundle: Path, clips: Clips) -> None:
    with avvp.load(tiny_bundle, device="cpu") as parser:
        features = parser.extract(clips.blink)
        results = parser.parse([clips.blink, clips.steady])
    for use in (
        lambda: parser.parse(clips.blink),
        lambda: parser.parse([clips.blink]),
        lambda: parser.extract(clips.blink),
        lambda: parser.parse_features(features),
        lambda: parser.attention(features),
        lambda: parser.labels,
        lambda: list(results),
    ):
        with pytest.raises(avvp.ParserClosedError, match=r"is closed; load another one with avvp\.load"):
            use()
    assert repr(parser) == "Parser tiny, closed"
    parser.close()  # again: nothing


def test_closing_ends_calls_of_other_threads(tiny_bundle: Path, clips: Clips) -> None:
    parser = avvp.load(tiny_bundle, device="cpu")
    results = parser.parse([clips.steady] * 50)
    next(results)
    with ThreadPoolExecutor(1) as pool:
        rest = pool.submit(list, results)
        parser.close()
        with pytest.raises(avvp.ParserClosedError):
            rest.result(timeout=60)


def test_an_iteration_that_is_given_up_leaves_a_working_parser(parser: avvp.Parser, files: list[Path]) -> None:
    for _ in parser.parse(files * 5):
        break
    assert isinstance(parser.parse(files[0]), avvp.Timeline)


def test_a_closed_parser_holds_no_networks(tiny_bundle: Path, files: list[Path]) -> None:
    parser = avvp.load(tiny_bundle, device="cpu")
    parser.parse(files[0])
    networks = [weakref.ref(network) for network in parser._session.extractors.by_name.values()]
    parser.close()
    gc.collect()
    assert [network() for network in networks] == [None] * len(networks)


def test_workers_of_the_pool_stay_and_end() -> None:
    pool = WorkerPool()
    with pool.lend("clean", DEFAULT_OPTIONS) as first, pool.lend("clean", DEFAULT_OPTIONS) as second:
        assert first is not second
        first.start()
        pid = first.pid
    with pool.lend("clean", DEFAULT_OPTIONS) as third, pool.lend("clean", DEFAULT_OPTIONS) as fourth:
        assert {third, fourth} == {first, second}
    assert pid is not None
    pool.close()
    assert first.pid is None


def test_a_forked_process_leaves_the_workers_of_its_parent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = WorkerPool()
    with pool.lend("clean", DEFAULT_OPTIONS) as worker:
        worker.start()
    with monkeypatch.context() as forked:
        forked.setattr("os.getpid", lambda: -1)
        pool.close()
        with pytest.raises(RuntimeError, match="load one in each process"), pool.lend("clean", DEFAULT_OPTIONS):
            pass
    assert worker.pid is not None
    pool.close()
    assert worker.pid is None


def test_a_forked_process_does_not_wait_for_a_thread_of_its_parent(
    parser: avvp.Parser, files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    features = parser.extract(files[0])
    calls = (lambda: parser.parse(files[0]), lambda: list(parser.parse(files)), lambda: parser.parse_features(features))
    with ThreadPoolExecutor(len(calls)) as pool, parser._session.computing(), monkeypatch.context() as forked:
        forked.setattr("os.getpid", lambda: -1)
        for call in calls:
            with pytest.raises(RuntimeError, match="load one in each process"):
                pool.submit(call).result(timeout=20)


@pytest.mark.parametrize("labels", [LABELS[::-1], LABELS[:1]], ids=["another order", "one class"])
def test_thresholds_of_other_classes_are_an_error(
    parser: avvp.Parser, tiny_bundle: Path, files: list[Path], labels: tuple[str, ...]
) -> None:
    thresholds = avvp.Thresholds.uniform(labels)
    with pytest.raises(ValueError, match="other classes than the parser's"):
        parser.parse(files[0], thresholds=thresholds)
    with pytest.raises(ValueError, match="other classes than the parser's"):
        avvp.parse_video(files[0], weights=str(tiny_bundle), device="cpu", thresholds=thresholds)


@pytest.mark.parametrize("option", ["threads", "batch_size", "workers"])
def test_numbers_of_nothing_are_an_error(tiny_bundle: Path, option: str) -> None:
    with pytest.raises(ValueError, match=f"{option} is 0"):
        avvp.load(tiny_bundle, device="cpu", **{option: 0})  # pyright: ignore[reportArgumentType]


def test_one_call_parses_or_extracts(tiny_bundle: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[FeatureSession] = []
    close = FeatureSession.close
    monkeypatch.setattr(FeatureSession, "close", lambda session: (closed.append(session), close(session))[1])
    assert avvp.parse(clips.blink, weights=tiny_bundle, device="cpu").segments == 1
    assert len(closed) == 1
    results = avvp.parse([clips.blink, "missing.mp4"], weights=str(tiny_bundle), device="cpu")
    assert [type(result).__name__ for _, result in results] == ["Timeline", "MediaError"]
    assert len(closed) == 2
    assert isinstance(avvp.extract(clips.blink, weights=tiny_bundle, device="cpu"), avvp.FeatureSet)
    for _, features in avvp.extract([clips.blink] * 3, weights=tiny_bundle, device="cpu", errors="raise"):
        assert features.segments == 1
        break
    assert len(closed) == 4


def test_a_missing_file_is_reported_before_networks_are_loaded() -> None:
    for call in (avvp.parse, avvp.extract):
        with pytest.raises(avvp.MediaError, match="no such file"):
            call("missing.mp4", weights="no such bundle")
    with pytest.raises(avvp.WeightsError, match="no such bundle"):
        avvp.parse(["missing.mp4"], weights="no such bundle")


def test_a_part_of_a_call_keeps_the_other_end_of_the_decoding_options() -> None:
    options = avvp.DecodeOptions(start=5, end=9)
    assert Part(end=8).apply(options) == avvp.DecodeOptions(start=5, end=8)
    assert Part(start=6).apply(options) == avvp.DecodeOptions(start=6, end=9)
    assert Part().apply(options) == options
