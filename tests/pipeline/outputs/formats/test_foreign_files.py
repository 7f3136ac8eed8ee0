"""Event files as other programs write them: one contract for every format, encoding and line end."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.pipeline.errors import FormatError
from avvp.pipeline.outputs.formats.read_folders import read_event_files
from avvp.pipeline.outputs.formats.registry import read_events
from support.command import Result

UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le")
LONG_GRID = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 5
tiers? <exists>
size = 1
item []:
    item [1]:
        class = "IntervalTier"
        name = "audio"
        xmin = 0
        xmax = 5
        intervals: size = 2
        intervals [1]:
            xmin = 0
            xmax = 1
            text = ""
        intervals [2]:
            xmin = 1
            xmax = 3
            text = "Mücke ""x"""
'''
SHORT_GRID = '''File type = "ooTextFile"
Object class = "TextGrid"

0
5
<exists>
1
"IntervalTier"
"audio"
0
5
2
0
1
""
1
3
"Mücke ""x"""
'''
EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT AUTHOR="" DATE="2020-01-01T00:00:00+00:00" FORMAT="3.0" VERSION="3.0">
    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds"/>
    <TIME_ORDER>
        <TIME_SLOT TIME_SLOT_ID="ts1" TIME_VALUE="1000"/>
        <TIME_SLOT TIME_SLOT_ID="ts2" TIME_VALUE="3000"/>
    </TIME_ORDER>
    <TIER LINGUISTIC_TYPE_REF="t" TIER_ID="audio">
        <ANNOTATION>
            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="ts1" TIME_SLOT_REF2="ts2">
                <ANNOTATION_VALUE>Mücke "x"</ANNOTATION_VALUE>
            </ALIGNABLE_ANNOTATION>
        </ANNOTATION>
    </TIER>
</ANNOTATION_DOCUMENT>
"""
# One event in every format: "Mücke "x"", audible from 1 to 3 s.
FILES = {
    "a.csv": 'modality,label,onset,offset\naudio,"Mücke ""x""",1,3\n',
    "semicolons.csv": 'sep=;\nModality; LABEL ;onset;offset;\naudio;"Mücke ""x""";1,0;3,0;\n;;;;\n\n',
    "tabs.csv": 'modality\tlabel\tonset\toffset\naudio\t"Mücke ""x"""\t1.0\t3\n',
    "a.tsv": 'modality\tlabel\tonset\toffset\naudio\t"Mücke ""x"""\t1,0\t3,0\n',
    "a.eval_audio.csv": 'filename\tonset\toffset\tevent_labels\na\t1\t3\t"Mücke ""x"""\n',
    "a.audio.txt": '1.000000\t3.000000\tMücke "x"\n\\\t100.0\t8000.0\n',
    "commas.txt": '1,000000\t3,000000\tMücke "x"\n\\\t100,0\t8000,0\n',
    "long.TextGrid": LONG_GRID,
    "short.TextGrid": SHORT_GRID,
    "a.eaf": EAF,
    "a.json": json.dumps(
        {"events": [{"modality": "audio", "label": 'Mücke "x"', "onset": 1, "offset": 3}]}, ensure_ascii=False, indent=1
    ),
}
STRICT = {"a.json", "a.eaf"}


def events(path: Path) -> list[tuple[str, str, float, float]]:
    (timeline,) = read_events(path)
    return [(event.modality, event.label, event.onset, event.offset) for event in timeline.events]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", [*UNICODE, "latin-1"])
@pytest.mark.parametrize("name", FILES)
def test_one_event_whatever_wrote_it(name: str, encoding: str, ending: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name].replace("\n", ending).encode(encoding))
    if name in STRICT and encoding == "latin-1":
        with pytest.raises(FormatError, match=r"cannot be read: not UTF-8 .*UTF-8, UTF-16 and UTF-32 are read"):
            read_events(tmp_path / name)
        return
    assert events(tmp_path / name) == [("audio", 'Mücke "x"', 1.0, 3.0)]
    (timeline,) = read_events(tmp_path / name)
    expected = (f"{name}: read as Windows-1252, it is not UTF-8",) if encoding == "latin-1" else ()
    assert timeline.warnings == expected
    assert tuple(read_event_files([tmp_path / name]).notes) == expected


def test_the_encoding_is_told_on_standard_error(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "a.TextGrid").write_bytes(LONG_GRID.encode("latin-1"))
    result = run("convert", tmp_path / "a.TextGrid", "-f", "csv")
    assert (result.status, result.err) == (0, "a.TextGrid: read as Windows-1252, it is not UTF-8\n")
    assert "Mücke" in result.out
    assert run("convert", tmp_path / "a.TextGrid", "-f", "csv", "-q").err == ""


def test_each_file_of_a_format_has_its_encoding(tmp_path: Path) -> None:
    (tmp_path / "x.audio.txt").write_bytes("0\t1\tMücke\n".encode("utf-16"))
    (tmp_path / "x.visual.txt").write_bytes("1\t2\tVögel\n".encode("latin-1"))
    (timeline,) = read_events(tmp_path / "x.audio.txt")
    assert [event.label for event in timeline.events] == ["Mücke", "Vögel"]
    assert timeline.warnings == ("x.visual.txt: read as Windows-1252, it is not UTF-8",)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0\x01", b"\0", b"\xff\xfea"])
def test_binary_files_are_refused_in_one_line(
    name: str, content: bytes, run: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    result = run("convert", tmp_path / name, "-f", "csv")
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert f"{name}: cannot be read: " in result.err
    assert "codec" not in result.err


@pytest.mark.parametrize("number", ["nan", "inf", "1.234,5", "\u0663", "1" * 200_000, "1e999", "-", "0x1"])
@pytest.mark.parametrize("name", [name for name in FILES if name not in STRICT])
def test_numbers_that_are_none_are_refused_at_once(name: str, number: str, tmp_path: Path) -> None:
    text = FILES[name]
    for three in ("3.000000", "3,000000", "3,0", "3"):
        if three in text:
            break
    head, _, tail = text.rpartition(f"{three}\n" if "Grid" in name else three)
    (tmp_path / name).write_text(f"{head}{number}{tail if 'Grid' not in name else chr(10) + tail}", encoding="utf-8")
    start = time.monotonic()
    with pytest.raises(FormatError) as error:
        read_events(tmp_path / name)
    assert time.monotonic() - start < 5
    assert len(str(error.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize("word", ["1" * 200_000, "1" * 200_000 + "x", '"' * 200_001, "<" * 200_000, '"" ' * 70_000])
def test_hostile_textgrids_take_no_time(word: str, tmp_path: Path) -> None:
    path = tmp_path / "a.TextGrid"
    path.write_text(f'File type = "ooTextFile"\nObject class = "TextGrid"\n{word}')
    start = time.monotonic()
    with pytest.raises(FormatError, match=r"a\.TextGrid: not valid textgrid events: .{,200}$"):
        read_events(path)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("key", ["duration", "segments"])
def test_lengths_of_more_than_a_day_are_refused(key: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"events": [], "media": {key: 20_000_000}}))
    with pytest.raises(FormatError, match=rf"media\.{key} is 2e\+07, which is more than 24 hours"):
        read_events(tmp_path / "a.json")


def test_thousands_in_a_table_are_not_seconds(tmp_path: Path) -> None:
    rows = "modality;label;onset;offset\naudio;Dog;0,5;2\naudio;Cat;1.234;2.345\n"
    (tmp_path / "a.csv").write_text(rows)
    with pytest.raises(FormatError, match=r"line 3: 1\.234 may be a fraction or thousands"):
        read_events(tmp_path / "a.csv")


def test_xml_in_the_encoding_that_it_declares(tmp_path: Path) -> None:
    for declared, encoding in (
        ("ISO-8859-1", "latin-1"), ("windows-1252", "cp1252"), ("UTF-16", "utf-16"), ("utf8", "utf-8-sig"),
        ("UTF-16", "utf-8"),
    ):  # fmt: skip
        (tmp_path / "a.eaf").write_bytes(EAF.replace("UTF-8", declared).encode(encoding))
        assert events(tmp_path / "a.eaf") == [("audio", 'Mücke "x"', 1.0, 3.0)]
    for declared in ("UTF-16", "no-such-encoding", "punycode", "hex"):
        (tmp_path / "a.eaf").write_bytes(EAF.replace("UTF-8", declared).encode("latin-1"))
        with pytest.raises(FormatError, match=r"a\.eaf: cannot be read: "):
            read_events(tmp_path / "a.eaf")
