"""One step of training: a batch, its losses, an update of the parameters.

On a GPU a step is recorded as a CUDA graph and started with one call: a step of MM-Pyr and LEAP starts 2,000 kernels,
and starting them takes longer than running them. benchmarks/gpu.py measures it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ...models.losses import OWN_LOSSES, Objective
from ...models.parser import AVParser
from ..datasets.clips import Batch
from ..devices import ComputePrecision
from ..errors import TrainingError
from ..inference.networks import TrainedNetwork
from .batches.build import build_hooks
from .batches.hooks import NO_HOOKS, BatchHooks, StepContext, step_context
from .distributed import BatchShare
from .recipe import Recipe
from .settings.training_config import OPTIMIZERS, TrainingConfig
from .tasks import Loss


def make_optimizer(config: TrainingConfig, parser: TrainedNetwork) -> torch.optim.Optimizer:
    """Make the optimizer of a network's parameters, one of `OPTIMIZERS`.

    Args:
        config: names it.
        parser: or another network. Guides have groups of their own.

    Returns:
        The optimizer; "factor" of a group is that of its learning rate, see `set_learning_rate`.
    """
    guides = parser.guides if isinstance(parser, AVParser) else None
    factors = {"": 1.0}
    if guides is not None:
        factors |= {"guides.audio.": config.audio_guide_rate, "guides.visual.": config.visual_guide_rate}
    groups: dict[str, list[Tensor]] = {prefix: [] for prefix in factors}
    for name, parameter in parser.named_parameters():
        groups[max((prefix for prefix in factors if name.startswith(prefix)), key=len)].append(parameter)
    return OPTIMIZERS[config.optimizer](
        [
            {"params": groups[prefix], "factor": factor, "lr": factor * config.learning_rate}
            for prefix, factor in factors.items()
        ],
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,  # one pass over the parameters instead of a dozen
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of each group of an optimizer: `rate`, times the factor that `make_optimizer` gave it."""
    for group in optimizer.param_groups:
        group["lr"] = group.get("factor", 1.0) * rate


def training_step(
    parser: TrainedNetwork,
    batch: Batch | None,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    scaler: GradScaler,
    *,
    loss: Loss,
    share: BatchShare | None = None,
    hooks: BatchHooks | None = None,
    context: StepContext | None = None,
) -> dict[str, float]:
    """Update the parameters once, unless the loss is NaN or infinite.

    Args:
        parser: or another network, in training mode.
        batch: on its device; None for a process that has none of a batch that others compute.
        recipe: for the precision and gradient clipping.
        optimizer: of its parameters.
        scaler: of gradients in fp16; disabled for other precisions.
        loss: of the recipe's objective.
        share: if several processes compute a batch; all of them take the same step.
        hooks: what is done to the batch; those of the recipe when None.
        context: of the batch; when None, as if all updates that the optimizer has made were of the first epoch.

    Returns:
        The weighted terms of the loss of the whole batch.

    Raises:
        TrainingError: a loss of another package fails.
    """
    config = recipe.training
    hooks = build_hooks(recipe.objective, config.recombine) if hooks is None else hooks
    if context is None:
        done = _updates(optimizer)
        context = step_context(config.seed, 0, done, done + 1)
    terms: dict[str, Tensor] = {}
    if batch is not None:
        terms = _compute_terms(parser, batch, context, precision=config.precision, loss=loss, hooks=hooks)
    stacked: Tensor | None
    if share is not None:
        stacked = share.weigh(terms)
        values = share.add_up(stacked)
    else:
        stacked = torch.stack(list(terms.values()))
        values = dict(zip(terms, stacked.detach().tolist(), strict=True))
    if not math.isfinite(sum(values.values())):
        return values
    optimizer.zero_grad(set_to_none=True)
    if stacked is not None:
        scaler.scale(stacked.sum()).backward()
    if share is not None:
        share.add_up_gradients(list(parser.parameters()))
    if config.clip_norm:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parser.parameters(), config.clip_norm)
    scaler.step(optimizer)
    scaler.update()
    return values


def _updates(optimizer: torch.optim.Optimizer) -> int:
    """Return how many updates an optimizer has made, as far as it counts them; Adam does. Waits for a GPU once."""
    counts = [torch.as_tensor(state["step"]) for state in optimizer.state.values() if "step" in state]
    return int(torch.stack(counts).max()) if counts else 0


def _compute_terms(
    parser: Any, batch: Batch, context: StepContext, *, precision: str, loss: Loss, hooks: BatchHooks
) -> dict[str, Tensor]:
    """Compute the weighted terms of the loss of a batch. Raises TrainingError if a loss of another package fails."""
    dtype = ComputePrecision(precision).dtype
    with torch.autocast(batch.features[0].device.type, dtype, precision != "fp32"):
        batch = hooks.before(parser, batch, context)
        output = parser(*batch.features, lengths=batch.lengths)
    try:
        return {**loss(output, batch.targets), **hooks.terms(parser, output, batch, context)}
    except ValueError as error:
        raise TrainingError(str(error)) from error


