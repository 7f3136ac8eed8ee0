"""Ids of inputs: advice where they clash, names that are hard to write, --keep-suffix."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.pipeline.cli.options.input_names import NamingRules
from avvp.pipeline.cli.options.inputs import name_inputs
from avvp.pipeline.datasets.clip_names import find_ids, find_name, names_with_suffix
from avvp.pipeline.errors import SetupError
from avvp.pipeline.features.npy_folders import FeatureFolders
from avvp.pipeline.files import without_media_suffix
from support.command import Result
from support.media import Clips, ffmpeg
from support.paths import make_files

Run = Callable[..., Result]


class TestNames:
    @pytest.mark.parametrize(
        ("files", "flags", "advice"),
        [
            (("c.mp4", "c.wav"), (), "--keep-suffix"),
            (("c.mp4", "c.wav"), ("keep_tree",), "--keep-suffix"),
            (("x/c.mp4", "y/c.mp4"), (), "--keep-tree"),
            (("x/c.mp4", "y/c.wav"), (), "--keep-tree"),
            (("x/c.mp4", "y/c.mp4"), ("keep_suffix",), "--keep-tree"),
            (("x/c.mp4", "x/c.wav", "y/c.mp4"), (), "--keep-tree and --keep-suffix"),
        ],
    )
    def test_advice_names_the_options_that_help(
        self, here: Path, files: tuple[str, ...], flags: tuple[str, ...], advice: str
    ) -> None:
        make_files(here / "clips", *files)
        rules = dict.fromkeys(flags, True)
        with pytest.raises(SetupError) as error:
            name_inputs(["clips"], [], recursive=True, **rules)
        message = str(error.value)
        named = {flag for flag in ("--keep-tree", "--keep-suffix") if flag in message}
        assert named == set(advice.split(" and "))
        changed = {flag.removeprefix("--").replace("-", "_"): True for flag in named}
        assert len(name_inputs(["clips"], [], recursive=True, **rules, **changed).files) == len(files)

    def test_advice_where_no_option_helps(self, here: Path) -> None:
        make_files(here, "x/c.mp4", "y/c.mp4")
        for arguments in (["x", "y"], ["x/c.mp4", "y/c.mp4"]):
            with pytest.raises(SetupError, match=r"rename one of them, or name the folder above them, .* --keep-tree"):
                name_inputs(arguments, keep_tree=True)
        assert list(name_inputs([str(here)], recursive=True, keep_tree=True).files) == ["x/c", "y/c"]

    def test_long_lists_of_clashes_are_cut(self, here: Path) -> None:
        make_files(here, *(f"{number}.{suffix}" for number in range(30) for suffix in ("mp4", "wav")))
        with pytest.raises(SetupError, match=r"\.\.\. and 10 more$"):
            name_inputs(["."])

    def test_one_file_under_two_names_is_no_clash(self, here: Path) -> None:
        make_files(here, "x/c.mp4")
        (here / "link.d").symlink_to("x")
        assert list(name_inputs(["x", str(here / "x/c.mp4"), "x/../x/c.mp4", "link.d/c.mp4"]).files) == ["c"]

    @pytest.mark.parametrize(
        ("path", "name", "kept", "tree"),
        [
            ("in/c.mp4", "c", "c.mp4", "c"),
            ("in/d/c.tar.gz", "c.tar", "c.tar.gz", "d/c.tar"),
            ("in/d/..mp3", "..mp3", "..mp3", "d/..mp3"),
            ("in/...mp3", "...mp3", "...mp3", "...mp3"),
            ("in/.mp3", ".mp3", ".mp3", ".mp3"),
            ("in/...", "...", "...", "..."),
            ("in/-", "-", "-", "-"),
            ("in/d/../../c.mp4", "c", "c.mp4", "c"),
            ("elsewhere/c.mp4", "c", "c.mp4", "c"),
            ("..", "_", "_", "_"),
            ("/", "_", "_", "_"),
        ],
    )
    def test_ids_stay_in_the_output_folder(self, path: str, name: str, kept: str, tree: str) -> None:
        folders = [Path("in")]
        assert NamingRules(folders).name(Path(path)) == name
        assert NamingRules(folders, keep_suffix=True).name(Path(path)) == kept
        assert NamingRules(folders, keep_tree=True).name(Path(path)) == tree

    def test_similar_names_stay_apart(self, here: Path) -> None:
        names = ["CLIP.mp4", "clip.mp4", "caf\u00e9.mp4", "cafe\u0301.mp4", "caf\udce9.mp4"]
        make_files(here / "clips", *names)
        assert set(name_inputs(["clips"]).files) == {name.removesuffix(".mp4") for name in names}


class TestOddNames:
    NAMES = ("..mp3", ".mp3", "...", "...mp3", "-", "caf\udce9.mp4", "new\nline.mp4", "{id}.mp4", "a b%s.mp4")

    def test_are_computed(self, run: Run, here: Path, clips: Clips, tiny_bundle: Path) -> None:
        (here / "clips").mkdir()
        for name in self.NAMES:
            shutil.copy(clips.blink, here / "clips" / name)
        arguments = [Path("clips") / name for name in self.NAMES]
        before = set(here.rglob("*"))
        result = run("parse", *arguments, "--output-dir", "out/events", "--weights", tiny_bundle)
        assert result.status == 0, result.err
        made = set(here.rglob("*")) - before
        events = {path for path in made if path.name.endswith(".events.json")}
        assert len(events) == len(self.NAMES)
        assert {path.parent for path in events} == {here / "out/events"}
        assert all(path == here / "out" or here / "out/events" in (path, *path.parents) for path in made)
        for path in events:
            json.loads(path.read_bytes().decode("ascii"))

    def test_too_long_for_results_fail_alone(self, run: Run, here: Path, clips: Clips, tiny_bundle: Path) -> None:
        (here / "clips").mkdir()
        for name in ("a.mp4", "x" * 251 + ".mp4", "\u00e9" * 124 + ".mp4"):
            shutil.copy(clips.blink, here / "clips" / name)
        result = run("parse", "clips", "--output-dir", "events", "--weights", tiny_bundle)
        assert result.status == 1
        assert "1 done, 0 done before, 2 failed" in result.err
        assert "xxx.mp4: its name is too long for a result to be named after it\n" in result.err
        assert run("extract", "clips", "-o", "feats", "--weights", tiny_bundle).status == 0
        result = run("extract", "clips", "-o", "more", "--weights", tiny_bundle, "--keep-suffix")
        assert (result.status, "1 done, 0 done before, 2 failed" in result.err) == (1, True)


class TestKeepSuffix:
    @pytest.fixture
    def media(self, here: Path, clips: Clips) -> Path:
        (here / "clips/deep").mkdir(parents=True)
        for name in ("c.mp4", "deep/c.mp4"):
            shutil.copy(clips.blink, here / "clips" / name)
        ffmpeg("-f", "lavfi", "-i", "sine=r=16000:d=2", here / "clips/c.wav")
        return here

    def test_features_are_packed(self, run: Run, media: Path, tiny_bundle: Path) -> None:
        common = ("--recursive", "--keep-tree", "--keep-suffix", "--weights", tiny_bundle)
        assert run("extract", "clips", "-o", "feats", *common).status == 0
        assert "0 done, 3 done before" in run("extract", "clips", "-o", "feats", *common).err
        assert FeatureFolders(media / "feats").ids() == {"c.mp4", "c.wav", "deep/c.mp4"}
        assert run("pack", "feats", "packed").status == 0
        assert set(json.loads((media / "packed/index.json").read_text())["ids"]) == {"c.mp4", "c.wav", "deep/c.mp4"}

    def test_events_are_read_back(self, run: Run, media: Path, tiny_bundle: Path) -> None:
        common = ("--keep-suffix", "--weights", tiny_bundle, "-f", "json,csv,llp", "-q")
        assert run("parse", "clips", "--output-dir", "events", *common).status == 0
        result = run("convert", "events", "-f", "tsv", "--output-dir", "tables")
        assert result.status == 0, result.err
        assert {path.name for path in (media / "tables").iterdir()} == {"c.mp4.tsv", "c.wav.tsv"}
        assert run("report", "events", "--output-dir", "pages").status == 0
        assert {path.name for path in (media / "pages").glob("*.html")} == {"c.mp4.html", "c.wav.html", "index.html"}
        for path in (media / "events").glob("*.json"):
            path.unlink()  # then the other formats are read
        assert run("convert", "events", "--output-dir", "again").status == 0
        assert {path.name for path in (media / "again").iterdir()} == {"c.mp4.events.json", "c.wav.events.json"}

    def test_data_sets_name_clips_alike(self, run: Run, media: Path, tiny_bundle: Path) -> None:
        common = ("--keep-suffix", "--weights", tiny_bundle, "-q")
        assert run("parse", "clips", "--output-dir", "events", *common).status == 0
        assert run("convert", "events", "--data-set", "data", "--split", "test").status == 0
        assert "c.mp4\t" in (media / "data/AVVP_test_pd.csv").read_text()
        result = run("evaluate", "--timelines", "events", "--annotations", "data", "-f", "json")
        assert result.status == 0, result.err

    @pytest.mark.parametrize(
        ("available", "found"),
        [
            ({"c.mp4"}, "c.mp4"),
            ({"c_0_10.WAV"}, "c_0_10.WAV"),
            ({"c", "c.mp4"}, "c"),
            ({"c_0_10", "c"}, "c_0_10"),
            ({"c.mp4", "c.wav"}, None),
            ({"c.txt", "d.mp4", "x/c.mp4"}, None),
        ],
    )
    def test_clips_are_found_by_names_without_suffix(self, available: set[str], found: str | None) -> None:
        assert find_name("c_0_10", available, names_with_suffix(available)) == found
        assert find_ids(["c_0_10"], frozenset(available)) == ([found or "c"], [])


@pytest.mark.parametrize(
    ("name", "plain"),
    [("c.mp4", "c"), ("c.MP4", "c"), ("d/c.x.wav", "d/c.x"), ("c.txt", "c.txt"), (".mp4", ".mp4"), ("..mp3", "..mp3")],
)
def test_without_media_suffix(name: str, plain: str) -> None:
    assert without_media_suffix(name) == plain
