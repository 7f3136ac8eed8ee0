"""Keys of published files: how they map to this program's, and the tensors under them."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...weights.messages import shown, shown_name
from ...weights.parameters import check_parameters

Rules = tuple[tuple[str, str], ...]  # (regular expression in a published key, its replacement here)

_PACKED_QKV = re.compile(r"(.*\.)in_proj_(weight|bias)")  # query, key and value in one tensor
_NAMED = 10  # tensors that are named in a message, of the 20,000 that a file may have
_NUMBER = r"(\d+)"  # of a layer, in a rule
_SPLIT_QKV = re.compile(r"(.*\.)(?:query|key|value)\.(weight|bias)")


@dataclass(frozen=True)
class Family:
    """A published program: how its keys map to this program's, and settings that its files do not hold.

    Attributes:
        name: for messages.
        rules: key mapping; the first rule that matches at the start of a key applies.
        unused: keys that the published forward pass never reads.
        settings: fields of the network's configuration.
        inner: names inside of modules, replaced wherever they occur.
    """

    name: str
    rules: Rules
    unused: re.Pattern[str]
    settings: dict[str, Any] = field(default_factory=dict)
    inner: Rules = ()

    def map_key(self, key: str) -> str | None:
        """Return this program's name of a published key.

        Args:
            key: as published, without a ``module.`` prefix.

        Returns:
            The name, or None for a key that the published forward pass never reads.

        Raises:
            ValueError: the key does not occur in the published program.
        """
        if self.unused.match(key):
            return None
        for pattern, replacement in self.rules:
            mapped, matches = re.subn(f"^{pattern}", replacement, key)
            if matches:
                for inner_pattern, inner_replacement in self.inner:
                    mapped = re.sub(inner_pattern, inner_replacement, mapped)
                return mapped
        raise ValueError(f"not a key of the published {self.name}: {shown_name(key)}")

    def published_key(self, name: str) -> str:
        """Return the published key of a tensor, for messages.

        Args:
            name: this program's.

        Returns:
            The key; where the rules do not tell it, the name.
        """
        packed = _SPLIT_QKV.sub(r"\1in_proj_\2", name)
        outer = {made: [key for rule in self.rules for key in _undo(rule, made, start=True)] for made in (packed, name)}
        # Names that no rule made are kept by all of them, so that those that a rule made come first.
        candidates = [
            (key, made)
            for made, keys in outer.items()
            for partly in keys
            for rule in self.inner
            for key in _undo(rule, partly)
        ]
        candidates += [(key, made) for made, keys in outer.items() for key in keys]
        return next((key for key, made in candidates if self._maps(key, made)), name)

    def _maps(self, key: str, name: str) -> bool:
        """Return whether a published key has this name here."""
        try:
            return self.map_key(key) == name
        except ValueError:
            return False

    def map_state(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Rename the tensors of a file; query, key and value in one tensor are split.

        Args:
            state: published key -> tensor, without ``module.`` prefixes.

        Returns:
            This program's name -> tensor, and the keys that the published forward pass never reads.

        Raises:
            ValueError: a key does not occur in the published program, or a tensor cannot be split.
        """
        mapped: dict[str, Tensor] = {}
        unused: list[str] = []
        for key, tensor in state.items():
            name = self.map_key(key)
            if name is None:
                unused.append(key)
            else:
                # Convolutions along time are linear layers here: (out, in, kernel) -> (out, kernel * in).
                mapped[name] = tensor.permute(0, 2, 1).flatten(1) if tensor.ndim == 3 else tensor
        return _unpack(mapped), tuple(unused)

    def check(
        self,
        tensors: Mapping[str, Tensor],
        shapes: Mapping[str, tuple[int, ...]],
        *,
        dtypes: Collection[torch.dtype] = (torch.float32,),
    ) -> None:
        """Check the tensors of a file.

        Args:
            tensors: this program's name -> tensor.
            shapes: name -> shape of each tensor of the network.
            dtypes: of the parameters.

        Raises:
            ValueError: a tensor is missing, unknown, or of another shape or type, or has values that are not finite.
        """
        missing, unexpected = (
            sorted({shown_name(self.published_key(name)) for name in sorted(names)[:_NAMED]})
            for names in (shapes.keys() - tensors, tensors.keys() - shapes)
        )
        if missing or unexpected:
            raise ValueError(
                f"the file is not a published {self.name}: missing {shown(missing)}, unexpected {shown(unexpected)}"
            )
        for key, shape in shapes.items():
            if tuple(tensors[key].shape) != shape:
                found = tuple(tensors[key].shape)
                raise ValueError(
                    "tensors of the file have the wrong shape: size mismatch for"
                    f" {self.published_key(key)} (here {key}): {found}, not {shape}"
                )
        check_parameters(tensors, shapes, dtypes=dtypes)


def _undo(rule: tuple[str, str], name: str, *, start: bool = False) -> list[str]:
    """Return the texts that a rule may have made a name from; none of a rule whose groups are not all numbers.

    Args:
        rule: regular expression and replacement.
        name: that the replacement may occur in.
        start: whether it occurs at the start only.
    """
    source, made = rule[0], re.escape(rule[1])
    for group in range(1, source.count(_NUMBER) + 1):
        source = source.replace(_NUMBER, rf"\{group}", 1)
        made = made.replace(rf"\\{group}", _NUMBER)
    source = source.replace(r"\.", ".")
    if not re.fullmatch(r"(?:[\w.]|\\\d)*", source):
        return []
    matches = re.finditer(f"^{made}" if start else made, name)
    return [name[: match.start()] + match.expand(source) + name[match.end() :] for match in matches]


def check_state(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Check that a state dict holds named tensors and nothing else.

    Args:
        state_dict: as a user gives it.

    Returns:
        The same without the prefix ``module.`` of data-parallel training.

    Raises:
        ValueError: a name is no text, or a value no tensor.
    """
    for key, tensor in state_dict.items():
        if not isinstance(key, str):
            raise ValueError(f"the file is no state dict: {shown(key)} is the name of a tensor")
        if not isinstance(tensor, Tensor):
            kind = type(tensor).__name__
            raise ValueError(f"the file is no state dict: {shown_name(key)} is of type {kind}, not a tensor")
    return {key.removeprefix("module."): tensor for key, tensor in state_dict.items()}


def read_matrix(tensors: Mapping[str, Tensor], key: str) -> tuple[int, int]:
    """Return the shape of a matrix. Raises KeyError where it is missing, ValueError where it is none."""
    shape = tuple(tensors[key].shape)
    if len(shape) != 2:
        raise ValueError(f"tensors of the file have the wrong shape: size mismatch for {key}: {shape} is not a matrix")
    return shape


def count_modules(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """Return how many modules are numbered by the pattern's group: the largest number plus one."""
    return 1 + max((int(match[1]) for key in tensors if (match := re.match(pattern, key))), default=0)


def _unpack(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Split the query, key and value that torch's own attention stores in one tensor."""
    unpacked: dict[str, Tensor] = {}
    for key, tensor in state.items():
        packed = _PACKED_QKV.fullmatch(key)
        if packed is None:
            unpacked[key] = tensor
        elif tensor.ndim == 0 or len(tensor) % 3:
            raise ValueError(
                f"{shown_name(key)} is {tuple(tensor.shape)}, which cannot be split into query, key and value"
            )
        else:
            names = (f"{packed[1]}{part}.{packed[2]}" for part in ("query", "key", "value"))
            unpacked |= dict(zip(names, tensor.chunk(3), strict=True))
    return unpacked