class StepRecorder:
    """Takes the steps of a run. The second of several equal ones is recorded, and replayed as those after it are.

    Recorded are steps on a GPU, of one process, of a parser, on whole batches whose clips have the same length, in fp32
    or bf16, without hooks and without parts of other packages, which may do another thing in each step. Steps that
    cannot be recorded, as those whose loss reads values back, are taken as before.
    """

    def __init__(self) -> None:
        self._seen: tuple[Any, ...] | None = None
        self._recorded: _RecordedStep | None = None
        self._can_record = True

    def step(
        self,
        parser: TrainedNetwork,
        batch: Batch | None,
        recipe: Recipe,
        optimizer: torch.optim.Optimizer,
        scaler: GradScaler,
        *,
        loss: Loss,
        share: BatchShare | None = None,
        hooks: BatchHooks | None = None,
        context: StepContext | None = None,
    ) -> dict[str, float]:
        """Take a step; arguments, result and errors are those of `training_step`."""
        hooks = build_hooks(recipe.objective, recipe.training.recombine) if hooks is None else hooks
        if (
            self._can_record
            and batch is not None and batch.lengths is None and len(batch.audio) == recipe.training.batch_size
            and batch.audio.device.type == "cuda" and share is None and not scaler.is_enabled() and hooks == NO_HOOKS
            and isinstance(recipe.objective, Objective) and recipe.objective.loss in OWN_LOSSES
            and isinstance(parser, AVParser) and not parser.parts
        ):  # fmt: skip
            rates = tuple(group["lr"] for group in optimizer.param_groups)
            # Every epoch has a loss of its own, most of them equal.
            loss_kind = (loss.func, loss.args, loss.keywords) if isinstance(loss, partial) else loss
            kind = (rates, loss_kind, *((tensor.shape, tensor.dtype) for tensor in _tensors(batch)))
            if kind == self._seen and optimizer.state:  # which the first update makes, outside of the recording
                if self._recorded is None:
                    self._record(parser, batch, recipe, optimizer, loss)
                if self._recorded is not None:
                    return self._recorded.replay(batch)
            else:
                self._seen, self._recorded = kind, None
        return training_step(
            parser, batch, recipe, optimizer, scaler, loss=loss, share=share, hooks=hooks, context=context
        )

    def _record(
        self, parser: AVParser, batch: Batch, recipe: Recipe, optimizer: torch.optim.Optimizer, loss: Loss
    ) -> None:
        stream = torch.cuda.current_stream(batch.audio.device)
        try:
            self._recorded = _RecordedStep(parser, batch, recipe, optimizer, loss)
        except RuntimeError:  # nothing of it was computed
            self._can_record = False
            # PyTorch leaves the stream of a recording that fails as the current one; and the generator, up to some
            # version, as within a recording, where dropout outside of one is an error. A clone is not.
            torch.cuda.set_stream(stream)
            generator = torch.cuda.default_generators[stream.device_index]
            generator.graphsafe_set_state(generator.clone_state())


class _RecordedStep:
    """A graph that computes the loss of the batch in its memory, and updates the parameters unless it is not finite."""

    def __init__(
        self, parser: AVParser, batch: Batch, recipe: Recipe, optimizer: torch.optim.Optimizer, loss: Loss
    ) -> None:
        context = step_context(0, 0, 0, 1)  # only hooks read it
        self._batch = batch.map_tensors(torch.clone)
        self._graph = torch.cuda.CUDAGraph()
        self._device, config = batch.audio.device, recipe.training
        torch.cuda.synchronize(self._device)
        optimizer.zero_grad(set_to_none=True)
        stream = torch.cuda.Stream(self._device)
        graph = torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local")
        with _recording(optimizer), graph:
            terms = _compute_terms(parser, self._batch, context, precision=config.precision, loss=loss, hooks=NO_HOOKS)
            stacked = torch.stack(list(terms.values()))
            total = stacked.sum()
            total.backward()
            if config.clip_norm:
                torch.nn.utils.clip_grad_norm_(parser.parameters(), config.clip_norm)
            optimizer.found_inf = total.detach().isfinite().logical_not().float()  # pyright: ignore[reportAttributeAccessIssue]
            optimizer.step()
            self._terms = stacked.detach()
        self._names = tuple(terms)

    def replay(self, batch: Batch) -> dict[str, float]:
        """Take the step with another batch of the same shapes; return the weighted terms of its loss."""
        for own, tensor in zip(_tensors(self._batch), _tensors(batch), strict=True):
            own.copy_(tensor, non_blocking=True)
        with torch.cuda.device(self._device):
            self._graph.replay()
        return dict(zip(self._names, self._terms.tolist(), strict=True))


@contextlib.contextmanager
def _recording(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let an optimizer's step be recorded, and depend on its `found_inf`, as PyTorch's GradScaler sets it."""
    for group in optimizer.param_groups:
        group["capturable"] = True
    try:
        yield
    finally:
        for group in optimizer.param_groups:
            group["capturable"] = False
        if hasattr(optimizer, "found_inf"):
            del optimizer.found_inf  # pyright: ignore[reportAttributeAccessIssue]


def _tensors(batch: Batch) -> list[Tensor]:
    """Return the tensors of a batch, always in the same order."""
    found: list[Tensor] = []
    batch.map_tensors(lambda tensor: found.append(tensor) or tensor)
    return found
