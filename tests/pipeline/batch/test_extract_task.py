"""`avvp extract`: compared with `extract_features`, run again, killed, and on unusable files."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.batch.journal import Journal
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.errors import DecodeTimeoutError, MediaError
from avvp.pipeline.features.extract import extract_features
from avvp.pipeline.features.npy_folders import FeatureFolders
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.inference.bundle import load_networks
from avvp.pipeline.preprocess import worker_process as decode_pool
from avvp.pipeline.preprocess.worker_process import DecodeWorker
from support.bundles import copy_bundle, write_tiny_bundle
from support.command import RUN_MARK, Result
from support.media import Clips

FOLDERS = {"vggish_tiny": "audio", "resnet_tiny": "visual_2d", "r2plus1d_tiny": "visual_3d"}
GOOD = ("steady", "silent", "blind", "variable", "rotated", "two_streams", "blink", "truncated", "damaged")
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def videos(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good files and three that cannot be decoded."""
    folder = tmp_path_factory.mktemp("videos")
    for name in GOOD:
        source = getattr(clips, name)
        shutil.copy(source, folder / f"{name}{source.suffix}")
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("not a video\n" * 50)
    shutil.copy(clips.headless, folder / "headless.mp4")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.npy")}


def records(folder: Path, status: str) -> list[str]:
    lines = [line for path in (folder / "journal").glob("*.jsonl") for line in path.read_text().splitlines()]
    return [record["id"] for record in map(json.loads, lines) if record["status"] == status]


