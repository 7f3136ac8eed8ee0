"""Main function of the process that copies parts of one media file.

Every message is a JSON object on one line. ``{"cut": k, "start": s, "end": s}`` follows each cut, in order;
``{"cut": k, "failed": cause, "timeout": false}`` says that it failed, ``{"unwritable": cause}`` that its file cannot be
written, which ends the process as ``{"failed": ...}`` does. ``{"alive": true}`` shows progress.
"""

from __future__ import annotations

import json
from pathlib import Path

from ...child_output import MessageWriter
from ...decode.probe import probe
from ...decode.process import failure_message
from ...errors import MediaError, OutputError
from .copy_packets import PacketCopier


def main(path: str, settings: str) -> None:
    """Copy parts of a file.

    Args:
        path: the media file.
        settings: JSON object with `folder`, `muxer`, `timeout` and `cuts`, a list of [start, end, name].
    """
    writer = MessageWriter()
    chosen = json.loads(settings)
    try:
        copier = PacketCopier(
            probe(Path(path)), muxer=chosen["muxer"], timeout=chosen["timeout"], progress=writer.keep_alive
        )
        for number, (start, end, name) in enumerate(chosen["cuts"]):
            try:
                part = copier.copy(start, end, Path(chosen["folder"]) / name)
                writer.send({"cut": number, "start": part.start, "end": part.end})
            except MediaError as error:
                writer.send({"cut": number, **failure_message(error)})
    except OutputError as error:
        writer.send({"unwritable": str(error)})
    except Exception as error:  # a bug must not look like a crash of the process
        writer.send(failure_message(error))
