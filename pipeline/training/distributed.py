"""Train in several processes that torchrun starts, each on a part of every batch.

All processes have the same parameters. Each computes the loss on its clips, as its part of the mean over the whole
batch; the sum of the gradients is that of one process, and every process takes the same step. The first process alone
writes to the run's folder, scores the validation clips and reports.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from ...weights.errors import WeightsError
from ..errors import AVVPError, SetupError, TrainingError

MAX_WAIT = timedelta(hours=2)  # of a process for another one, which may be scoring or hashing features
_SEED_STEP = 7_368_787  # between the seeds of two processes; larger than any number of epochs
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # set by torchrun

T = TypeVar("T")


class LostProcessError(TrainingError):
    """Another process of the run has ended."""


class ReportedError(AVVPError):
    """An error that the first process reports: the others end without a message."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a run, as one of them knows them."""

    rank: int = 0  # of this process, from 0
    count: int = 1
    local_rank: int = 0  # on its machine

    @property
    def is_first(self) -> bool:
        """Whether this process writes and reports."""
        return self.rank == 0

    @property
    def seed_offset(self) -> int:
        """What is added to the seed of dropout, so that the processes drop different units; 0 in the first."""
        return self.rank * _SEED_STEP

    def share(self, batch: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the clips of a batch that this process computes: every `count`-th, perhaps none."""
        return batch[self.rank :: self.count]

    def in_common(self, error: AVVPError) -> AVVPError:
        """Return an error that all processes raise as this one is to raise it: only the first reports it."""
        return error if self.is_first else ReportedError(str(error))

    @contextlib.contextmanager
    def together(self, kind: type[AVVPError]) -> Iterator[None]:
        """Let all processes leave a block together: if it fails in one, all raise an error.

        Args:
            kind: of error that the first process raises where only another one has failed.

        Raises:
            ReportedError: in other processes than the first; there, the error of the block, or one of this kind.
            LostProcessError: a process has ended.
        """
        if self.count == 1:
            yield
            return
        own: AVVPError | WeightsError | None = None
        try:
            yield
        except LostProcessError:
            raise
        except (AVVPError, WeightsError) as error:
            own = error
        reports: list[Any] = [None] * self.count
        _call(lambda: dist.all_gather_object(reports, None if own is None else str(own)))
        failed = [rank for rank, report in enumerate(reports) if report is not None]
        if not failed:
            return
        if own is not None and self.is_first:
            raise own
        text = reports[failed[0]]
        if self.is_first:
            raise kind(f"process {failed[0]}: {text}")
        raise ReportedError(text) from own

    def gather(self, value: T) -> list[T]:
        """Return the value of every process, in the first process; an empty list in the others."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        _call(lambda: dist.gather_object(value, values if self.is_first else None))
        return values if self.is_first else []

    def send_to_all(self, value: T) -> T:
        """Return the value of the first process, in every process."""
        if self.count == 1:
            return value
        values: list[Any] = [value]
        _call(lambda: dist.broadcast_object_list(values, 0))
        return values[0]

    def leave(self) -> None:
        """End the connection between the processes, at the end of a run."""
        if self.count > 1:
            _call(dist.barrier)
            dist.destroy_process_group()


ALONE = Ranks()


class BatchShare:
    """The part of a batch that one process computes, and what it takes to add the parts up."""

    def __init__(
        self, ranks: Ranks, lengths: NDArray[np.int64], names: Iterable[str], means: Mapping[str, str]
    ) -> None:
        """Describe the part of a process.

        Args:
            ranks: of the run.
            lengths: (B,) seconds of the clips of the whole batch.
            names: of the terms of the loss, for a process without a clip; it had one in an earlier batch.
            means: term -> "seconds" or "pairs" where it is no mean over clips, see `tasks.Task.means`.
        """
        self._means = means
        self._names = list(names)
        own = ranks.share(lengths)
        # Terms of the loss are means: over clips, over seconds, or over pairs of seconds of the same clip.
        sizes = {"clips": np.ones_like, "seconds": np.asarray, "pairs": np.square}
        self._parts = {what: float(size(own).sum() / size(lengths).sum()) for what, size in sizes.items()}

    def weigh(self, terms: Mapping[str, Tensor]) -> Tensor | None:
        """Weigh the terms of the loss of this part: the sum over all parts is the loss of the batch.

        Args:
            terms: name -> scalar, a mean over the clips, seconds or pairs of this part; empty if it has no clip.

        Returns:
            (K,) terms as a part of the means over the whole batch; None without a clip.
        """
        if not terms:
            return None
        self._names = list(terms)
        stacked = torch.stack(list(terms.values()))
        weights = [self._parts[self._means.get(name, "clips")] for name in terms]
        return stacked * torch.tensor(weights, dtype=stacked.dtype, device=stacked.device)

    def add_up(self, terms: Tensor | None) -> dict[str, float]:
        """Add up the terms of all processes.

        Args:
            terms: (K,), of `weigh`.

        Returns:
            Terms of the whole batch by name, with the same bits in every process.
        """
        total = torch.zeros(len(self._names)).double() if terms is None else terms.detach().double().cpu()
        _call(lambda: dist.all_reduce(total))
        return dict(zip(self._names, total.tolist(), strict=True))

    def add_up_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Replace the gradients by the sum of those of all processes.

        A parameter that has a gradient in one process has one in all of them afterwards; one without any has none.

        Args:
            parameters: in the same order in every process.
        """
        device = parameters[0].device
        present = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=device)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        joined = torch.cat([present, *(gradient.reshape(-1) for gradient in gradients)])
        _call(lambda: dist.all_reduce(joined))
        counts, rest = joined[: len(parameters)].tolist(), joined[len(parameters) :]
        parts = rest.split([parameter.numel() for parameter in parameters])
        for parameter, count, part in zip(parameters, counts, parts, strict=True):
            parameter.grad = part.view_as(parameter) if count else None


def process_rank() -> int:
    """Return the number of this process, from 0; 0 if torchrun has not started it, or its variables are no numbers."""
    try:
        return int(os.environ["RANK"]) if process_count() > 1 else 0
    except SetupError:  # which `join_processes` reports
        return 0


def process_count(environment: Mapping[str, str] = os.environ) -> int:
    """Return in how many processes torchrun has started the program; 1 without it.

    Raises:
        SetupError: the variables that torchrun sets are not numbers.
    """
    if any(name not in environment for name in _VARIABLES):
        return 1
    try:
        rank, count, local = (int(environment[name]) for name in _VARIABLES[:3])
    except ValueError as error:
        raise SetupError(f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers, as torchrun sets them: {error}") from error
    if not 0 <= rank < count or local < 0:
        raise SetupError(f"RANK is {rank} and WORLD_SIZE is {count}: not those of a process that torchrun starts")
    return count


def join_processes(device: str) -> tuple[Ranks, str]:
    """Connect the processes that torchrun has started.

    Args:
        device: `auto`, `cpu` or `cuda`; any device if there is only one process.

    Returns:
        The processes, and the device of this one.

    Raises:
        SetupError: a device cannot be used by several processes, or they do not find each other.
    """
    count = process_count()
    if count == 1:
        return ALONE, device
    ranks = Ranks(int(os.environ["RANK"]), count, int(os.environ["LOCAL_RANK"]))
    if device not in {"auto", "cpu", "cuda"}:
        raise ranks.in_common(
            SetupError(f"--device {device} is one device, and torchrun has started {count} processes; use cpu or cuda")
        )
    if not dist.is_available():
        raise ranks.in_common(SetupError("this build of torch cannot train in several processes"))
    on_gpu = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    gpus = torch.cuda.device_count()
    if on_gpu and ranks.local_rank >= gpus:
        raise SetupError(f"there are {gpus} GPUs; use torchrun --nproc-per-node {gpus}, or --device cpu")
    try:
        if on_gpu:
            torch.cuda.set_device(ranks.local_rank)
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_gpu else "gloo", timeout=MAX_WAIT)
    except (RuntimeError, ValueError) as error:
        raise SetupError(f"the {count} processes of the run do not find each other: {_reason(error)}") from error
    return ranks, f"cuda:{ranks.local_rank}" if on_gpu else "cpu"


def check_processes(ranks: Ranks, batch_size: int, clips: int) -> None:
    """Check that each process gets a clip of the first batch. Raises SetupError."""
    if ranks.count > min(batch_size, clips):
        raise SetupError(
            f"{ranks.count} processes for batches of {min(batch_size, clips)} clips: start fewer, or raise --batch-size"
        )


def copy_parameters(ranks: Ranks, parser: nn.Module) -> None:
    """Give all processes the parameters of the first one, whose bits another machine may not compute."""
    if ranks.count > 1:
        for tensor in parser.state_dict().values():
            _call(lambda tensor=tensor: dist.broadcast(tensor, 0))


def _call(function: Callable[[], object]) -> None:
    """Exchange data with the other processes. Raises LostProcessError if one has ended."""
    try:
        function()
    except RuntimeError as error:
        raise LostProcessError(
            f"another process of this run has ended, or cannot be reached ({_reason(error)}); the last complete epoch"
            " is saved: start all of them again with --resume"
        ) from error


def _reason(error: BaseException) -> str:
    """Return the first line of an error of torch.distributed, without the source file that it names."""
    line = str(error).strip().split("\n", 1)[0]
    return line.rpartition("] ")[2][:200] or type(error).__name__
