# ruff: noqa: RUF001 - letters of other alphabets
"""The reader of text: encodings, ends of lines, what is not text, and that nothing else reads text."""

from __future__ import annotations

import ast
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import avvp.weights.unicode as unicode_module
import pytest
from avvp.pipeline.errors import OutputError
from avvp.pipeline.files import write_atomic
from avvp.pipeline.text_files import MAX_LINE, decode_text, parse_json, read_json, read_text, stream_lines
from avvp.weights.toml import parse_toml, read_toml
from avvp.weights.unicode import TextError, decode_unicode

UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
MARKED = {
    "utf-16-le": b"\xff\xfe", "utf-16-be": b"\xfe\xff", "utf-32-le": b"\xff\xfe\0\0", "utf-32-be": b"\0\0\xfe\xff",
}  # fmt: skip
TEXTS = {
    "latin": "filename\tevent_labels\nMücke.mp4\tDog\n",
    "cyrillic": "Собака\nКошка\n",
    "separators": "rain\u2028snow\nform\x0cfeed\nnext\x85line\n",
}
LEGACY = {
    "short": ("cp1252", "Mücke", "Windows-1252"),
    "German": ("cp1252", "Hundebellen\nMücke\nKüche\nRasenmäher\nGeräusch\nFüße\nSäge\nStraße\n", "Windows-1252"),
    "capitals": ("cp1252", "ÄÖÜ", "Windows-1252"),
    "French": ("cp1252", "bébé\nfenêtre\nœuvre d'art\nà la mer\noù\nNoël\ngarçon\n", "Windows-1252"),
    "Portuguese": ("cp1252", "cão latindo\nchoro de bebê\nviolão\naspirador de pó\nação\nàs três\n", "Windows-1252"),
    "several": ("cp1252", "Mücke\ngarçon\nniño\nsmørrebrød\n", "Windows-1252"),
    "quotes": ("cp1252", "\u201cDog\u201d \u2013 \u2018Cat\u2019…", "Windows-1252"),
    "Polish": ("cp1250", "Pies szczekający\nŁódź\nźrebię rżące\nśpiew\nćwierkanie wróbli\n", "Windows-1250"),
    "Czech": ("cp1250", "Štěkání psa\nMňoukání kočky\nPláč dítěte\nŘeč\nVysavač\n", "Windows-1250"),
    "Turkish": ("cp1254", "Köpek havlaması\nKonuşma\nÇim biçme\nŞarkı\nBebek ağlaması\n", "Windows-1254"),
    "Russian word": ("cp1251", "audio\tСобака\t1\t3", "Windows-1251"),
    "Russian": ("cp1251", "Собака\nКошка\nРечь\nАвтомобиль\nПлач ребёнка\nПылесос\nГазонокосилка\n", "Windows-1251"),
    "Japanese": ("cp932", "犬の鳴き声\n猫の鳴き声\n会話\n自動車\n赤ちゃんの泣き声\n掃除機\n", "Shift JIS"),
    "Mac": ("mac_roman", "Mücke, Vögel, Straße, Hände, Füße", "Mac Roman"),
}
BINARY = {
    "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "JPEG": b"\xff\xd8\xff\xe0ab\x01\x02", "gzip": b"\x1f\x8b\x08abc",
    "npy": b"\x93NUMPY\x01\0v\0{'descr': '<f4'", "NUL": b"Dog\0Cat\n", "NULs": b"\0\0", "all": bytes(range(256)),
    "controls": b"\x01\x02\x03\x04", "cut UTF-16": b"\xff\xfea", "UTF-16 NUL": b"\xff\xfea\0\0\0",
}  # fmt: skip


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("name", TEXTS)
def test_every_unicode_encoding_and_line_end_gives_the_same_text(name: str, encoding: str, ending: str) -> None:
    content = TEXTS[name].replace("\n", ending).encode(encoding)
    for found in (decode_text(content), decode_text(content, legacy=True)):
        assert found.text == TEXTS[name]
        assert not found.notices
    assert len(decode_text(content).lines()) == TEXTS[name].count("\n") + 1


@pytest.mark.parametrize("encoding", MARKED)
@pytest.mark.parametrize("text", ["犬\n", "a", "\u2028", ""])
def test_a_mark_decides_whatever_follows(text: str, encoding: str) -> None:
    assert decode_unicode(MARKED[encoding] + text.encode(encoding)) == text


