"""What files are decoded for: the networks that make features, or the teachers that make pseudo labels. No torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray

from ...extractors.inputs import INPUT_FORMATS, InputFormat
from ...extractors.sampling import Stream
from .media_summary import MediaSummary
from .network_inputs import NetworkInputs
from .teacher_inputs import TEACHER_FORMATS, TeacherInputs


class Inputs(Protocol):
    """Iterating decodes and gives (stream, inputs); then `summary` is there."""

    summary: MediaSummary

    def __iter__(self) -> Iterator[tuple[Stream, NDArray[Any]]]: ...


class InputKind(NamedTuple):
    """formats: of each stream; open: called with path, formats and the keyword arguments of `NetworkInputs`."""

    formats: Mapping[Stream, InputFormat]
    open: Callable[..., Inputs]


KINDS = {
    name: InputKind({form.stream: form for form in formats.values()}, kind)
    for name, formats, kind in (
        ("networks", INPUT_FORMATS, NetworkInputs),
        ("teachers", TEACHER_FORMATS, TeacherInputs),
    )
}
