"""The engine: a process that stays warm, whatever becomes of a file."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from avvp.pipeline.errors import MediaError, OutputError, SetupError
from avvp.pipeline.serve.jobs import engine_main
from avvp.pipeline.serve.jobs.engine import Engine, JobStoppedError, Parsed
from avvp.pipeline.serve.jobs.job_queue import Progress
from support.media import Clips
from support.serve import SETTINGS


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Iterator[Engine]:
    """An engine that takes up to two and a half seconds of media."""
    made = Engine(replace(SETTINGS, weights=str(tiny_bundle), threads=1, max_media=2.5))
    made.start()
    yield made
    made.close()


@pytest.fixture
def parse(engine: Engine, tmp_path: Path) -> Callable[..., Parsed]:
    """Parse a file to `out.json`."""

    def call(
        path: Path,
        *,
        report: Callable[[Progress], None] = lambda _: None,
        is_stopped: Callable[[], bool] = lambda: False,
        seconds: float = 60,
        target: Path = tmp_path / "out.json",
    ) -> Parsed:
        return engine.parse(path, "shown.mp4", target, report=report, is_stopped=is_stopped, seconds=seconds)

    return call


def pid(engine: Engine) -> int:
    assert engine._process is not None
    return engine._process.pid


def test_a_timeline_with_the_name_that_is_shown(parse: Callable[..., Parsed], clips: Clips, tmp_path: Path) -> None:
    seen: list[Progress] = []
    parsed = parse(clips.blink, report=seen.append)
    document = json.loads((tmp_path / "out.json").read_bytes())
    assert parsed.duration == pytest.approx(0.3, abs=0.1)
    assert parsed.events == len(document["events"])
    assert document["media"]["path"] == "shown.mp4"
    assert str(clips.folder) not in json.dumps(document)
    assert [progress.stage for progress in seen][-2:] == ["events", "film"]
    bands = json.loads((tmp_path / "bands.json").read_bytes())
    assert {"wave", "mel"} <= bands.keys()
    assert bands["mel"]["url"].startswith("data:image/")
    assert "segments" in document


def test_faults_of_a_file_leave_the_engine_as_it_was(
    engine: Engine, parse: Callable[..., Parsed], clips: Clips, tmp_path: Path
) -> None:
    before = pid(engine)
    with pytest.raises(MediaError, match="lasts 0:03, longer than 0:02, the most"):
        parse(clips.steady)
    with pytest.raises(MediaError, match="not a media file"):
        parse(Path(__file__))
    with pytest.raises(OutputError, match="cannot be written"):
        parse(clips.blink, target=tmp_path / "missing" / "out.json")
    with pytest.raises(JobStoppedError):
        parse(clips.tone, is_stopped=lambda: True)
    with pytest.raises(MediaError, match="took longer than 0 s, the most that a job may take"):
        parse(clips.tone, seconds=0)
    assert parse(clips.blink).duration > 0
    assert pid(engine) == before


def test_a_film_that_cannot_be_drawn_leaves_a_warning(clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(engine_main, "media_bands", fail)
    assert engine_main._bands(clips.blink, 0.3, SETTINGS) == ({}, ["film and waveform are left out: ZeroDivisionError"])


def test_an_engine_that_is_killed_fails_one_job_and_starts_again(
    engine: Engine, parse: Callable[..., Parsed], clips: Clips
) -> None:
    os.kill(pid(engine), signal.SIGSTOP)
    thread = threading.Thread(target=lambda: (time.sleep(0.5), os.kill(pid(engine), signal.SIGKILL)))
    thread.start()
    with pytest.raises(MediaError, match="its engine was killed by signal 9"):
        parse(clips.blink)
    thread.join()
    assert parse(clips.blink).duration > 0


def test_an_engine_that_hangs_is_killed(engine: Engine, parse: Callable[..., Parsed], clips: Clips) -> None:
    before = pid(engine)
    os.kill(before, signal.SIGSTOP)
    begin = time.monotonic()
    with pytest.raises(JobStoppedError):
        parse(clips.blink, is_stopped=lambda: True)
    assert time.monotonic() - begin < 5
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


def test_networks_that_do_not_fit_into_memory(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    sent: list[dict[str, str]] = []
    monkeypatch.setattr(engine_main, "warm_up_lanes", fail)
    monkeypatch.setattr(engine_main, "MessageWriter", lambda: SimpleNamespace(send=sent.append))
    monkeypatch.setattr(engine_main, "_read_commands", lambda *_: None)
    monkeypatch.setattr(
        "sys.stdin", io.StringIO(json.dumps(asdict(replace(SETTINGS, weights=str(tiny_bundle)))) + "\n")
    )
    engine_main.main()
    assert sent == [{"failed": "there is not enough memory for these networks"}]


def test_timelines_of_another_profile_and_precision(tiny_bundle: Path, clips: Clips, tmp_path: Path) -> None:
    engine = Engine(replace(SETTINGS, weights=str(tiny_bundle), threads=1, profile="fast", precision="bf16"))
    target = tmp_path / "out.json"
    try:
        engine.parse(clips.blink, "a.mp4", target, report=lambda _: None, is_stopped=lambda: False, seconds=60)
    finally:
        engine.close()
    document = json.loads(target.read_bytes())
    assert document["warnings"] == [
        "approximate: features of profile fast, but the parser was trained on profile clean"
    ]
    assert (document["provenance"]["precision"], document["provenance"]["backend"]) == ("bf16", "torch")
    assert document["provenance"]["features"]["frames_per_segment"] == 2


def test_what_computes_the_networks_is_told(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SetupError("it cannot be converted")

    monkeypatch.setattr("avvp.pipeline.inference.bundle.compile_network", fail)
    settings = replace(SETTINGS, weights=str(tiny_bundle), precision="fp32", backend="openvino", device="cpu")
    loaded = engine_main._load(settings)
    with loaded.batches:
        assert loaded.notes == "PyTorch computes the parser, in the same precision: it cannot be converted"


def test_weights_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "bundle.toml").write_text("profile = 1")
    with pytest.raises(SetupError, match="not a bundle description"):
        Engine(replace(SETTINGS, weights=str(tmp_path))).start()


def test_a_job_that_waited_for_a_server_of_any_classes(engine: Engine, clips: Clips, tmp_path: Path) -> None:
    """This one was started with a trained bundle."""
    with pytest.raises(MediaError, match="this server finds the classes that its networks were trained on"):
        engine.parse(
            clips.steady,
            "shown.mp4",
            tmp_path / "out.json",
            report=lambda _: None,
            is_stopped=lambda: False,
            seconds=60,
            classes=["rain"],
        )