@pytest.mark.parametrize("name", LEGACY)
def test_legacy_encodings_are_read_and_named(name: str) -> None:
    encoding, text, label = LEGACY[name]
    found = decode_text(text.encode(encoding), legacy=True)
    assert (found.text, found.notices) == (text, (f"read as {label}, it is not UTF-8",))
    with pytest.raises(TextError, match="UTF-8, UTF-16 and UTF-32 are read"):
        decode_text(text.encode(encoding))


def test_damaged_utf_8_is_not_taken_for_another_encoding() -> None:
    with pytest.raises(TextError, match="damaged UTF-8"):
        decode_text("Mücke, Vögel, Straße".encode() + b"\xfc", legacy=True)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", BINARY)
def test_binary_content_is_refused_in_one_plain_line(name: str, legacy: bool) -> None:
    with pytest.raises(TextError) as error:
        decode_text(BINARY[name], legacy=legacy)
    message = str(error.value)
    assert "\n" not in message
    assert "codec" not in message
    assert any(part in message for part in ("not a text file", "not UTF-8", "damaged UTF-16", "damaged UTF-8"))


READERS: dict[str, Callable[[Path], object]] = {
    "text": read_text, "JSON": read_json, "TOML": read_toml, "lines": lambda path: list(stream_lines(path)),
}  # fmt: skip


@pytest.mark.parametrize("name", ["text", "JSON", "TOML"])
def test_large_files_are_refused_by_the_limit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.truncate(unicode_module.MAX_TEXT_BYTES + 1)
    with pytest.raises(TextError, match="larger than 256 MiB"):
        READERS[name](path)
    monkeypatch.setattr(unicode_module, "MAX_TEXT_BYTES", 1 << 20)
    path.write_bytes(b" " * (1 << 20) + b"{")
    with pytest.raises(TextError, match="larger than 1 MiB"):
        READERS[name](path)


@pytest.mark.parametrize("name", READERS)
def test_what_is_not_there_is_said(name: str, tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"^No such file or directory$"):
        READERS[name](tmp_path / "x")
    with pytest.raises(TextError, match=r"^Is a directory$"):
        READERS[name](tmp_path)


@pytest.mark.parametrize("encoding", UNICODE)
def test_json_toml_and_streams_in_every_unicode_encoding(encoding: str, tmp_path: Path) -> None:
    assert parse_json('{"Mücke": [1, 0.5]}'.encode(encoding)) == {"Mücke": [1, 0.5]}
    assert parse_toml('"Mücke" = 0.5\r\n# end\r\n'.encode(encoding)) == {"Mücke": 0.5}
    assert parse_toml('"Mücke" = 0.5\rx = 1\r'.encode(encoding)) == {"Mücke": 0.5, "x": 1}
    (tmp_path / "x").write_bytes("Mücke 1\r\ncat 2\n".encode(encoding))
    assert list(stream_lines(tmp_path / "x")) == ["Mücke 1", "cat 2"]


@pytest.mark.parametrize(
    ("parse", "text", "said"),
    [
        (parse_json, "[" * 100_000, "nested too deeply"),
        (parse_json, f"[{'1' * 200_000}]", "is not a finite number"),
        (parse_json, "[1e999]", "1e999 is not a finite number"),
        (parse_json, "[NaN]", "NaN is not a finite number"),
        (parse_json, '{"a": }', r"not JSON: .* \(line 1, column 7\)"),
        (parse_json, "", "not JSON"),
        (parse_toml, f"a = {'1' * 200_000}", "out of range"),
        (parse_toml, "a = 'x\x07y'  # a bell", "character"),
        (parse_toml, "a = 2020-13-01", "."),
    ],
)
def test_documents_that_are_not_valid(parse: Callable[[bytes], object], text: str, said: str) -> None:
    with pytest.raises(TextError, match=said) as error:
        parse(text.encode())
    assert len(str(error.value)) < 200


def test_lines_without_an_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_text(f"short\n{'x' * MAX_LINE}\n{'x' * (MAX_LINE + 1)}")
    lines = stream_lines(tmp_path / "x")
    assert [len(next(lines)), len(next(lines))] == [5, MAX_LINE]
    with pytest.raises(TextError, match="a line of more than 1,048,576 characters"):
        next(lines)


