"""Two processes of a training run, as torchrun starts them, forked from one that has imported torch already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["avvp.pipeline.cli.commands.training.train", "avvp.pipeline.training.setup"])


@dataclass
class Started:
    """A process, and the file that its messages go to."""

    process: BaseProcess
    messages: Path

    def end(self, seconds: float) -> tuple[int | None, str]:
        """Wait; return the exit status and the messages."""
        self.process.join(seconds)
        return self.process.exitcode, self.messages.read_text()

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.process.pid is not None and self.process.is_alive():
            os.kill(self.process.pid, number)


def start_two(folder: Path, *arguments: object) -> list[Started]:
    """Start `avvp ARGUMENTS` in two processes; their messages are written to a folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = []
    for rank in range(2):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **{key: str(value) for key, value in place.items()}}
        messages = folder / f"messages-{port}-{rank}"
        messages.touch()
        process = _CONTEXT.Process(target=_run, args=(environment, [str(one) for one in arguments], messages))
        process.start()
        started.append(Started(process, messages))
    return started


def _run(environment: dict[str, str], arguments: list[str], messages: Path) -> None:
    import torch
    from avvp.pipeline.cli import main as cli

    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)
    descriptor = os.open(messages, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.argv = ["avvp", *arguments]
    cli.main()
