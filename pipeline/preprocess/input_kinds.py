"""Readers of network inputs by the name that profiles have for them, `Profile.inputs`. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...extractors.inputs import INPUT_FORMATS, PE_AV_FORMATS, TEACHER_FORMATS, UNFUSED_FORMATS, InputFormat
from ...extractors.sampling import Stream
from .base import InputReader
from .network_inputs import NetworkInputs
from .teacher_inputs import TeacherInputs


class InputKind(NamedTuple):
    """A reader and the formats that it builds."""

    formats: Mapping[Stream, InputFormat]
    reader: type[InputReader]


KINDS = {
    name: InputKind({input_format.stream: input_format for input_format in formats.values()}, reader)
    for name, formats, reader in (
        ("networks", INPUT_FORMATS, NetworkInputs),
        ("teachers", TEACHER_FORMATS, TeacherInputs),
        ("unfused", UNFUSED_FORMATS, TeacherInputs),
        ("pe-av", PE_AV_FORMATS, TeacherInputs),
    )
}
