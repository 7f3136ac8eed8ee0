"""Hostile variants of valid files: values that do not belong, in parsed files, in their text and in their bytes.

Every function takes a `random.Random`, which hypothesis controls in tests, and returns a changed copy.
"""

from __future__ import annotations

import copy
import json
import math
import random
import re
import struct
from collections.abc import Callable, Mapping
from typing import Any

_DEEP = "@deep@"  # is rendered as brackets, nested too deeply for a parser that recurses
_TWICE = "@twice@"  # a key with this prefix is rendered as the key without it, which is there already
_DEPTH = 100_000

NUMBERS: tuple[Any, ...] = (
    0, -1, 1, 2, 255, 2**31, 2**53 + 1, 2**63, -(2**63), 2**64, 10**30, 10**399, 0.5, -0.0, 1e-320, 1e15, 1e308, -1e308,
    math.nan, math.inf, -math.inf,
)  # fmt: skip
TEXTS = (
    "", " ", "x", "\n", "\t", "default", "a" * 10_000, "é" * 300, "\ud800", "a\udcffb", "\x00", "\x1b[31mred",
    "\u202eevil", "..", ".", "/", "../../../etc/passwd", "/etc/passwd", "a/../../b", "/dev/zero", "~/.bashrc",
    "C:\\x", "file:///etc", "https://user:password@localhost:1/x", "{0.__class__}", "{}", "%s%n", "__import__('os')",
    "nan", "-inf", "1e999", "9" * 5_000, "1_000", "0x10", "\uff11\uff12", "true", "null", "2026-01-01", "=1+1",
    "--help", "<b>", "&lol;", "]]>", '"', "'",
)  # fmt: skip
OTHERS: tuple[Any, ...] = (None, True, False, [], {}, [[]], [None], [{}], {"": None}, {"a": {"b": []}}, [0] * 3, _DEEP)


def hostile(rng: random.Random) -> Any:
    """Return a value that few readers expect."""
    return copy.deepcopy(rng.choice(rng.choice((NUMBERS, TEXTS, OTHERS))))


def edit_tree(tree: Any, rng: random.Random) -> Any:
    """Change one to three nodes of a parsed file: replace, remove, repeat, wrap, rename, add."""
    box = [copy.deepcopy(tree)]
    for _ in range(rng.choice((1, 1, 2, 3))):
        _edit_node(*rng.choice(list(_nodes(box))), rng)
    return box[0]


def _nodes(container: Any) -> list[tuple[Any, Any]]:
    """List the places of all nodes, as container and key; of long lists only the ends."""
    found: list[tuple[Any, Any]] = []
    waiting = [container]
    while waiting:
        here = waiting.pop()
        keys = list(here) if isinstance(here, dict) else sorted({*range(min(3, len(here))), len(here) - 1} - {-1})
        found += [(here, key) for key in keys]
        waiting += [here[key] for key in keys if isinstance(here[key], dict | list)]
    return found


def _edit_node(container: Any, key: Any, rng: random.Random) -> None:
    edit = rng.choice(("replace", "replace", "replace", "replace", "remove", "repeat", "wrap", "rename", "add", "swap"))
    value = container[key]
    if edit == "replace":
        container[key] = hostile(rng)
    elif edit == "wrap":
        container[key] = rng.choice(([value], {"a": value}, [value, value]))
    elif edit == "swap":
        others = _nodes([container])
        other, place = rng.choice(others)
        container[key] = copy.deepcopy(other[place])
    elif isinstance(container, list):
        if edit == "remove" and len(container) > 1:
            del container[key]
        else:
            container[key:key] = [copy.deepcopy(value)] * rng.choice((1, 2, 2_000))
    elif edit == "remove":
        del container[key]
    elif edit == "rename":
        container[str(rng.choice(TEXTS))] = container.pop(key)
    elif edit == "repeat":
        container[f"{_TWICE}{key}"] = hostile(rng)
    else:
        container[str(rng.choice(TEXTS))] = hostile(rng)


def render_json(tree: Any) -> bytes:
    """Write JSON as Python does, NaN included, with the keys that are there twice and the deep nesting."""
    text = json.dumps(tree).replace(f'"{_TWICE}', '"')
    return text.replace(f'"{_DEEP}"', "[" * _DEPTH + "]" * _DEPTH).encode()


def render_toml(tree: Any) -> bytes:
    """Write TOML; what TOML does not have is written as it would be in JSON."""
    tables = tree if isinstance(tree, dict) else {"value": tree}
    text = "".join(f"{_toml_key(key)} = {_toml_value(value)}\n" for key, value in tables.items())
    return text.replace(f'"{_DEEP}"', "[" * _DEPTH + "]" * _DEPTH).encode("utf-8", "surrogatepass")