@pytest.mark.parametrize("bundle_name", ["tiny_bundle", "tiny_llp_bundle"])
def test_extract_equals_extract_features(
    run: Run, videos: Path, tmp_path: Path, bundle_name: str, request: pytest.FixtureRequest
) -> None:
    bundle = request.getfixturevalue(bundle_name)
    profile = "clean" if bundle_name == "tiny_bundle" else "llp"
    result = run("extract", videos, "-o", tmp_path, "--weights", bundle, "--device", "cpu")
    assert result.status == 1
    assert "9 done, 0 done before, 3 failed" in result.err
    extractors = load_networks(str(bundle)).extractors.by_name
    for path in sorted(videos.iterdir()):
        if path.stem not in GOOD:
            assert f"{path}: " in result.err
            continue
        expected = extract_features(path, extractors, profile=profile)
        for folder, stream in FOLDERS.items():
            rows, wanted = np.load(tmp_path / folder / f"{path.stem}.npy"), getattr(expected, stream)
            assert rows.dtype == np.float32
            np.testing.assert_allclose(rows, wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
        if path.stem == "damaged":  # ffmpeg's count of damaged frames, unlike its pictures, varies by one or two
            continue
        made = Journal(LocalStorage(tmp_path)).entries[path.stem]
        assert (made.status, tuple(made.warnings)) == ("done", expected.warnings)
        assert expected.media is not None
        assert made.media == expected.media.to_dict()
    with (tmp_path / "failures.csv").open(newline="") as file:
        assert [row["id"] for row in csv.DictReader(file)] == ["empty", "headless", "text"]
    source = FeatureFolders(tmp_path)
    assert source.spec.profile == profile
    assert source.lengths(sorted(source.ids()))[1] == []


def test_extract_does_not_depend_on_other_videos(run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    run("extract", videos, "-o", tmp_path / "all", "--weights", tiny_bundle, "--workers", 3)
    run("extract", videos / "steady.mp4", "-o", tmp_path / "one", "--weights", tiny_bundle, "--threads", 1)
    alone = contents(tmp_path / "one")
    assert len(alone) == 3
    assert {name: content for name, content in contents(tmp_path / "all").items() if "steady" in name} == alone


class TestAgain:
    """What a second run does."""

    @pytest.fixture
    def some(self, clips: Clips, tmp_path: Path) -> Path:
        folder = tmp_path / "some"
        folder.mkdir()
        shutil.copy(clips.blink, folder / "blink.mp4")
        shutil.copy(clips.tone, folder / "blind.wav")
        (folder / "empty.mp4").touch()
        return folder

    @pytest.fixture
    def extract(self, run: Run, some: Path, tmp_path: Path, tiny_bundle: Path) -> Callable[..., Result]:
        return lambda *more: run("extract", some, "-o", tmp_path / "feats", "--weights", tiny_bundle, *more)

    def test_second_run_computes_nothing(self, extract: Callable[..., Result], tmp_path: Path) -> None:
        assert "2 done, 0 done before, 1 failed" in extract().err
        before = contents(tmp_path / "feats")
        again = extract()
        assert again.status == 1
        assert "0 done, 2 done before, 1 failed" in again.err
        assert "empty.mp4: the file is empty" in again.err
        assert "1 of an earlier run's failures not tried again; --retry-failed tries them" in again.err
        assert contents(tmp_path / "feats") == before
        assert sorted(records(tmp_path / "feats", "done")) == ["blind", "blink"]

    def test_failed_video_is_retried_on_request_or_after_a_change(
        self, extract: Callable[..., Result], some: Path, tmp_path: Path
    ) -> None:
        extract()
        retried = extract("--retry-failed").err
        assert "0 done, 2 done before, 1 failed" in retried
        assert "--retry-failed" not in retried
        assert records(tmp_path / "feats", "failed") == ["empty", "empty"]
        shutil.copy(some / "blink.mp4", some / "empty.mp4")
        mended = extract()
        assert (mended.status, "1 done, 2 done before, 0 failed" in mended.err) == (0, True)
        assert not (tmp_path / "feats/failures.csv").exists()

    def test_features_of_a_broken_input_are_removed(
        self, extract: Callable[..., Result], some: Path, tmp_path: Path
    ) -> None:
        extract()
        (some / "blink.mp4").write_bytes(b"")
        assert "0 done, 1 done before, 2 failed" in extract().err
        assert not any("blink" in name for name in contents(tmp_path / "feats"))

    @pytest.mark.parametrize("spoil", ["unlink", "cut", "edit"])
    def test_damaged_output_is_recomputed(self, extract: Callable[..., Result], tmp_path: Path, spoil: str) -> None:
        extract()
        before = contents(tmp_path / "feats")
        path = tmp_path / "feats/resnet_tiny/blink.npy"
        if spoil == "unlink":
            path.unlink()
        elif spoil == "cut":
            path.write_bytes(path.read_bytes()[:-4])
        else:
            path.write_bytes(path.read_bytes()[:-1] + b"\0")
        plan = extract("--dry-run-list")
        assert plan.out.splitlines()[0] == "compute  blink  visual_2d  (an output is missing or was changed)"
        assert "1 done, 1 done before" in extract().err
        assert contents(tmp_path / "feats") == before

    def test_other_weights(
        self, extract: Callable[..., Result], run: Run, some: Path, tmp_path: Path, tiny_bundle: Path
    ) -> None:
        extract()
        before = contents(tmp_path / "feats")
        other = copy_bundle(tiny_bundle, tmp_path / "other")
        shutil.copy(write_tiny_bundle(tmp_path / "seeded", "clean", seed=8) / "vggish.safetensors", other)
        result = run("extract", some, "-o", tmp_path / "feats", "--weights", other)
        assert "2 done, 0 done before" in result.err
        after = contents(tmp_path / "feats")
        assert {name for name in before if before[name] != after[name]} == {
            "vggish_tiny/blink.npy",
            "vggish_tiny/blind.npy",
        }

    def test_another_resampler(self, extract: Callable[..., Result], some: Path, clips: Clips, tmp_path: Path) -> None:
        shutil.copy(clips.blind, some / "blind.wav")  # at 22.05 kHz
        extract("--resampler", "polyphase")
        before = contents(tmp_path / "feats")
        assert "0 done, 2 done before" in extract().err
        plan = extract("--resampler", "resampy", "--dry-run-list").out
        assert "compute  blink  audio  (other parameters, or not made yet)" in plan
        assert "2 done, 0 done before" in extract("--resampler", "resampy").err
        after = contents(tmp_path / "feats")
        assert "vggish_tiny/blind.npy" in {name for name in before if before[name] != after[name]}
        assert {name: after[name] for name in before if "vggish" not in name} == {
            name: before[name] for name in before if "vggish" not in name
        }
        assert "0 done, 2 done before" in extract("--resampler", "resampy").err

    def test_one_extractor_and_then_the_others(self, extract: Callable[..., Result], tmp_path: Path) -> None:
        extract("--extractors", "vggish_tiny")
        assert set(contents(tmp_path / "feats")) == {"vggish_tiny/blink.npy", "vggish_tiny/blind.npy"}
        plan = extract("--dry-run-list", "--retry-failed").out
        assert "compute  blink  visual_2d, visual_3d  (other parameters, or not made yet)" in plan
        assert "2 done, 0 done before" in extract().err
        assert len(contents(tmp_path / "feats")) == 6
        assert "0 done, 2 done before" in extract().err

    def test_overwrite(self, extract: Callable[..., Result], tmp_path: Path) -> None:
        extract()
        assert "2 done, 0 done before" in extract("--overwrite").err
        assert sorted(records(tmp_path / "feats", "done")) == ["blind", "blind", "blink", "blink"]

    def test_files_of_another_program_are_kept(self, extract: Callable[..., Result], tmp_path: Path) -> None:
        theirs = tmp_path / "feats/vggish_tiny/blink.npy"
        theirs.parent.mkdir(parents=True)
        theirs.write_bytes(b"precious")
        result = extract()
        assert result.status == 2
        assert "vggish_tiny/blink.npy were not made by an earlier run; --overwrite replaces them" in result.err
        assert theirs.read_bytes() == b"precious"
        assert "2 done" in extract("--overwrite").err

    def test_foreign_stream_is_kept_beside_ours(self, extract: Callable[..., Result], tmp_path: Path) -> None:
        extract("--extractors", "vggish_tiny")
        theirs = tmp_path / "feats/resnet_tiny/blink.npy"
        theirs.parent.mkdir()
        theirs.write_bytes(b"precious")
        result = extract()
        assert (result.status, "resnet_tiny/blink.npy were not made by" in result.err) == (2, True)

    def test_results_of_another_file_with_the_same_name_are_kept(
        self, extract: Callable[..., Result], run: Run, some: Path, clips: Clips, tmp_path: Path, tiny_bundle: Path
    ) -> None:
        extract()
        before = contents(tmp_path / "feats")
        (tmp_path / "other").mkdir()
        shutil.copy(clips.steady, tmp_path / "other/blink.mp4")
        again = ("extract", tmp_path / "other", "-o", tmp_path / "feats", "--weights", tiny_bundle)
        result = run(*again)
        assert result.status == 2
        assert f"other/blink.mp4: there are results of {some.resolve()}/blink.mp4" in result.err
        assert contents(tmp_path / "feats") == before
        (some / "blink.mp4").rename(some / "gone")  # what is not there any more may be replaced
        assert run(*again).status == 0

    def test_kept_stream_survives_an_interrupted_run(self, extract: Callable[..., Result], tmp_path: Path) -> None:
        extract("--extractors", "vggish_tiny")
        storage = LocalStorage(tmp_path / "feats")
        journal = Journal(storage)
        done = journal.entries["blink"]
        journal.append(replace(done, status="started"))
        journal.close()
        plan = extract("--dry-run-list", "--retry-failed").out
        assert "compute  blink  visual_2d, visual_3d  (interrupted before)" in plan

    def test_features_of_another_profile_are_not_mixed(self, extract: Callable[..., Result]) -> None:
        extract()
        result = extract("--profile", "llp")
        assert result.status == 2
        assert "profile: clean / llp" in result.err

    def test_json_log(self, extract: Callable[..., Result], tmp_path: Path) -> None:
        said = [json.loads(line) for line in extract("--json-log", "-").out.splitlines()]
        assert {(line["id"], line["status"]) for line in said} == {
            ("blink", "done"), ("blind", "done"), ("empty", "failed"),
        }  # fmt: skip
        assert said[-1]["left"] == 0
        assert next(line for line in said if line["id"] == "blind")["media_seconds"] == pytest.approx(2, abs=0.1)
        extract("--json-log", tmp_path / "log.jsonl", "--retry-failed")
        (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
        assert json.loads(line)["cause"] == "the file is empty"

    def test_fail_fast(self, extract: Callable[..., Result], some: Path) -> None:
        for number in range(30):
            shutil.copy(some / "blink.mp4", some / f"later{number}.mp4")
        result = extract("--fail-fast", "--workers", 1)
        assert result.status == 1
        assert "not tried" in result.err


def test_names(run: Run, clips: Clips, tmp_path: Path, tiny_bundle: Path) -> None:
    for folder in ("one", "two/deep"):
        (tmp_path / "tree" / folder).mkdir(parents=True)
        shutil.copy(clips.blink, tmp_path / "tree" / folder / "-a 'b\n.mp4")
    common = (tmp_path / "tree", "--recursive", "--weights", tiny_bundle, "-o", tmp_path / "feats")
    clash = run("extract", *common)
    assert clash.status == 2
    assert "--keep-tree" in clash.err
    assert run("extract", *common, "--keep-tree").status == 0
    assert FeatureFolders(tmp_path / "feats").ids() == {"one/-a 'b\n", "two/deep/-a 'b\n"}


def test_lists(run: Run, clips: Clips, tmp_path: Path, tiny_bundle: Path) -> None:
    common = ("--weights", tiny_bundle, "-o", tmp_path / "feats")
    (tmp_path / "list.txt").write_text(f"{clips.blink}\n\n{clips.blind}\n")
    (tmp_path / "list.csv").write_text(f"label,Path\nx,{clips.blink}\n")
    assert run("extract", "--list", tmp_path / "list.txt", *common).status == 0
    assert "0 done, 1 done before" in run("extract", "--list", tmp_path / "list.csv", *common).err
    (tmp_path / "list.csv").write_text("label,name\nx,y\n")
    assert (
        "no column path, file, video (found: label, name)"
        in run("extract", "--list", tmp_path / "list.csv", *common).err
    )
    assert "no inputs" in run("extract", *common).err


def test_extract_killed_at_random_ends_with_the_same_files(
    script: Callable[..., subprocess.Popen[str]], run: Run, clips: Clips, tmp_path: Path, tiny_bundle: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(24):
        shutil.copy(clips.steady if number % 3 else clips.blink, folder / f"clip{number}.mp4")
    shutil.copy(clips.headless, folder / "bad.mp4")
    command = ("extract", folder, "--weights", tiny_bundle, "-q", "-o")
    assert run(*command, tmp_path / "whole").status == 1
    chance = random.Random(5)  # noqa: S311
    for _ in range(6):
        process = script("avvp", *command, tmp_path / "killed")
        time.sleep(chance.uniform(3.5, 7))
        process.send_signal(signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 10
    while _left_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _left_running(), "decoding processes outlive the run"
    assert run(*command, tmp_path / "killed").status == 1
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    finished = records(tmp_path / "killed", "done")
    assert sorted(finished) == sorted({f"clip{number}" for number in range(24)}), "something was computed twice"
    assert not list((tmp_path / "killed").rglob(".avvp-*"))


def _left_running() -> list[str]:
    mark, found = f"{RUN_MARK}={os.getpid()}".encode(), []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                if mark in (process / "environ").read_bytes().split(b"\0"):
                    found.append((process / "cmdline").read_text())
            except OSError:
                continue
    return found


def test_two_runs_do_not_share_a_folder(run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    (tmp_path / "feats").mkdir()
    held = os.open(tmp_path / "feats", os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    result = run("extract", videos, "-o", tmp_path / "feats", "--weights", tiny_bundle)
    os.close(held)
    assert result.status == 2
    assert "in use by another process" in result.err


class TestDecodeProcess:
    """The long clip does not fit the shared memory: its decoding is still going on when the first inputs come."""

    @pytest.fixture
    def long(self, clips: Clips) -> Path:
        return clips.numbered("longer.mkv", 240, 8)

    def test_killed_decode_worker_fails_one_file(self, clips: Clips, long: Path) -> None:
        process = DecodeWorker("clean")
        with pytest.raises(MediaError, match="killed by signal 9"):
            process.decode(long, ["visual_2d"], lambda *_: os.kill(process.pid or 0, signal.SIGKILL))
        assert process.decode(clips.steady, ["visual_3d"], lambda *_: None).rows == {"visual_3d": [0, 1, 2]}
        process.close()

    def test_hanging_decode_worker_is_stopped(self, long: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(decode_pool, "_GRACE", 0.5)
        process = DecodeWorker("clean", DecodeOptions(timeout=0.5))
        with pytest.raises(DecodeTimeoutError, match="made no progress for 1 s"):
            process.decode(long, ["visual_2d"], lambda *_: os.kill(process.pid or 0, signal.SIGSTOP))
        process.close()

    def test_inputs_larger_than_the_shared_memory_pass_through_it(self, long: Path) -> None:
        process, sizes = DecodeWorker("clean"), []
        summary = process.decode(long, ["visual_2d", "visual_3d"], lambda _, given: sizes.append(given.nbytes))
        process.close()
        assert len(summary.rows["visual_2d"]) == 240
        assert sum(sizes) > decode_pool._SLOTS * decode_pool._SLOT_BYTES


class TestPacked:
    """`--layout packed`: the store that training reads."""

    @pytest.fixture
    def extract(self, run: Run, tmp_path: Path, tiny_bundle: Path) -> Callable[..., Result]:
        return lambda *more: run("extract", *more, "-o", tmp_path / "store", "--weights", tiny_bundle)

    def test_packed_layout_equals_avvp_pack(
        self, extract: Callable[..., Result], run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path
    ) -> None:
        good = [path for path in sorted(videos.iterdir()) if path.stem in {"steady", "blink", "silent", "blind"}]
        assert "the store holds 4 clips" in extract(*good, "--layout", "packed").err
        assert run("extract", *good, "-o", tmp_path / "llp", "--weights", tiny_bundle).status == 0
        assert run("pack", tmp_path / "llp", tmp_path / "packed").status == 0
        store, expected = open_features(tmp_path / "store"), open_features(tmp_path / "packed")
        assert (store.spec, store.ids()) == (expected.spec, expected.ids())
        assert store.lengths(sorted(store.ids())) == expected.lengths(sorted(store.ids()))
        for name in store.ids():
            np.testing.assert_array_equal(store.read(name), expected.read(name))

    def test_packed_store_grows_without_recomputing(
        self, extract: Callable[..., Result], videos: Path, tmp_path: Path
    ) -> None:
        extract(videos / "blink.mp4", "--layout", "packed")
        before = open_features(tmp_path / "store")
        (array,) = (tmp_path / "store").glob("features-*.npy")
        state = array.stat()
        assert "0 done, 1 done before" in extract(videos / "blink.mp4", "--layout", "packed").err
        assert array.stat() == state
        assert "1 done, 1 done before" in extract(videos / "blink.mp4", videos / "steady.mp4", "--layout", "packed").err
        after = open_features(tmp_path / "store")
        assert (before.ids(), after.ids()) == ({"blink"}, {"blink", "steady"})
        np.testing.assert_array_equal(before.read("blink"), after.read("blink"))
        assert not array.exists()

    def test_lost_packed_store_is_rebuilt(self, extract: Callable[..., Result], videos: Path, tmp_path: Path) -> None:
        extract(videos / "blink.mp4", "--layout", "packed")
        content = contents(tmp_path / "store")
        for path in (*(tmp_path / "store").glob("features-*.npy"), tmp_path / "store/index.json"):
            path.unlink()
        assert "0 done, 1 done before" in extract(videos / "blink.mp4", "--layout", "packed").err
        assert contents(tmp_path / "store") == content

    def test_foreign_packed_store_is_kept(
        self, extract: Callable[..., Result], run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path
    ) -> None:
        run("extract", videos / "steady.mp4", "-o", tmp_path / "llp", "--weights", tiny_bundle)
        assert run("pack", tmp_path / "llp", tmp_path / "store").status == 0
        result = extract(videos / "blink.mp4", "--layout", "packed")
        assert (result.status, "holds a store that `avvp pack` has made" in result.err) == (2, True)
        assert open_features(tmp_path / "store").ids() == {"steady"}
        assert extract(videos / "blink.mp4", "--layout", "packed", "--overwrite").status == 0
        assert open_features(tmp_path / "store").ids() == {"blink"}

    def test_packed_store_omits_and_reports_missing_and_outdated_clips(
        self, extract: Callable[..., Result], videos: Path, tmp_path: Path
    ) -> None:
        good = [videos / name for name in ("blink.mp4", "steady.mp4", "silent.mp4")]
        extract(*good, "--layout", "packed")
        (tmp_path / "store/clips/silent.npy").unlink()
        result = extract(videos / "blink.mp4", videos / "empty.mp4", "--layout", "packed", "--resampler", "torchaudio")
        assert "the store holds 1 clips; 2 are left out: made with other parameters, or gone" in result.err
        assert "empty.mp4: the file is empty" in result.err
        assert open_features(tmp_path / "store").ids() == {"blink"}
        assert "2 done, 1 done before" in extract(*good, "--layout", "packed").err
        assert open_features(tmp_path / "store").ids() == {"blink", "steady", "silent"}

    def test_packed_layout_needs_every_stream(self, extract: Callable[..., Result], videos: Path) -> None:
        result = extract(videos / "blink.mp4", "--layout", "packed", "--extractors", "vggish_tiny")
        assert (result.status, "--extractors goes with --layout llp" in result.err) == (2, True)
        result = extract(videos / "blink.mp4", "--extractors", "vggish")
        assert (result.status, "has no extractor 'vggish'; it has vggish_tiny" in result.err) == (2, True)


def test_unusable_inputs_fail_alone(run: Run, clips: Clips, tmp_path: Path, tiny_bundle: Path) -> None:
    """A pipe is not waited for; a name too long for a result is one video's fault."""
    (tmp_path / "in").mkdir()
    os.mkfifo(tmp_path / "in/pipe.mp4")
    shutil.copy(clips.blink, tmp_path / "in/blink.mp4")
    shutil.copy(clips.blink, tmp_path / "in" / f"{'x' * 250}.mp4")
    common = ("--weights", tiny_bundle, "--hash-inputs")
    result = run("parse", tmp_path / "in", "--output-dir", tmp_path / "out", *common)
    assert result.status == 1
    assert "1 done, 0 done before, 2 failed" in result.err
    assert "pipe.mp4: is not a regular file" in result.err
    assert "its name is too long for a result to be named after it" in result.err


def test_extract_to_an_url_killed_while_writing(
    script: Callable[..., subprocess.Popen[str]], clips: Clips, tmp_path: Path, tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Nothing is left among the temporary files, however a run ends."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "in").mkdir()
    for number in range(24):
        shutil.copy(clips.steady, tmp_path / f"in/clip{number}.mp4")
    command = ("extract", tmp_path / "in", "-o", f"file://{tmp_path}/out", "--weights", tiny_bundle, "-q")
    process = script("avvp", *command)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "out").rglob("*.npy"))) < 8 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not list((tmp_path / "tmp").iterdir())
    process = script("avvp", *command)
    assert process.wait(timeout=100) == 0
    assert len(contents(tmp_path / "out")) == 72
    assert not list((tmp_path / "tmp").iterdir())


def test_extract_to_an_url(run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path) -> None:
    """Through fsspec, the same files, journal and failures; the second run finds them."""
    common = (videos / "blink.mp4", videos / "empty.mp4", "--weights", tiny_bundle)
    for layout in ("llp", "packed"):
        there, here = f"file://{tmp_path}/there-{layout}", tmp_path / f"here-{layout}"
        for counts in ("1 done, 0 done before, 1 failed", "0 done, 1 done before, 1 failed"):
            assert counts in run("extract", *common, "-o", there, "--layout", layout).err
        assert run("extract", *common, "-o", here, "--layout", layout).status == 1
        assert contents(tmp_path / f"there-{layout}") == contents(here)
        assert (tmp_path / f"there-{layout}/failures.csv").read_text() == (here / "failures.csv").read_text()
    (tmp_path / "there-llp/vggish_tiny/blink.npy").write_bytes(b"spoilt")
    assert "1 done, 0 done before, 1 failed" in run("extract", *common, "-o", f"file://{tmp_path}/there-llp").err
    assert contents(tmp_path / "there-llp") == contents(tmp_path / "here-llp")


@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_compiled_networks_make_the_same_features(
    run: Run, script: Callable[..., subprocess.Popen[str]], videos: Path, tmp_path: Path, tiny_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no pool of processes that import torch
    common = ("extract", videos / "steady.mp4", videos / "blink.mp4", "--weights", tiny_bundle, "--device", "cpu")
    assert run(*common, "-o", tmp_path / "plain").status == 0
    process = script("avvp", *common, "-o", tmp_path / "compiled", "--compile")
    _, err = process.communicate(timeout=280)
    assert process.returncode == 0, err
    plain, compiled = contents(tmp_path / "plain"), contents(tmp_path / "compiled")
    assert plain.keys() == compiled.keys()
    for name in plain:
        expected = np.load(tmp_path / "plain" / name)
        np.testing.assert_allclose(np.load(tmp_path / "compiled" / name), expected, atol=1e-5 * np.abs(expected).max())
    again = script("avvp", *common, "-o", tmp_path / "plain", "--compile", "--dry-run-list")
    assert "2 to compute" in again.communicate(timeout=100)[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--precision", "tf32", "--device", "cpu"), "tf32 needs an NVIDIA GPU; on cpu, use fp32"),
        (("--device", "cpu,cpu"), "several devices must be numbered GPUs"),
        (("--cpus-per-actor", "2"), "--cpus-per-actor goes with --engine ray"),
    ],
)
def test_invalid_options_are_refused(
    run: Run, videos: Path, tmp_path: Path, tiny_bundle: Path, options: tuple[str, ...], message: str
) -> None:
    result = run("extract", videos / "blink.mp4", "-o", tmp_path, "--weights", tiny_bundle, *options)
    assert (result.status, message in result.err) == (2, True)