ROOT = Path(__file__).resolve().parents[2]
# Modules that read text which the program itself wrote or ships, or that users do not hand in.
OWN_TEXT = {
    "pipeline/memory.py": "limits that the system states",
    "weights/manifest.py": "its own manifest.toml",
    "weights/quantized.py": "the header of its own files, which is JSON in UTF-8 by safetensors",
    "weights/remote/bundles.py": "its own records of a hub",
    "pipeline/diagnosis/installation.py": "facts that the system states",
    "pipeline/batch/failures.py": "its own failures.csv",
    "pipeline/batch/run_record.py": "its own records, and facts that the system states",
    "pipeline/synthetic/render.py": "the log of an encoder it started",
    "pipeline/training/run_folder.py": "config.json of a run",
    "pipeline/inference/vggish_check.py": "shipped answers",
    "pipeline/outputs/formats/events_json.py": "the shipped schema",
    "pipeline/outputs/html/web_files.py": "shipped parts of the page",
    "pipeline/serve/pages.py": "shipped parts of the page",
    "pipeline/serve/predictions.py": "what its own writer has made",
    "pipeline/serve/jobs/timeline_store.py": "its own records",
    "pipeline/serve/jobs/job.py": "its own journal",
    "pipeline/pseudo_labeling/record.py": "its own record",
    "pipeline/batch/journal.py": "its own journal",
    "weights/load.py": "the header of safetensors, which is JSON in UTF-8",
    "extractors/texts/tokenizer_files.py": "a tokenizer.json, which is UTF-8 and checked as a whole",
    "pipeline/embeddings/search/index.py": "its own records in the cache",
    "pipeline/quantization/quantize.py": "what OpenVINO has just written",
    "pipeline/computing/machine.py": "facts that the system states",
    "pipeline/backends/model_store.py": "its own records in the cache",
}
READS = {"read_text", "reader", "DictReader", "loads", "load"}
MODULES = {"csv", "json", "tomllib", "tomli"}


def text_reads(path: Path) -> set[str]:
    """Calls that read text without the reader: `read_text` of paths, parsers of csv, JSON and TOML."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if node.func.attr == "open" and any(keyword.arg == "encoding" for keyword in node.keywords):
            found.add(ast.unparse(node.func))
        is_parser = isinstance(owner, ast.Name) and owner.id in MODULES
        if node.func.attr in READS and (node.func.attr == "read_text" or is_parser):
            found.add(ast.unparse(node.func))
    return found


def test_text_of_users_is_read_in_one_place() -> None:
    own = {*OWN_TEXT, "weights/toml.py", "pipeline/text_files.py", "pipeline/tables.py"}
    between_processes = (
        "pipeline/preprocess/", "pipeline/decode/", "pipeline/batch/ray_engine.py", "pipeline/serve/jobs/engine",
        "pipeline/outputs/cuts/copy_main.py", "pipeline/outputs/cuts/write_cuts.py", "pipeline/features/h5_files.py",
            "models/",
    )  # fmt: skip
    for package in ("weights", "models", "extractors", "pipeline"):
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if name not in own and not name.startswith(between_processes):
                assert not text_reads(path), name


class TestPipes:
    @pytest.fixture
    def pipe(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A pipe, and little patience."""
        os.mkfifo(tmp_path / "pipe")
        monkeypatch.setattr("avvp.weights.unicode.PIPE_SECONDS", 0.2)
        monkeypatch.setattr("avvp.pipeline.files.PIPE_SECONDS", 0.2)
        return tmp_path / "pipe"

    @pytest.mark.parametrize("content", [b"", b"late", b"x" * 200_000])
    @pytest.mark.parametrize("silence", [0.0, 0.5])
    def test_a_program_may_be_silent_for_long(self, pipe: Path, content: bytes, silence: float) -> None:
        def write() -> None:
            with pipe.open("wb") as file:
                time.sleep(silence)
                file.write(content)

        writer = threading.Thread(target=write)
        writer.start()
        assert read_text(pipe).text == content.decode()
        writer.join()

    @pytest.mark.parametrize("read", [read_text, lambda path: list(stream_lines(path))], ids=["text", "lines"])
    def test_nobody_writes(self, pipe: Path, read: Callable[[Path], object]) -> None:
        with pytest.raises(TextError, match=r"no program writes|a pipe"):
            read(pipe)

    def test_results_are_written_to_a_pipe_that_somebody_reads(self, pipe: Path) -> None:
        with pytest.raises(OutputError, match="no program reads from this pipe"):
            write_atomic(pipe, b"result")
        received: list[bytes] = []
        reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
        reader.start()
        write_atomic(pipe, b"result")
        reader.join()
        assert received == [b"result"]
