"""Files of embeddings: what is written is read, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.embeddings.files import iterate_embeddings, load_embeddings, write_embeddings
from avvp.pipeline.errors import DatasetError, MediaError
from safetensors.numpy import load_file
from support.embeddings import make_embeddings


def rewrite(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the header of a file of embeddings; the tables stay."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    change(header)
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + content[8 + length :])


def change_facts(**facts: object) -> Callable[[dict[str, Any]], object]:
    def change(header: dict[str, Any]) -> None:
        about = json.loads(header["__metadata__"]["avvp"])
        about["media"] |= facts
        header["__metadata__"]["avvp"] = json.dumps(about)

    return change


def test_what_is_written_is_read(tmp_path: Path) -> None:
    written = make_embeddings(seconds=7, name="a/clip", warnings=("no video after 3 s",))
    write_embeddings(tmp_path / "a.safetensors", written)
    read = load_embeddings(tmp_path / "a.safetensors")
    assert (read.name, read.seconds, read.warnings) == ("a/clip", 7, ("no video after 3 s",))
    assert (read.spec, read.media, read.teachers) == (written.spec, written.media, written.teachers)
    np.testing.assert_array_equal(read.audio, written.audio)
    np.testing.assert_array_equal(read.visual, written.visual)
    assert "7 s" in repr(read)


def test_other_programs_read_the_tables(tmp_path: Path) -> None:
    written = make_embeddings()
    write_embeddings(tmp_path / "a.safetensors", written)
    tables = load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(tables["audio"], written.audio)
    np.testing.assert_array_equal(tables["visual"], written.visual)


def test_names_that_are_no_unicode_are_kept(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.safetensors", make_embeddings(name="clip\udce9"))
    assert load_embeddings(tmp_path / "a.safetensors").name == "clip\udce9"


def test_features_are_those_that_were_kept() -> None:
    written = make_embeddings(warnings=("one",))
    features = written.features()
    assert features.warnings == ("one",)
    np.testing.assert_array_equal(features.visual_2d, written.visual.astype(np.float32))
    again = type(written).of(features, teachers=written.teachers)
    np.testing.assert_array_equal(again.audio, written.audio)


def test_features_beyond_float16_are_refused() -> None:
    features = make_embeddings().features()
    with pytest.raises(MediaError, match="too large for float16"):
        type(make_embeddings()).of(replace(features, audio=features.audio + 1e6))


def test_a_folder_is_read_by_the_names_of_the_videos(tmp_path: Path) -> None:
    folder = tmp_path / "embeddings" / "day"
    folder.mkdir(parents=True)
    for name in ("day/two", "day/one"):
        write_embeddings(folder / f"{name[4:]}.safetensors", make_embeddings(name=name))
    (folder / "notes.txt").write_text("")
    assert [name for name, _ in iterate_embeddings(tmp_path)] == ["day/one", "day/two"]
    assert [name for name, _ in iterate_embeddings(tmp_path / "embeddings")] == ["day/one", "day/two"]
    assert list(iterate_embeddings(tmp_path / "absent")) == []


def test_damaged_files_are_counted_or_raised(tmp_path: Path) -> None:
    write_embeddings(tmp_path / "a.safetensors", make_embeddings(name="a"))
    (tmp_path / "b.safetensors").write_bytes(b"no")
    found: list[DatasetError] = []
    assert [name for name, _ in iterate_embeddings(tmp_path, damaged=found.append)] == ["a"]
    assert len(found) == 1
    with pytest.raises(DatasetError, match=r"b\.safetensors"):
        list(iterate_embeddings(tmp_path))


def test_a_changed_number_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_embeddings(path, make_embeddings())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match="not what was written"):
        load_embeddings(path)
    assert load_embeddings(path, verify=False).seconds == 5


@pytest.mark.parametrize("size", [0, 7, 8, 60, -1])
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.safetensors"
    write_embeddings(path, make_embeddings())
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DatasetError, match="damaged, or not a file of embeddings"):
        load_embeddings(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.pop("audio"),
        lambda header: header.update(audio=[]),
        lambda header: header["audio"].update(dtype="F32"),
        lambda header: header["audio"].update(shape=[5, 1 << 60]),
        lambda header: header["audio"].update(shape=[-5, -32]),
        lambda header: header["visual"].update(data_offsets=[0, 1 << 40]),
        lambda header: header["visual"].update(data_offsets=[0]),
        lambda header: header["__metadata__"].pop("avvp"),
        lambda header: header["__metadata__"].update(avvp="{"),
        lambda header: header["__metadata__"].update(avvp="[]"),
        change_facts(duration=1e300),
        change_facts(duration=True),
        change_facts(duration=None),
        change_facts(width="wide"),
        change_facts(path=7),
        change_facts(parsed=[0, 1 << 50]),
        change_facts(parsed=[4, 2]),
        change_facts(colour="red"),
    ],
)
def test_hostile_headers_are_refused(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = tmp_path / "a.safetensors"
    write_embeddings(path, make_embeddings())
    rewrite(path, change)
    with pytest.raises(DatasetError, match="damaged, or not a file of embeddings"):
        load_embeddings(path, verify=False)


def test_a_header_that_claims_more_than_there_is(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    with pytest.raises(DatasetError, match="claims"):
        load_embeddings(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot be read"):
        load_embeddings(tmp_path)
    with pytest.raises(DatasetError, match="cannot be read"):
        load_embeddings(tmp_path / "absent.safetensors")


def test_a_name_has_an_end(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="too long to be kept"):
        write_embeddings(tmp_path / "a.safetensors", make_embeddings(name="x" * 5000))
