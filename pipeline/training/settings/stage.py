"""Stages of a recipe: what is trained, estimated and relabelled, in this order, before its own training."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ....models.denoising import AUDIO_NOISE_BELOW, DOUBT_BELOW, VISUAL_NOISE_BELOW
from ....weights.messages import shown
from .training_config import MAX_BATCH_SIZE

MAX_STAGES = 8
MAX_FACTOR = 1e6  # of a setting that probabilities are compared with
KINDS = ("train", "estimate", "relabel")
TABLES = ("model", "objective", "training")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")  # it is part of the name of a folder
_BATCH_SIZE = 128
# Settings of each kind besides its tables, with their defaults.
_SETTINGS: dict[str, dict[str, int | float]] = {
    "train": {},
    "estimate": {
        "batch_size": _BATCH_SIZE,
        "audio_below": AUDIO_NOISE_BELOW,
        "visual_below": VISUAL_NOISE_BELOW,
    },
    "relabel": {"below": DOUBT_BELOW},
}


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One stage of a recipe.

    Attributes:
        kind: "train": a network, by the recipe's tables, changed by those of the stage; "estimate": the noise ratios
            of each class and modality, by the network before it; "relabel": the labels that a modality does not
            support, by the network before it.
        name: of its folder.
        tables: of a training stage, "model", "objective" and "training" -> settings that differ from the recipe's.
        settings: of the other kinds, see `denoising.noise_ratios` and `denoising.modality_aware_removals`.
    """

    kind: str
    name: str
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    settings: Mapping[str, int | float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping; `make_stage` reverses it."""
        return {
            "kind": self.kind,
            "name": self.name,
            **{name: dict(table) for name, table in self.tables.items()},
            **self.settings,
        }


def make_stages(tables: object) -> tuple[Stage, ...]:
    """Make the stages of a recipe.

    Args:
        tables: [[stage]] of its file, in order.

    Returns:
        The stages; none for an empty list.

    Raises:
        ValueError: a stage is not one, two have the same name, or their order makes no sense.
    """
    if not isinstance(tables, Sequence) or isinstance(tables, str) or len(tables) > MAX_STAGES:
        raise ValueError(f"stage is {shown(tables)}, expected at most {MAX_STAGES} tables [[stage]]")
    stages = tuple(make_stage(table) for table in tables)
    names = [stage.name for stage in stages]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"two stages have the name {twice[0]}")
    if not stages:
        return stages
    if len(stages) == 1 or stages[-1].kind != "train" or stages[-1].tables:
        raise ValueError(
            'the last of several stages trains the recipe\'s own network: kind = "train", without tables of its own'
        )
    if stages[0].kind != "train":
        raise ValueError(f"stage {stages[0].name} needs a network: the first stage must train one")
    return stages


def make_stage(table: object) -> Stage:
    """Make a stage from its table in a recipe.

    Args:
        table: of a TOML or JSON file.

    Returns:
        The stage. Whether its tables fit the networks is checked with the recipe.

    Raises:
        ValueError: a setting is missing, unknown or out of range.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"a stage is {shown(table)}, expected a table")
    kind, name = table.get("kind"), table.get("name")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"the kind of a stage is {shown(kind)}, not one of {', '.join(KINDS)}")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"the name of a stage is {shown(name)}; expected up to 40 small letters, digits and hyphens")
    known = (*_SETTINGS[kind], *(TABLES if kind == "train" else ()))
    rest = {key: value for key, value in table.items() if key not in {"kind", "name"}}
    if unknown := sorted(set(rest) - set(known), key=str):
        raise ValueError(f"stage {name}: unknown setting {shown(unknown[0])}; known: {', '.join(known) or 'none'}")
    tables = {key: value for key, value in rest.items() if key in TABLES}
    for key, value in tables.items():
        if not isinstance(value, Mapping):
            raise ValueError(f"stage {name}: {key} is {shown(value)}, expected a table")
    given = {key: value for key, value in rest.items() if key not in TABLES}
    settings = {key: _setting(name, key, given.get(key, default), default) for key, default in _SETTINGS[kind].items()}
    return Stage(kind=kind, name=name, tables={key: dict(value) for key, value in tables.items()}, settings=settings)


def _setting(stage: str, name: str, value: object, default: float) -> int | float:
    """Check a number. Raises ValueError."""
    if isinstance(default, int):
        if type(value) is not int or not 1 <= value <= MAX_BATCH_SIZE:
            raise ValueError(f"stage {stage}: {name} is {shown(value)}, expected a number from 1 to {MAX_BATCH_SIZE}")
        return value
    if type(value) not in {int, float} or not 0 < value <= MAX_FACTOR:  # pyright: ignore[reportOperatorIssue]
        raise ValueError(f"stage {stage}: {name} is {shown(value)}, expected a number above 0, at most {MAX_FACTOR:g}")
    return float(value)  # pyright: ignore[reportArgumentType] - checked
