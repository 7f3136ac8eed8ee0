"""Which files the folders and patterns of a command stand for."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.cli.options.inputs import collect_inputs, name_inputs
from avvp.pipeline.features.npy_folders import FeatureFolders
from avvp.pipeline.files import AUDIO_SUFFIXES, MEDIA_SUFFIXES, VIDEO_SUFFIXES
from avvp.pipeline.synthetic.user_sources import find_sources
from support.command import Result
from support.media import Clips, ffmpeg
from support.paths import ROOT, make_files

Run = Callable[..., Result]


def expand(*arguments: Path | str, recursive: bool = False) -> list[str]:
    """Expand arguments that have no problems; paths relative to the working folder."""
    files, problems = collect_inputs(map(str, arguments), recursive=recursive)
    assert problems == []
    return [str(file) for file in files]


class TestHiddenFiles:
    NAMES = (
        "a.mp4", "._a.mp4", ".b.mp4", ".git/c.mp4", "__MACOSX/d.mp4", "__MACOSX/._d.mp4", ".AppleDouble/e.mp4",
        "deep/f.mp4", "deep/._f.mp4", "deep/@eaDir/g.mp4",
    )  # fmt: skip

    def test_are_left_out_of_folders(self, here: Path) -> None:
        make_files(here / "clips", *self.NAMES)
        assert expand("clips") == ["clips/a.mp4"]
        assert expand("clips", recursive=True) == ["clips/a.mp4", "clips/deep/f.mp4"]

    def test_are_inputs_when_they_are_named(self, here: Path) -> None:
        make_files(here / "clips", *self.NAMES)
        assert expand("clips/._a.mp4", "clips/.git/c.mp4") == ["clips/._a.mp4", "clips/.git/c.mp4"]
        assert expand("clips/.git") == ["clips/.git/c.mp4"]

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("clips/*", ["clips/a.mp4"]),
            ("clips/.*", ["clips/._a.mp4", "clips/.b.mp4"]),
            ("clips/.*/*", ["clips/.AppleDouble/e.mp4", "clips/.git/c.mp4"]),
            ("clips/**/*.mp4", ["clips/a.mp4", "clips/deep/f.mp4"]),
            ("clips/**", ["clips/a.mp4", "clips/deep/f.mp4"]),
            ("clips/**/.*", ["clips/._a.mp4", "clips/.b.mp4", "clips/deep/._f.mp4"]),
            ("**/.git/*", ["clips/.git/c.mp4"]),
            ("**/d*/*.mp4", ["clips/deep/f.mp4"]),
            ("clips/**/**/f.mp4", ["clips/deep/f.mp4"]),
        ],
    )
    def test_match_patterns_that_name_their_dot(self, here: Path, pattern: str, expected: list[str]) -> None:
        make_files(here / "clips", *self.NAMES)
        assert expand(pattern, recursive=True) == expected

    def test_absolute_patterns(self, here: Path) -> None:
        make_files(here / "clips", *self.NAMES)
        assert expand(here / "**" / "f.mp4", recursive=True) == [str(here / "clips/deep/f.mp4")]

    def test_a_folder_of_hidden_files_alone_has_no_media(self, plan: Run, here: Path) -> None:
        make_files(here / "clips", "._a.mp4", ".DS_Store")
        result = plan("clips")
        assert (result.status, "clips: no media files in this folder" in result.err) == (2, True)
        assert "left out" not in result.err


class TestLinkedFolders:
    def test_are_followed(self, here: Path) -> None:
        make_files(here, "clips/a.mp4", "elsewhere/b.mp4", "elsewhere/deep/c.mp4")
        (here / "clips/more").symlink_to("../elsewhere")
        assert expand("clips", recursive=True) == ["clips/a.mp4", "clips/more/b.mp4", "clips/more/deep/c.mp4"]
        assert expand("clips/**/*.mp4", recursive=True) == expand("clips", recursive=True)
        assert expand("clips") == ["clips/a.mp4"]

    def test_each_real_folder_once(self, here: Path) -> None:
        make_files(here, "clips/real/a.mp4", "elsewhere/b.mp4")
        (here / "clips/first").symlink_to("real")  # the folder itself is preferred to the link
        (here / "clips/more").symlink_to("../elsewhere")
        (here / "clips/twice").symlink_to("../elsewhere")
        assert expand("clips", recursive=True) == ["clips/more/b.mp4", "clips/real/a.mp4"]

    @pytest.mark.parametrize("target", [".", "..", "../..", "../../clips"])
    def test_loops_end(self, here: Path, target: str) -> None:
        make_files(here, "clips/deep/a.mp4")
        (here / "clips/deep/loop").symlink_to(target)
        for argument in ("clips", "clips/**/*.mp4"):
            assert expand(argument, recursive=True) == ["clips/deep/a.mp4"]

    def test_links_that_lead_to_each_other_are_files(self, here: Path) -> None:
        make_files(here, "clips/a.mp4")
        (here / "clips/b.mp4").symlink_to("c.mp4")
        (here / "clips/c.mp4").symlink_to("b.mp4")
        assert expand("clips", recursive=True) == ["clips/a.mp4", "clips/b.mp4", "clips/c.mp4"]

    def test_linked_files_are_inputs_of_their_own_name(self, here: Path) -> None:
        make_files(here, "clips/a.mp4")
        (here / "clips/b.mp4").symlink_to("a.mp4")
        assert name_inputs(["clips"]).files == {"a": Path("clips/a.mp4"), "b": Path("clips/b.mp4")}


class TestDeepTrees:
    LEVELS = 1200  # Python's recursion limit is 1000

    @pytest.fixture(autouse=True)
    def remove(self, here: Path) -> Iterator[None]:
        """Remove the trees: pytest deletes its folders by recursion, which fails at the end of some later run."""
        yield
        subprocess.run(["rm", "-rf", here / "tree", here / "f"], check=True)

    def grow(self, top: Path, name: str) -> None:
        """Create folders deeper than a path can be long: one level at a time."""
        top.mkdir()
        origin = Path.cwd()
        os.chdir(top)
        for _ in range(self.LEVELS):
            os.mkdir(name)  # noqa: PTH102
            os.chdir(name)
        Path("a.mp4").touch()
        os.chdir(origin)

    def test_are_expanded(self, here: Path) -> None:
        self.grow(here / "tree", "d")
        path = f"tree/{'d/' * self.LEVELS}a.mp4"
        assert expand("tree", recursive=True) == [path]
        assert expand("tree/**/*.mp4", recursive=True) == [path]
        assert list(name_inputs(["tree"], recursive=True, keep_tree=True).files) == ["d/" * self.LEVELS + "a"]

    def test_deeper_than_paths_can_be_is_one_line(self, plan: Run, here: Path) -> None:
        self.grow(here / "tree", "folder")
        result = plan("tree", "--recursive")
        assert result.status == 2
        assert len(result.err.splitlines()) == 2
        assert "tree: File name too long (tree/folder/folder/" in result.err

    def test_results_keep_the_tree(self, run: Run, here: Path, clips: Clips, tiny_bundle: Path) -> None:
        self.grow(here / "tree", "d")
        deepest = here / "tree" / ("d/" * self.LEVELS) / "a.mp4"
        shutil.copy(clips.blink, deepest)
        assert run("extract", "tree", "--recursive", "--keep-tree", "-o", "f", "--weights", tiny_bundle).status == 0
        assert FeatureFolders(here / "f").ids() == {"d/" * self.LEVELS + "a"}


class TestSuffixes:
    def test_are_sorted_lower_case_and_not_twice(self) -> None:
        for suffixes in (VIDEO_SUFFIXES, AUDIO_SUFFIXES):
            assert list(suffixes) == sorted({suffix.lower() for suffix in suffixes})
        assert not set(VIDEO_SUFFIXES) & set(AUDIO_SUFFIXES)
        assert not MEDIA_SUFFIXES & {".jpg", ".png", ".webp", ".txt", ".srt", ".json", ".csv", ".npy", ".swf"}

    def test_are_documented(self) -> None:
        _, section = (ROOT / "docs/media.md").read_text().split("## Files of folders")
        video, audio = section.split("## ")[0].split("- video: ")[1].split("- audio: ")
        for text, suffixes in ((video, VIDEO_SUFFIXES), (audio, AUDIO_SUFFIXES)):
            assert [f".{name}" for name in text.replace(",", " ").split()] == list(suffixes)

    @pytest.mark.parametrize(
        "name", ["a.asf", "a.3g2", "a.amr", "a.AIFF", "a.wma", "a.gif", "a.OGM", "a.rmvb", "a.y4m"]
    )
    def test_are_inputs_of_folders(self, here: Path, name: str) -> None:
        make_files(here / "clips", name, "notes.txt")
        assert expand("clips") == [f"clips/{name}"]

    @pytest.mark.parametrize(
        ("suffix", "options"),
        [
            (".asf", ()),
            (".3g2", ("-c:v", "mpeg4", "-c:a", "aac")),
            (".gif", ("-an",)),
            (".m2v", ("-an",)),
            (".h264", ("-an", "-c:v", "libx264")),
            (".amr", ("-vn", "-ar", 8000)),
            (".aiff", ("-vn",)),
            (".wv", ("-vn",)),
            (".au", ("-vn",)),
            (".ac3", ("-vn",)),
        ],
    )
    def test_are_decoded(
        self, run: Run, here: Path, tiny_bundle: Path, suffix: str, options: tuple[object, ...]
    ) -> None:
        (here / "clips").mkdir()
        sources = ("-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=1", "-f", "lavfi", "-i", "sine=r=16000:d=1")
        ffmpeg(*sources, "-pix_fmt", "yuv420p" if suffix != ".gif" else "rgb8", *options, here / f"clips/a{suffix}")
        assert run("extract", "clips", "-o", "feats", "--weights", tiny_bundle).status == 0

    def test_others_are_counted(self, plan: Run, here: Path) -> None:
        make_files(here / "clips", "a.mp4", "a.txt", "b.txt", "b.json", "README", "._c.txt", ".DS_Store")
        result = plan("clips/")
        assert [line.split()[:2] for line in result.out.splitlines()] == [["compute", "a"]]
        assert "left out 4 files of clips/ that are not media: 2 .txt, 1 without suffix, 1 .json\n" in result.err
        assert "left out" not in plan("clips/", "-q").err
        assert "left out" not in plan("clips/a.mp4").err

    def test_the_note_is_one_short_line(self, plan: Run, here: Path) -> None:
        make_files(here / "one", "a.mp4", *(f"x.{letter}{number}" for letter in "abcdefg" for number in range(3)))
        make_files(here / "two", "b.mp4", "b.a0", "odd.\n")
        (line,) = [line for line in plan("one", "two").err.splitlines() if "left out" in line]
        assert (
            line == "left out 23 files of 2 folders that are not media: 2 .a0, 1 .\\n, 1 .a1, 1 .a2, 1 .b0, 17 others"
        )


class TestHiddenFilesOfOtherFolders:
    """Commands that read folders of results leave the companions of macOS and others out, too."""

    COMPANIONS = ("._a{}", ".hidden{}", "__MACOSX/a{}", "__MACOSX/._a{}", ".git/b{}")

    def add_companions(self, folder: Path, suffix: str) -> None:
        make_files(folder, *(name.format(suffix) for name in self.COMPANIONS))

    def test_features(self, run: Run, here: Path) -> None:
        (here / "feats").mkdir()
        for name, shape in (("vggish", (2, 128)), ("res152", (16, 2048)), ("r2plus1d_18", (2, 512))):
            (here / "feats" / name).mkdir()
            np.save(here / "feats" / name / "a.npy", np.zeros(shape, np.float32))
            self.add_companions(here / "feats" / name, ".npy")
        assert FeatureFolders(here / "feats").ids() == {"a"}
        result = run("pack", "feats", "packed")
        assert (result.status, "1 clips" in result.err) == (0, True)

    def test_features_in_linked_and_deep_folders(self, here: Path) -> None:
        for name in ("vggish", "res152", "r2plus1d_18"):
            make_files(here / "elsewhere" / name, "b.npy", "deep/c.npy", "notes.txt")
            make_files(here / "feats" / name, "a.npy")
            (here / "feats" / name / "more").symlink_to(here / "elsewhere" / name)
            (here / "elsewhere" / name / "up").symlink_to("..")
        ids = {"a", "more/b", "more/deep/c"}
        assert {name for name in FeatureFolders(here / "feats").ids() if "/up/" not in name} == ids

    def test_events(self, run: Run, here: Path) -> None:
        (here / "events").mkdir()
        (here / "events/a.events.json").write_text('{"events": []}')
        self.add_companions(here / "events", ".events.json")
        result = run("convert", "events", "-f", "csv", "--output-dir", "tables")
        assert (result.status, result.err) == (0, "tables: 1 timelines, 1 files or groups\n")

    def test_sources_of_generated_clips(self, here: Path, clips: Clips) -> None:
        (here / "own/Dog").mkdir(parents=True)
        shutil.copy(clips.blind, here / "own/Dog/bark.mp4")
        for suffix in (".mp4", ".wav", ".png"):
            self.add_companions(here / "own/Dog", suffix)
            self.add_companions(here / "own", suffix)
        assert find_sources(here / "own", LLP_LABELS).audio["Dog"] == [here / "own/Dog/bark.mp4"]

    def test_videos_of_extractors(self, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
        make_files(here / "videos", "a.mp4", "b.wav", "notes.txt")
        self.add_companions(here / "videos", ".mp4")
        files, problems = collect_inputs(["videos"], suffixes=VIDEO_SUFFIXES, kind="videos", quiet=False)
        assert (files, problems) == ([Path("videos/a.mp4")], [])
        assert capfd.readouterr().err == "left out 2 files of videos that are not videos: 1 .txt, 1 .wav\n"

    def test_journals(self, run: Run, here: Path, clips: Clips, tiny_bundle: Path) -> None:
        shutil.copy(clips.blink, here / "a.mp4")
        common = ("extract", "a.mp4", "-o", "feats", "--weights", tiny_bundle)
        assert run(*common).status == 0
        self.add_companions(here / "feats/journal", ".jsonl")
        assert "unreadable" not in run(*common).err
