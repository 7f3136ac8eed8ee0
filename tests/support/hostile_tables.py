"""Hostile events in tables: CSV, TSV, LLP and Audacity."""

from __future__ import annotations

from collections.abc import Mapping

_HEADER = "file,modality,label,onset,offset,score\n"
_LLP_HEADER = "filename\tonset\toffset\tevent_labels\n"


def hostile_tables(size: int) -> dict[str, bytes]:
    """Make the files: name with the suffix of its format -> content. size: rows, or characters, of large ones."""
    files: dict[str, str] = {}
    for suffix, contents in (
        ("csv", _csv(size)), ("tsv", _tsv(size)), ("eval_audio.csv", _llp(size)), ("audio.txt", _audacity(size)),
    ):  # fmt: skip
        files |= {f"{name}.{suffix}": content for name, content in contents.items()}
    encoded = {name: content.encode("utf-8", "surrogateescape") for name, content in files.items()}
    encoded["bytes.csv"] = bytes(range(1, 256)) * size
    encoded["latin.csv"] = f"{_HEADER}x,audio,{'é' * 500},0,1,1\n".encode("latin-1") * 50
    return encoded


def _csv(size: int) -> Mapping[str, str]:
    return {
        "empty": "",
        "header": _HEADER,
        "quote": _HEADER + 'x,audio,"Dog' + "\n,x" * size * 20,
        "quotes": '"' * size * 20 + "x",
        "doubled_quotes": _HEADER + 'x,audio,"' + '""' * size * 20 + '",0,1,1\n',
        "columns": ",".join(f"c{number}" for number in range(size * 10)) + "\n" + "," * size * 10,
        "cells": _HEADER + "," * size * 200,
        "lines": _HEADER + "\n" * size * 200,
        "rows": _HEADER + "x,audio,Dog,0,1,1\n" * size * 3,
        "files": _HEADER + "".join(f"clip {number},audio,Dog,0,1,1\n" for number in range(min(size, 100))),
        "files_too_many": _HEADER + "".join(f"{number},audio,Dog,0,1,1\n" for number in range(20_001)),
        "long_cell": f"{_HEADER}x,audio,{'x' * (2 << 20)},0,1,1\n",
        "digits": f"{_HEADER}x,audio,Dog,0,{'1' * size * 20},1\n",
        "separator": "sep=" + ";" * size * 20 + "\n",
        "blanks": " " * size * 20 + "sep=;\n" + _HEADER,
        "names": _HEADER + "".join(f"{name},audio,Dog,0,1,1\n" for name in ("../../x", "..", "/", "/etc/passwd")),
        "formula": f'{_HEADER}"=HYPERLINK(""http://x"")",audio,=1+1,0,1,1\n',
        "thousands": "modality;label;onset;offset\naudio;Dog;1.234;1,5\n",
        "times": f"{_HEADER}x,audio,Dog,0,1e309,1\n",
        "score": f"{_HEADER}x,audio,Dog,0,1,nan\n",
    }  # fmt: skip


def _tsv(size: int) -> Mapping[str, str]:
    return {
        "null": _HEADER.replace(",", "\t") + "x\taudio\tDo\0g\t0\t1\t1\n",
        "label": _HEADER.replace(",", "\t") + f"x\taudio\t{'x' * size * 10}\t0\t1\t1\n",
        "bytes": _HEADER.replace(",", "\t") + "x\taudio\t\udcff\udcfe\t0\t1\t1\n",
    }


def _llp(size: int) -> Mapping[str, str]:
    return {
        "rows": _LLP_HEADER + "x\t0\t1\tDog\n" * size * 3,
        "day": _LLP_HEADER + "".join(f"x\t0\t86400\tclass {number}\n" for number in range(size)),
        "times": _LLP_HEADER + "x\t5\t1\tDog\n",
        "clips": _LLP_HEADER + "".join(f"{name}\t0\t1\tDog\n" for name in ("..", "../x", "\x1b[2J", "x" * 300)),
        "columns": "filename\tonset\n",
    }


def _audacity(size: int) -> Mapping[str, str]:
    return {
        "digits": "1" * size * 20,
        "lines": "\n" * size * 200,
        "tabs": "\t" * size * 20,
        "overlap": "".join(f"0\t{86_400 - number / size}\tclass {number}\n" for number in range(size)),
        "many": "".join(f"{number / size}\t{number / size + 0.5}\tDog\n" for number in range(size)),
        "spectrum": "\\\t1\t2\n" * size,
        "decimal": "0,5\t1.5\tDog\n",
    }
