"""`avvp parse`: results, and one clear error line for every kind of bad input."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pytest
import torch
from avvp.pipeline.outputs.formats.events_json import load_schema
from safetensors.torch import load_file, save_file
from support.bundles import copy_bundle
from support.command import RUN_MARK, Result
from support.golden import MEDIA, needs_media
from support.media import Clips

Run = Callable[..., Result]


@pytest.fixture
def parse(run: Run, tiny_bundle: Path) -> Run:
    """``avvp parse`` with the tiny bundle."""
    return lambda *arguments: run("parse", "--weights", tiny_bundle, "--device", "cpu", *arguments)


def read(path: Path) -> dict:
    document = json.loads(path.read_text())
    jsonschema.validate(document, load_schema())
    return document


def leftovers(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "journal")


class TestResults:
    def test_a_file(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        result = parse(clips.steady, "-o", tmp_path / "events.json", "--threshold", 0)
        assert (result.status, result.out) == (0, "")
        document = read(tmp_path / "events.json")
        assert document["media"]["segments"] == 3
        assert {event["modality"] for event in document["events"]} == {"audio", "visual", "audio_visual"}
        assert "steady.mp4" in result.err
        assert "Violin fiddle" in result.err
        assert leftovers(tmp_path) == ["events.json"]

    @pytest.mark.parametrize("output", [(), ("-o", "-")])
    def test_standard_output_holds_the_document_and_nothing_else(
        self, parse: Run, clips: Clips, output: tuple[str, ...]
    ) -> None:
        result = parse(clips.steady, "-q", *output)
        jsonschema.validate(json.loads(result.out), load_schema())
        assert result.err == ""

    def test_folders_are_made_and_files_are_named(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        events, page = tmp_path / "a" / "b" / "events.json", tmp_path / "c" / "page.html"
        plot, maps = tmp_path / "d" / "e.png", tmp_path / "f" / "g.npz"
        options = ("-o", events, "--html", page, "--no-bands", "--plot", plot, "--explain", maps)
        result = parse(clips.blink, *options)
        assert result.status == 0
        assert result.err.splitlines()[-4:] == [f"wrote {path}" for path in (events, plot, page, maps)]
        assert all(path.is_file() for path in (events, page, plot, maps))
        assert not parse(clips.blink, *options, "-q").err

    def test_segments_are_added_on_request(self, parse: Run, clips: Clips) -> None:
        assert "segments" in json.loads(parse(clips.steady, "-q", "--segments").out)
        assert "segments" not in json.loads(parse(clips.steady, "-q").out)

    def test_verbose_names_weights_and_decoder(self, parse: Run, clips: Clips) -> None:
        err = parse(clips.steady, "-v").err
        assert "weights parser.safetensors" in err
        assert "frames by ffmpeg: 72 decoded, 0 damaged" in err

    def test_folder_pattern_and_file(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        inside = tmp_path / "in" / "deep"
        inside.mkdir(parents=True)
        for name in ("a.mp4", "b.mp4"):
            (inside.parent / name).write_bytes(clips.blink.read_bytes())
        (inside / "c.mp4").write_bytes(clips.blink.read_bytes())
        (inside.parent / "notes.txt").write_text("no video")
        out = tmp_path / "out"
        assert parse(inside.parent, "--output-dir", out, "-q").status == 0
        assert leftovers(out) == ["a.events.json", "b.events.json"]
        assert parse(inside.parent, "--recursive", "--output-dir", out, "-q").status == 0
        assert leftovers(out) == ["a.events.json", "b.events.json", "c.events.json"]
        again = tmp_path / "again"
        assert parse(f"{inside.parent}/[ab].mp4", clips.steady, "--output-dir", again, "-q").status == 0
        assert leftovers(again) == ["a.events.json", "b.events.json", "steady.events.json"]

    def test_thresholds_from_a_file(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        table = tmp_path / "t.toml"
        table.write_text("[audio.segment]\ndefault = 1\n[visual.segment]\ndefault = 1\nDog = 0\n")
        result = parse(clips.steady, "-q", "--thresholds", table, "--video-threshold", 0)
        document = json.loads(result.out)
        assert [(e["modality"], e["label"]) for e in document["events"]] == [("visual", "Dog")]
        assert document["provenance"]["thresholds"]["audio_segment"] == 1.0

    @pytest.mark.parametrize("decoder", ["ffmpeg", "decord"])
    def test_decoders(self, parse: Run, clips: Clips, decoder: str) -> None:
        assert json.loads(parse(clips.steady, "-q", "--decoder", decoder).out)["media"]["decoder"] == decoder

    def test_resamplers(self, parse: Run, clips: Clips) -> None:
        default, other = (
            json.loads(parse(clips.resampled, "-q", *options).out)["provenance"]
            for options in ((), ("--resampler", "resampy"))
        )
        assert other == default | {"resampler": "resampy"}

    def test_llp_profile(self, run: Run, tiny_llp_bundle: Path, clips: Clips) -> None:
        result = run("parse", clips.steady, "-q", "--weights", tiny_llp_bundle, "--threads", 1, "--batch-size", 1)
        assert json.loads(result.out)["provenance"]["features"]["profile"] == "llp"

    @needs_media
    @pytest.mark.parametrize("path", sorted(MEDIA.glob("*.m*")) if MEDIA.is_dir() else [], ids=lambda path: path.stem)
    @pytest.mark.parametrize("profile", ["clean", "llp"])
    def test_real_clips(self, run: Run, request: pytest.FixtureRequest, path: Path, profile: str) -> None:
        folder = request.getfixturevalue("tiny_bundle" if profile == "clean" else "tiny_llp_bundle")
        result = run("parse", path, "-q", "--weights", folder)
        assert (result.status, result.err) == (0, "")
        document = json.loads(result.out)
        jsonschema.validate(document, load_schema())
        assert document["media"]["segments"] == round(document["media"]["duration"])
        silent = path.stem in {"h265_video", "h264_10bits", "av1_video"}
        assert silent == any("no audio stream" in warning for warning in document["warnings"])


class TestBadInput:
    """One line, the right exit status, nothing half-written."""

    def fails(self, parse: Run, path: object, tmp_path: Path, message: str, *, status: int = 1) -> None:
        folder = tmp_path / "results"
        folder.mkdir()
        result = parse(path, "-o", folder / "events.json")
        assert result.status == status
        assert message in result.err
        lines = [line for line in result.err.splitlines() if line.startswith("Error")]
        assert len(lines) == 1
        assert "Traceback" not in result.err
        assert leftovers(folder) == []

    def partial(self, parse: Run, path: object, tmp_path: Path, warning: str) -> dict:
        result = parse(path, "-o", tmp_path / "events.json")
        assert result.status == 0
        document = read(tmp_path / "events.json")
        assert any(warning in text for text in document["warnings"])
        assert warning in result.err
        return document

    def test_missing_file(self, parse: Run, tmp_path: Path) -> None:
        self.fails(parse, tmp_path / "nothing.mp4", tmp_path, "nothing.mp4: no such file", status=2)

    def test_directory_without_media(self, parse: Run, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        self.fails(parse, tmp_path / "empty", tmp_path, "no media files in this folder", status=2)

    def test_empty_file(self, parse: Run, tmp_path: Path) -> None:
        (tmp_path / "x.mp4").write_bytes(b"")
        self.fails(parse, tmp_path / "x.mp4", tmp_path, "x.mp4: the file is empty")

    def test_text_renamed(self, parse: Run, tmp_path: Path) -> None:
        (tmp_path / "x.mp4").write_text("a letter to my bank\n" * 100)
        self.fails(parse, tmp_path / "x.mp4", tmp_path, "x.mp4: is not a media file")

    def test_without_moov(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        self.fails(parse, clips.headless, tmp_path, "headless.mp4: is incomplete: its index (moov) is missing")

    def test_hls_playlist(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        (tmp_path / "x.m3u8").write_text(f"#EXTM3U\n#EXTINF:3,\n{clips.steady}\n")
        self.fails(parse, tmp_path / "x.m3u8", tmp_path, "is an HLS playlist, not media")

    def test_concat_playlist(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        (tmp_path / "x.ffconcat").write_text(f"ffconcat version 1.0\nfile '{clips.steady}'\n")
        self.fails(parse, tmp_path / "x.ffconcat", tmp_path, "is an ffmpeg concat script, not media")

    def test_named_pipe(self, parse: Run, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "x.mp4")
        self.fails(parse, tmp_path / "x.mp4", tmp_path, "is not a regular file")

    def test_truncated(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        document = self.partial(parse, clips.truncated, tmp_path, "container states")
        assert document["media"]["duration"] < document["media"]["container_duration"] - 0.5

    def test_damaged(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        document = self.partial(parse, clips.damaged, tmp_path, "damaged")
        assert document["media"]["frames_damaged"] > 0

    def test_audio_only(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        document = self.partial(parse, clips.blind, tmp_path, "no video stream")
        assert document["media"]["video_codec"] is None

    def test_video_only(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        document = self.partial(parse, clips.silent, tmp_path, "no audio stream")
        assert document["media"]["audio_codec"] is None

    def test_still_image(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        assert self.partial(parse, clips.still, tmp_path, "no audio stream")["media"]["segments"] == 1

    def test_one_pixel(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        assert self.partial(parse, clips.dot, tmp_path, "no audio stream")["media"]["width"] == 1

    def test_two_video_streams(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        assert self.partial(parse, clips.two_streams, tmp_path, "2 video streams")["media"]["width"] == 64

    @pytest.mark.parametrize("clip", ["blink", "odd", "variable", "rotated"])
    def test_unusual_media(self, parse: Run, clips: Clips, tmp_path: Path, clip: str) -> None:
        assert parse(getattr(clips, clip), "-o", tmp_path / "events.json").status == 0
        segments = {"blink": 1, "odd": 1, "variable": 4, "rotated": 3}
        assert read(tmp_path / "events.json")["media"]["segments"] == segments[clip]

    @pytest.mark.parametrize(
        "name", ["with space.mp4", "quo'te\".mp4", "new\nline.mp4", "100%05d.mp4", "ünïcødé 🐕.mp4", "[a]*?.mp4"]
    )
    def test_file_names(self, parse: Run, clips: Clips, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(clips.blink.read_bytes())
        assert parse(tmp_path / name, "--output-dir", tmp_path / "out").status == 0
        assert read(tmp_path / "out" / f"{Path(name).stem}.events.json")["media"]["path"].endswith(name)

    def test_leading_dash(
        self, run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "-clip.mp4").write_bytes(clips.blink.read_bytes())
        monkeypatch.chdir(tmp_path)
        assert run("parse", "--weights", tiny_bundle, "-q", "-o", "e.json", "--", "-clip.mp4").status == 0
        assert read(tmp_path / "e.json")["media"]["path"] == "-clip.mp4"

    def test_one_bad_file_does_not_stop_the_others(self, parse: Run, clips: Clips, tmp_path: Path) -> None:
        (tmp_path / "bad.mp4").write_text("no video")
        out = tmp_path / "out"
        result = parse(clips.blink, tmp_path / "bad.mp4", clips.steady, "--output-dir", out)
        assert result.status == 1
        assert leftovers(out) == ["blink.events.json", "failures.csv", "steady.events.json"]
        last = result.err.splitlines()[-2:]
        assert last[0] == "2 done, 0 done before, 1 failed; causes: 1 not-media"
        assert last[1].startswith("Error:")
        assert "bad.mp4: is not a media file" in last[1]

    def test_internal_error_is_one_line(
        self, parse: Run, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise KeyError("oops")

        monkeypatch.setattr("avvp.pipeline.inference.parse_video.extract_with", broken)
        self.fails(parse, clips.blink, tmp_path, "internal error, please report it: KeyError")

    def test_a_slow_decoder(self, parse: Run, clips: Clips) -> None:
        result = parse(clips.long, "--decode-timeout", 0.01)
        assert result.status == 1
        assert "decoding was too slow and was stopped" in result.err


class TestUsage:
    """Found before any weights are loaded: where it matters, the bundle named here does not exist or is damaged."""

    @pytest.fixture
    def misuse(self, run: Run) -> Run:
        return lambda *arguments: run("parse", *arguments, "--weights", "/nowhere")

    def test_nothing_to_parse(self, run: Run) -> None:
        result = run("parse")
        assert result.status == 2
        assert "Missing argument" in result.err

    def test_both_outputs(self, misuse: Run, clips: Clips, tmp_path: Path) -> None:
        result = misuse(clips.blink, "-o", tmp_path / "a", "--output-dir", tmp_path / "b")
        assert (result.status, "exclude each other" in result.err) == (2, True)

    def test_several_inputs_need_a_folder(self, misuse: Run, clips: Clips) -> None:
        result = misuse(clips.blink, clips.steady)
        assert (result.status, "2 inputs need --output-dir" in result.err) == (2, True)

    def test_results_that_would_overwrite_each_other(self, misuse: Run, clips: Clips, tmp_path: Path) -> None:
        other = tmp_path / "blink.mov"
        other.write_bytes(b"x")
        result = misuse(clips.blink, other, "--output-dir", tmp_path / "out")
        assert (result.status, "would both be blink" in result.err) == (2, True)

    def test_a_result_that_would_overwrite_its_input(self, misuse: Run, clips: Clips, tmp_path: Path) -> None:
        result = misuse(clips.blink, "-o", clips.blink, "-f", "json")
        assert (result.status, "is an input" in result.err) == (2, True)
        assert tmp_path.is_dir()

    @pytest.mark.parametrize("place", ["/proc/events.json", "/proc/nowhere/events.json", "/dev/null/events.json"])
    def test_an_output_that_cannot_be_written(self, misuse: Run, clips: Clips, place: str) -> None:
        result = misuse(clips.blink, "-o", place)
        assert result.status == 2
        assert "cannot be written to" in result.err or "is not a folder" in result.err

    def test_read_only_output_folder(self, run: Run, clips: Clips, tiny_bundle: Path) -> None:
        result = run("parse", clips.blink, clips.steady, "--output-dir", "/proc/out", "--weights", tiny_bundle)
        assert result.status == 2
        assert "/proc/out" in result.err

    def test_a_pattern_that_matches_only_folders(self, misuse: Run, tmp_path: Path) -> None:
        (tmp_path / "clips-a").mkdir()
        result = misuse(tmp_path / "clips-*")
        assert (result.status, "clips-*: no such file" in result.err) == (2, True)

    def test_a_name_that_is_too_long(self, misuse: Run) -> None:
        result = misuse("x" * 300)
        assert (result.status, "File name too long" in result.err) == (2, True)

    def test_output_is_a_folder(self, misuse: Run, clips: Clips, tmp_path: Path) -> None:
        result = misuse(clips.blink, "-o", tmp_path)
        assert (result.status, "use --output-dir" in result.err) == (2, True)

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--threshold", 1.5),
            ("--threshold", "nan"),
            ("--decode-timeout", "inf"),
            ("--batch-size", 0),
            ("--threads", 0),
            ("--decoder", "x"),
            ("--decode-timeout", 0),
        ],
    )
    def test_values_out_of_range(self, misuse: Run, clips: Clips, option: str, value: object) -> None:
        result = misuse(clips.blink, option, value)
        assert (result.status, option in result.err) == (2, True)

    def test_unknown_bundle(self, run: Run, clips: Clips) -> None:
        result = run("parse", clips.blink, "--weights", "nonsense")
        assert result.status == 2
        assert "unknown bundle 'nonsense': neither a folder nor one of leap-llp, untrained" in result.err

    def test_debug_shows_the_traceback(self, run: Run, clips: Clips) -> None:
        result = run("parse", clips.blink, "--weights", "nonsense", "--debug")
        assert result.status == 2
        assert "Traceback" in result.err
        assert result.err.splitlines()[-1].startswith("Error: unknown bundle")

    def test_unknown_device(self, run: Run, clips: Clips, tiny_bundle: Path) -> None:
        result = run("parse", clips.blink, "--weights", tiny_bundle, "--device", "tpu")
        assert (result.status, "unknown device 'tpu'" in result.err) == (2, True)

    def test_offline_says_what_is_missing(self, run: Run, clips: Clips) -> None:
        result = run("parse", clips.blink, "--offline")
        assert result.status == 2
        assert "4 weight files are missing, 871 MB" in result.err
        assert "resnet152-394f9c45.pth" in result.err

    def test_weights_with_a_wrong_hash(self, run: Run, clips: Clips, tmp_path: Path) -> None:
        (tmp_path / "resnet152-394f9c45.pth").write_bytes(b"not resnet")
        result = run("parse", clips.blink, "--weights-dir", tmp_path, "--weights", self.resnet_bundle(tmp_path))
        assert result.status == 2
        assert "wrong hash" in result.err

    def resnet_bundle(self, folder: Path) -> Path:
        bundle = folder / "bundle"
        bundle.mkdir()
        (bundle / "bundle.toml").write_text('profile = "llp"\nextractors = { resnet152 = "resnet152" }\nparser = {}\n')
        return bundle

    def test_weights_that_were_cut_off(self, run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
        folder = copy_bundle(tiny_bundle, tmp_path / "b")
        file = folder / "resnet.safetensors"
        file.write_bytes(file.read_bytes()[:-100])
        result = run("parse", clips.blink, "--weights", folder)
        assert (result.status, "resnet.safetensors: damaged" in result.err) == (2, True)
        assert len(result.err.splitlines()) == 1

    def test_weights_of_another_shape(self, run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
        folder = copy_bundle(tiny_bundle, tmp_path / "b")
        state = load_file(folder / "vggish.safetensors")
        save_file(state | {"features.0.bias": torch.zeros(9)}, folder / "vggish.safetensors")
        result = run("parse", clips.blink, "--weights", folder)
        assert (result.status, "of another shape: features.0.bias" in result.err) == (2, True)
        assert len(result.err.splitlines()) == 1

    def test_decord_for_the_published_profile(self, run: Run, clips: Clips, tiny_llp_bundle: Path) -> None:
        result = run("parse", clips.blink, "--weights", tiny_llp_bundle, "--decoder", "decord")
        assert (result.status, "which decord cannot make" in result.err) == (2, True)

    def test_resampler_for_the_published_profile(self, run: Run, clips: Clips, tiny_llp_bundle: Path) -> None:
        result = run("parse", clips.blink, "--weights", tiny_llp_bundle, "--resampler", "resampy")
        assert (result.status, "resamples without a filter" in result.err) == (2, True)

    def test_thresholds_of_an_unknown_class(self, run: Run, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
        (tmp_path / "t.toml").write_text("[audio.segment]\nUnicorn = 0.5\n")
        folder = copy_bundle(tiny_bundle, tmp_path / "b")
        (folder / "resnet.safetensors").write_bytes(b"damaged")
        result = run("parse", clips.blink, "--weights", folder, "--thresholds", tmp_path / "t.toml")
        assert (result.status, "unknown class 'Unicorn'" in result.err) == (2, True)


def test_disk_full(parse: Run, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "events.json").write_text("the result of yesterday")
    monkeypatch.setattr(os, "fsync", full)
    result = parse(clips.blink, "-o", tmp_path / "events.json")
    assert result.status == 1
    assert "events.json: cannot be written: No space left on device" in result.err
    assert leftovers(tmp_path) == ["events.json"]
    assert (tmp_path / "events.json").read_text() == "the result of yesterday"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_midway(
    script: Callable, clips: Clips, tiny_bundle: Path, tmp_path: Path, how: signal.Signals
) -> None:
    """Nothing half-done is there; no decoder is left behind."""
    out = tmp_path / "out"
    process = script("avvp", "parse", clips.blink, clips.long, "--weights", tiny_bundle, "--output-dir", out)
    deadline = time.monotonic() + 60
    while not running_decoders() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(how)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err
    assert leftovers(out) in ([], ["blink.events.json"])
    assert running_decoders() == []


def running_decoders() -> list[str]:
    """Command lines of the decode workers of a program started by these tests."""
    mark, lines = f"{RUN_MARK}={os.getpid()}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (process / "cmdline").read_bytes()
            if b"worker_main" in line and mark in (process / "environ").read_bytes():
                lines.append(line.decode(errors="replace"))
    return lines


def test_the_installed_program(script: Callable, clips: Clips, tiny_bundle: Path, tmp_path: Path) -> None:
    process = script("avvp-parse", clips.steady, "-o", tmp_path / "events.json", "--weights", tiny_bundle)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0
    assert "steady.mp4" in err
    read(tmp_path / "events.json")


def test_results_may_go_to_a_device(parse: Run, clips: Clips) -> None:
    assert parse(clips.blink, "-o", os.devnull).status == 0
    assert not Path(os.devnull).is_file()


@pytest.mark.parametrize("closed", [False, True])
def test_unwritable_stderr_costs_no_results(clips: Clips, tiny_bundle: Path, tmp_path: Path, closed: bool) -> None:
    program = Path(sys.executable).with_name("avvp-parse")
    arguments = ["--weights", tiny_bundle, "--output-dir", tmp_path / "out", clips.blink, clips.steady]
    redirect = "2>&-" if closed else "2>/dev/full"
    shell = ["sh", "-c", f'"$0" "$@" {redirect}', program, *arguments]
    assert subprocess.run(shell, check=False, timeout=120).returncode == 0
    assert leftovers(tmp_path / "out") == ["blink.events.json", "steady.events.json"]


def test_debug_shows_the_traceback(parse: Run, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_text("no video")
    assert "Traceback" in parse("--debug", tmp_path / "bad.mp4").err
    assert "Traceback" not in parse(tmp_path / "bad.mp4").err


def test_closed_stdout_ends_the_program(script: Callable, clips: Clips, tiny_bundle: Path) -> None:
    process = script("avvp-parse", clips.steady, "--weights", tiny_bundle, "-q", "--segments")
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    assert "Traceback" not in process.stderr.read()


def test_the_warning_of_a_bundle_goes_with_its_results(
    run: Callable[..., Result], tmp_path: Path, clips: Clips, tiny_bundle: Path
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    text = (bundle / "bundle.toml").read_text(encoding="utf-8")
    (bundle / "bundle.toml").write_text(f'warning = "for tests only"\n{text}', encoding="utf-8")
    result = run(
        "parse", clips.steady, "--weights", bundle, "-o", tmp_path / "x.json", "--html", tmp_path / "x.html",
        "--explain", tmp_path / "x.npz",
    )  # fmt: skip
    assert result.status == 0, result.err
    assert json.loads((tmp_path / "x.json").read_text())["warnings"] == ["for tests only"]
    assert "! for tests only" in result.err
    page = (tmp_path / "x.html").read_text()
    assert '"warnings":["for tests only"]' in page
    assert '"attention":{' in page
    again = run("report", tmp_path / "x.json", "--html", tmp_path / "y.html", "--explain", tmp_path / "x.npz")
    assert again.status == 0, again.err
    attention = re.compile('"attention":({.*?}]})')
    assert attention.findall((tmp_path / "y.html").read_text()) == attention.findall(page) != []
