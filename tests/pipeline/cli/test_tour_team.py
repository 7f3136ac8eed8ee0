"""The tour of a team with many files: shards at the same time, one killed, status, resume, failures, store, scores."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.pipeline.batch.storage import Shard
from avvp.pipeline.features.packed_store import open_features
from support.command import Result
from support.media import Clips

Run = Callable[..., Result]
Script = Callable[..., "subprocess.Popen[str]"]
GOOD = 10
DEADLINE = 120  # seconds


@pytest.fixture(scope="module")
def videos(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short clips in both shards of two, a text and an empty file."""
    folder = tmp_path_factory.mktemp("team")
    for number in range(GOOD):
        source = (clips.blink, clips.steady, clips.silent)[number % 3]
        shutil.copy(source, folder / f"clip{number}{source.suffix}")
    (folder / "text.mp4").write_text("not a video\n" * 50)
    (folder / "empty.mp4").touch()
    owners = {name: Shard(1, 2).holds(name) for name in [f"clip{number}" for number in range(GOOD)]}
    assert set(owners.values()) == {True, False}
    return folder


def results(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*.npy"))}


def wait_for(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_tour(run: Run, script: Script, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    feats = tmp_path / "feats"
    common = ("extract", videos, "--weights", tiny_bundle, "--workers", "1", "--threads", "1", "--quiet", "-o", feats)

    planned = run(*common, "--dry-run")
    assert planned.out.startswith(f"{GOOD + 2} to compute, 0 done before, 0 failed before\n  to compute: 12 new; ")
    assert "clip3" not in planned.out

    first, second = (script("avvp", *common, "--shard", f"{number}/2") for number in (1, 2))
    wait_for(lambda: len(list((feats / "journal").glob("run-*.json"))) == 2 or first.poll() or second.poll())
    second.send_signal(signal.SIGSTOP)
    wait_for(lambda: "started" in log_of(feats, "1/2") or first.poll() is not None)
    first.kill()
    first.wait()
    status = run("status", feats)
    assert f"{GOOD + 2} inputs" in status.out
    assert re.search(r"^  shards       1 killed, 1 running$", status.out, re.MULTILINE), status.out
    assert re.search(r"^    1/2 +killed on .+ left$", status.out, re.MULTILINE)
    refused = run(*common, "--shard", "2/2")
    assert (refused.status, "another process works on shard 2/2" in refused.err) == (2, True)
    refused = run(*common)
    assert (refused.status, "in use by another process" in refused.err) == (2, True)
    second.send_signal(signal.SIGCONT)
    assert second.wait(DEADLINE) == owned("text", "empty", number=2)

    resumed = run(*common, "--shard", "1/2")
    assert resumed.status == owned("text", "empty", number=1)
    whole = tmp_path / "whole"
    assert run(*common[:-1], whole).status == 1
    assert results(feats) == results(whole)
    assert len(results(feats)) == 3 * GOOD
    rows = [sorted(csv.reader((folder / "failures.csv").read_text().splitlines())) for folder in (feats, whole)]
    assert rows[0] == rows[1]
    assert [row[2] for row in rows[0]] == ["not-media", "category", "not-media"]
    assert not list(feats.rglob("*.part"))

    status = run("status", feats)
    assert status.status == 1
    assert "  done         10\n  failed       2: 2 not-media\n  left         0\n" in status.out
    assert "  shards       2 finished\n" in status.out
    assert "0 done, 10 done before, 2 failed; causes: 2 not-media" in run(*common).err

    assert run("pack", feats, tmp_path / "packed").status == 0
    assert len(open_features(tmp_path / "packed").ids()) == GOOD


def log_of(folder: Path, shard: str) -> str:
    """Return what a shard has journalled so far."""
    record = json.loads((folder / f"journal/run-{shard.replace('/', '-of-')}.json").read_text())
    return "".join(path.read_text() for path in (folder / "journal").glob(f"{record['log']}*.jsonl"))


def owned(*names: str, number: int) -> bool:
    return any(Shard(number, 2).holds(name) for name in names)


def test_timelines_of_shards_are_scored(run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    events = tmp_path / "events"
    for number in (1, 2):
        run("parse", videos, "--output-dir", events, "--weights", tiny_bundle, "--shard", f"{number}/2", "--quiet")
    assert len(list(events.glob("*.events.json"))) == GOOD
    made = run("convert", events, "--data-set", tmp_path / "data", "--split", "test")
    assert made.status == 0, made.err
    (events / "clip3.events.json").rename(events / "renamed.json")
    scored = run("evaluate", "--timelines", events, "--annotations", tmp_path / "data")
    assert scored.status == 0, scored.err
    assert f"all clips ({GOOD})" in scored.out


def test_status_is_watched_on_a_terminal(script: Script, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    feats = tmp_path / "feats"
    common = ("--weights", tiny_bundle, "--workers", "1", "--threads", "1", "--quiet", "-o", feats)
    running = script("avvp", "extract", videos, *common)
    wait_for(lambda: (feats / "journal/run.json").exists() or running.poll() is not None)
    leader, follower = pty.openpty()
    program = Path(sys.executable).with_name("avvp")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    watching = subprocess.Popen(
        [program, "status", feats, "--watch", "0.2"], stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            shown += os.read(leader, 65536)
        except OSError:  # the program has ended
            break
    os.close(leader)
    assert watching.wait(DEADLINE) == 1
    assert running.wait(DEADLINE) == 1
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()).splitlines()
    assert "  done         10" in [line.rstrip() for line in lines]
    assert any(line.startswith("  run          finished on") for line in lines)


def test_an_interrupted_run_says_so(run: Run, script: Script, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    feats = tmp_path / "feats"
    running = script("avvp", "extract", videos, "--weights", tiny_bundle, "--threads", "1", "-o", feats)
    wait_for(lambda: list((feats / "journal").glob("*.jsonl")) or running.poll() is not None)
    running.send_signal(signal.SIGTERM)  # as Slurm and Kubernetes do
    said, ended = running.communicate(timeout=DEADLINE)[1], running.returncode
    assert "the same command resumes the run" in said
    status = json.loads(run("status", feats, "--json").out)
    assert (ended, status["shards"][0]["state"]) == (130, "interrupted")
