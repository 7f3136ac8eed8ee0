"""Hostile events in Parquet."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from pyarrow import parquet as pq

_ROW = {"file": "x", "modality": "audio", "label": "Dog", "onset": 0.0, "offset": 1.0, "score": 1.0}


def hostile_parquet(size: int) -> dict[str, bytes]:
    """Make the files: name with the suffix of the format -> content. size: rows, or characters, of large ones."""
    valid, rows = _table({}, 100), size * 3
    one = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), ["x" * 3_000_000])
    files = {
        "empty": b"",
        "magic": b"PAR1" * 3,
        "zeros": b"\0" * size * 10,
        "cut": valid[: len(valid) // 2],
        "no_footer": valid[:-8],
        "footer_size": valid[:-8] + b"\xff\xff\xff\x7fPAR1",
        "footer_zeros": valid[:-200] + b"\0" * 192 + valid[-8:],
        "pages": valid[:4] + b"\xff" * 100 + valid[104:],
        "rows": _table({}, size * 3),
        "rows_too_many": _table({"label": pa.nulls(100_001, pa.string())}, 100_001),
        "columns": _table({f"c{number}": [0] for number in range(min(size, 1_500))}, 1),
        "long_dictionary": _table({"file": one}, rows, store_schema=False),
        "long_plain": _table({"label": ["x" * size * 10]}, 1, use_dictionary=False),
        "bomb": _table({"label": ["x" * (16 << 20)]}, 1, compression="zstd", use_dictionary=False),
        "deep_header": valid[:5] + b"\x3c" * 100 + valid[105:],
        "headers": valid[:5] + b"\x8c" * 100 + valid[105:],
        "bytes": _table({"label": pa.array([b"\xff\xfe"])}, 1),
        "nulls": _table({key: [None] for key in _ROW}, 1),
        "lists": _table({"label": [["Dog"] * size]}, 1),
        "objects": _table({"onset": [{"a": 1}]}, 1),
        "infinite": _table({"offset": [float("inf")]}, 1),
        "names": _table({"file": ["..", "/etc/passwd", "../x", "\x1b[2J", "a\nb", "x" * 300]}, 6),
        "same_column": _table({"LABEL": ["Cat"], "Label": ["Car"]}, 1),
    }
    return {f"{name}.parquet": content for name, content in files.items()}


def _table(columns: dict[str, Any], rows: int, **options: Any) -> bytes:
    """Return a table of valid rows with some columns in place of, or besides, the valid ones."""
    valid = {key: [value] * rows for key, value in _ROW.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({**valid, **columns}), sink, **options)
    return sink.getvalue().to_pybytes()
