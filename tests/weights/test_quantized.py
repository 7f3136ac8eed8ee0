"""Files of quantized networks: what is written is read again, and what a stranger puts into a program is refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from avvp.weights import quantized
from avvp.weights.errors import WeightsError
from avvp.weights.quantized import (
    QuantizedFile,
    check_program,
    dump_quantized,
    identify_calibration,
    is_quantized,
    read_quantized,
    reduce_program,
)
from safetensors.numpy import save

CONSTANTS = struct.pack("<2f", 1.5, -2.0) + bytes(range(4))
PROGRAM = (
    '<net name="n" version="11"><layers>'
    '<layer id="0" name="inputs" type="Parameter" version="opset1"><data shape="?,2" element_type="f32" />'
    '<output><port id="0" precision="FP32"><dim>-1</dim><dim>2</dim></port></output></layer>'
    '<layer id="1" name="scale" type="Const" version="opset1">'
    '<data element_type="f32" shape="1, 2" offset="0" size="8" />'
    '<output><port id="0" precision="FP32"><dim>1</dim><dim>2</dim></port></output></layer>'
    '<layer id="2" name="x/mul" type="Multiply" version="opset1"><data auto_broadcast="numpy" />'
    '<input><port id="0" precision="FP32"><dim>-1</dim><dim>2</dim></port>'
    '<port id="1" precision="FP32"><dim>1</dim><dim>2</dim></port></input>'
    '<output><port id="2" precision="FP32"><dim>-1</dim><dim>2</dim></port></output></layer>'
    '<layer id="3" name="features" type="Result" version="opset1">'
    '<input><port id="0" precision="FP32"><dim>-1</dim><dim>2</dim></port></input></layer>'
    '</layers><edges><edge from-layer="0" from-port="0" to-layer="2" to-port="0" />'
    '<edge from-layer="1" from-port="0" to-layer="2" to-port="1" />'
    '<edge from-layer="2" from-port="2" to-layer="3" to-port="0" /></edges></net>'
)
FILE = QuantizedFile("resnet_tiny", PROGRAM, CONSTANTS, {"inputs": 8})


def test_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "resnet_tiny.int8.safetensors"
    path.write_bytes(dump_quantized(FILE))
    assert read_quantized(path) == FILE


def test_names_of_files_say_what_is_quantized() -> None:
    assert is_quantized("resnet152.int8.safetensors")
    assert not is_quantized("resnet152.safetensors")
    assert not is_quantized("")


def test_calibration_depends_on_every_file_and_on_no_order() -> None:
    found = identify_calibration({"a": "1" * 64, "b": "2" * 64})
    assert found == identify_calibration({"b": "2" * 64, "a": "1" * 64})
    assert found != identify_calibration({"a": "1" * 64, "b": "3" * 64})
    assert len(found) == 16


def test_notes_of_tools_are_left_out() -> None:
    noted = PROGRAM.replace('precision="FP32"', 'precision="FP32" names="x"').replace(
        "</edges>", '</edges><rt_info><path value="/home/alice/clips" /></rt_info>'
    )
    with pytest.raises(ValueError, match="layers and edges"):
        check_program(noted, CONSTANTS)
    assert reduce_program(noted) == reduce_program(PROGRAM)
    check_program(reduce_program(noted), CONSTANTS)


Change = Callable[[str], str]
HOSTILE: dict[str, tuple[Change, str]] = {
    "an entity": (lambda text: '<!DOCTYPE net [<!ENTITY a "aaaa">]>' + text, "declarations"),
    "a comment": (lambda text: text.replace("<edges>", "<!-- a --><edges>"), "declarations or comments"),
    "no XML": (lambda text: text[:-3], "not XML"),
    "another root": (lambda text: text.replace("net ", "not ", 1).replace("</net>", "</not>"), "element 'not'"),
    "an unknown operation": (lambda text: text.replace('"Multiply"', '"ReadValue"'), "'ReadValue' is none of those"),
    "an operation of an extension": (
        lambda text: text.replace('type="Multiply" version="opset1"', 'type="Multiply" version="extension"'),
        "not one of OpenVINO's own",
    ),
    "a subgraph": (
        lambda text: text.replace('<data auto_broadcast="numpy" />', '<data auto_broadcast="numpy" /><body />'),
        "'body', which is not accepted",
    ),
    "an unknown attribute": (
        lambda text: text.replace('auto_broadcast="numpy"', 'auto_broadcast="numpy" library="/tmp/x.so"'),
        "element 'data'",
    ),
    "a path in an attribute": (lambda text: text.replace('"numpy"', '"/tmp/x.so"'), "'/tmp/x.so'"),
    "a long attribute": (lambda text: text.replace('"numpy"', f'"{"n" * 501}"'), "not accepted"),
    "text": (lambda text: text.replace("<edges>", "<edges>run"), "has text"),
    "text between elements": (lambda text: text.replace("</layers>", "</layers>run"), "between its elements"),
    "a negative dimension": (lambda text: text.replace("<dim>2</dim>", "<dim>-2</dim>"), "size of a dimension"),
    "many dimensions": (lambda text: text.replace("<dim>2</dim>", "<dim>2</dim>" * 9), "dimensions"),
    "a constant behind the end": (lambda text: text.replace('offset="0"', 'offset="8"'), "at 8"),
    "a constant before the beginning": (lambda text: text.replace('offset="0"', 'offset="-8"'), "without place"),
    "a constant of another size": (lambda text: text.replace('"1, 2"', '"1000000, 1000000"'), "its shape needs"),
    "a constant of strings": (lambda text: text.replace('type="f32" shape="1', 'type="string" shape="1'), "'string'"),
    "a constant of numbers that are not checked": (
        lambda text: text.replace('type="f32" shape="1', 'type="bf16" shape="1'),
        "'bf16'",
    ),
    "no input": (lambda text: text.replace('"Parameter"', '"ReLU"').replace('shape="?,2" ', ""), "element 'data'"),
    "two results": (lambda text: text.replace('"Multiply"', '"Result"').replace('auto_broadcast="numpy"', ""), "one"),
    "an edge with a word": (lambda text: text.replace('to-port="1"', 'to-port="one"'), "'one'"),
    "the same part twice": (
        lambda text: text.replace('<data auto_broadcast="numpy" />', '<data auto_broadcast="numpy" /><data />'),
        "twice",
    ),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_programs_with_something_else_are_refused(kind: str) -> None:
    change, message = HOSTILE[kind]
    changed = change(PROGRAM)
    assert changed != PROGRAM
    check_program(PROGRAM, CONSTANTS)
    with pytest.raises(ValueError, match=message):
        check_program(changed, CONSTANTS)


def test_values_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        check_program(PROGRAM, struct.pack("<2f", 1.5, float("nan")) + CONSTANTS[8:])


def test_many_operations_and_long_programs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantized, "MAX_OPERATIONS", 3)
    with pytest.raises(ValueError, match="more than 3 operations"):
        check_program(PROGRAM, CONSTANTS)
    monkeypatch.setattr(quantized, "MAX_PROGRAM_BYTES", len(PROGRAM) - 1)
    with pytest.raises(ValueError, match="more than 0 MiB"):
        check_program(PROGRAM, CONSTANTS)


def _saved(record: object, **tensors: bytes) -> bytes:
    arrays = {name: np.frombuffer(content, np.uint8) for name, content in tensors.items()}
    return save(arrays, {"avvp": json.dumps(record)})


RECORD = {"format": 1, "extractor": "resnet_tiny", "record": {}}
TENSORS = {"program": PROGRAM.encode(), "constants": CONSTANTS}
DAMAGED: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "damaged|quantized"),
    "noise": (b"\x10\0\0\0\0\0\0\0" + b"a" * 16, "not a quantized network"),
    "ordinary weights": (save({"weight": np.zeros(3, np.float32)}), "metadata is not of format 1"),
    "another format": (_saved({**RECORD, "format": 2}, **TENSORS), "format 1"),
    "no extractor": (_saved({**RECORD, "extractor": 3}, **TENSORS), "does not name its extractor"),
    "another tensor": (_saved(RECORD, **TENSORS, more=b"a"), "holds"),
    "no constants": (_saved(RECORD, program=PROGRAM.encode()), "holds"),
    "no text": (_saved(RECORD, program=b"\xff\xfe", constants=CONSTANTS), "not a quantized network"),
    "cut": (dump_quantized(FILE)[:-4], "not a quantized network"),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_damaged_files_are_refused(kind: str, tmp_path: Path) -> None:
    content, message = DAMAGED[kind]
    path = tmp_path / "resnet_tiny.int8.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=message) as caught:
        read_quantized(path)
    assert "\n" not in str(caught.value)