def _toml_key(key: str) -> str:
    return json.dumps(key.removeprefix(_TWICE))


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_toml_key(key)} = {_toml_value(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return json.dumps(value)


def edit_text(content: bytes, rng: random.Random) -> bytes:
    """Replace one to three words of a text file by hostile ones, or its separators."""
    text = content.decode()
    for _ in range(rng.choice((1, 1, 2, 3))):
        words = list(re.finditer(r"[^\s,;<>=\"]+|[,;\t<>=\"]", text))
        if not words:
            break
        word = rng.choice(words)
        value = hostile(rng)
        written = value if isinstance(value, str) else json.dumps(value)
        text = (
            text[: word.start()]
            + rng.choice((written, written, word[0] * rng.choice((2, 1_000)), ""))
            + text[word.end() :]
        )
    return text.replace(_DEEP, "[" * 1_000).encode("utf-8", "surrogatepass")


def edit_bytes(content: bytes, rng: random.Random) -> bytes:
    """Damage the bytes of a file."""
    size = len(content)
    place = rng.randint(0, size)
    edits: Mapping[str, Callable[[], bytes]] = {
        "truncate": lambda: content[:place],
        "flip": lambda: _flip(content, rng),
        "NUL": lambda: content[:place] + b"\0" * rng.choice((1, 3, 4_096)) + content[place:],
        "mark": lambda: rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\xff\xfe\0\0")) + content,
        "not UTF-8": lambda: content[:place] + b"\xc3\x28\xff\xfe" + content[place:],
        "one byte": lambda: bytes([rng.choice(b'\0\n\t "[{(<,;=9a\x1b\x80\xff')]) * (1 << 20),
        "twice": lambda: content + content,
        "inserted": lambda: content[:place] + bytes([rng.choice(b'"[{(<9a\\')]) * 100_000 + content[place:],
        "empty": lambda: b"",
        "cut out": lambda: content[:place] + content[rng.randint(place, size) :],
        "no newlines": lambda: content.replace(b"\n", b""),
    }
    return edits[rng.choice(list(edits))]()


def _flip(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 8, 64)) if content else 0):
        changed[rng.randint(0, len(changed) - 1)] ^= 1 << rng.randint(0, 7)
    return bytes(changed)


_TYPES = (
    "<f8", ">f4", "<f2", "<f16", "|b1", "|u1", "<i8", "<c8", "|O", "|S5", "<U5", "|V8", "<M8[s]", "|S0", "|V0",
    [("a", "<f4")], [("a", "|O")], [("a", "<f4", (1000, 1000))], "(1000,1000)<f4", "f4", "", "x", 7, None,
    "<f4" * 2_000,
)  # fmt: skip
_LENGTHS = (-1, 0, 1, 2, 7, 10**6, 2**31, 2**62, 2**64, 10**30, 1.5, None, "3", True)
_HEADERS = (
    "[" * 3_000, "{" * 300, "1+" * 3_000 + "1", "9**9**9", "{'shape': 9**9**9}", "-" * 5_000 + "1", "\0", "None", "()",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 4_000 + ",)}", "é", "(" * 90, "print(1)",
)  # fmt: skip


def edit_npy(content: bytes, rng: random.Random) -> bytes:
    """Change the header of a .npy file: shape, type, order, keys, version, length, text."""
    header, data = _split_npy(content)
    fields: dict[str, Any] = dict(header)
    version, claimed = 1, None
    text = None
    for _ in range(rng.choice((1, 1, 2))):
        edit = rng.choice(
            ("shape", "shape", "descr", "descr", "order", "key", "version", "length", "text", "data", "type")
        )
        if edit == "shape":
            shape = fields["shape"] if isinstance(fields.get("shape"), tuple) else (1,)
            shape = [rng.choice(_LENGTHS) if rng.random() < 0.5 else length for length in shape]
            shape += [rng.choice(_LENGTHS)] * rng.choice((0, 0, 1, 40))
            fields["shape"] = tuple(shape[: rng.choice((0, 1, len(shape), len(shape)))])
        elif edit == "descr":
            fields["descr"] = rng.choice(_TYPES)
        elif edit == "order":
            fields["fortran_order"] = rng.choice((True, 1, None, "no"))
        elif edit == "key":
            fields.pop(rng.choice(list(fields)), None)
            fields[rng.choice(("descr", "extra", "shape", ""))] = rng.choice((None, (), "<f4"))
        elif edit == "version":
            version = rng.choice((0, 2, 3, 4, 255))
        elif edit == "length":
            claimed = rng.choice((0, 1, 10, 4_096, 65_535, 2**32 - 1))
        elif edit == "type":
            fields[rng.choice(list(fields))] = rng.choice(_LENGTHS)
        elif edit == "data":
            data = rng.choice(
                (b"", data[:-1], data + b"\0", data * 2, b"\xff" * len(data), b"\0\0\xc0\x7f" * (len(data) // 4))
            )
        else:
            text = rng.choice(_HEADERS)
    return join_npy(repr(fields) if text is None else text, data, version=version, claimed=claimed)


def join_npy(header: str, data: bytes, *, version: int = 1, claimed: int | None = None) -> bytes:
    """Build a .npy file of a header as Python text; `claimed` is the header's length that the file states."""
    body = header.encode("utf-8")
    body += b" " * (-(len(body) + 11) % 64) + b"\n"
    size = len(body) if claimed is None else claimed
    length = struct.pack("<H", size % 2**16) if version == 1 else struct.pack("<I", size)
    return b"\x93NUMPY" + bytes([version, 0]) + length + body + data


def _split_npy(content: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<H", content[8:10])
    return eval(content[10 : 10 + length], {"__builtins__": {}}), content[10 + length :]  # noqa: S307 - our own file


def edit_safetensors(content: bytes, rng: random.Random) -> bytes:
    """Change the header of a safetensors file, its length, or what follows."""
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    if rng.random() < 0.6 and "__metadata__" in header:  # its values are JSON in text
        metadata = header["__metadata__"]
        key = rng.choice(list(metadata))
        try:
            metadata[key] = render_json(edit_tree(json.loads(metadata[key]), rng)).decode()
        except ValueError:
            metadata[key] = str(rng.choice(TEXTS))
    else:
        header = edit_tree(header, rng)
    body = render_json(header)
    claimed = rng.choice((len(body),) * 9 + (0, 2**40, 2**64 - 1, len(body) - 1, len(body) + 8))
    return struct.pack("<Q", claimed) + body + data
